"""Training of wav2vec-U on features of speech and phones of a text that have nothing to do with each other."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import read_json, write_json
from speechkit.common.seeds import derive
from speechkit.data.batches import BatchConfig, load_cuts, text_fields
from speechkit.data.packed import PackedSequences, features_without_transcripts, origin_of, write_packed
from speechkit.decode.greedy import greedy
from speechkit.features.cmvn import Cmvn
from speechkit.lm.arpa import read_arpa
from speechkit.lm.counts import read_sentences
from speechkit.models.wav2vec_u import GanConfig, GanLoss, Wav2VecU
from speechkit.tasks.gan_selection import Figures
from speechkit.tasks.gan_watch import Watch, WatchConfig
from speechkit.tasks.recognizer import CtcConfig, Recognizer, error_rate
from speechkit.text.lang import Lang
from speechkit.text.lexicon import Lexicon
from speechkit.text.phones import fold
from speechkit.text.tokens import TokenTable
from speechkit.train.distributed import World
from speechkit.train.optimise import PartConfig
from speechkit.train.trainer import NonFiniteError, TrainConfig, Validation

log = logging.getLogger(__name__)
Numbers = npt.NDArray[np.int64]
LEAST_SEGMENTS = 3
TEXT_SAMPLE = 2000  # sentences of the text that transcripts are compared with
SYMBOL = np.dtype("<u2")


@dataclass(frozen=True, kw_only=True)
class Wav2VecUConfig:
    """Everything that decides what a training does, besides its data and its seed.

    `silence` is the symbol of the text that stands for no sound: it takes the place of the blank, so that decoding
    merges repeated symbols and drops it, and it does not count in the selection. With none (null) all symbols are
    recognised and scored, silence too, as for TIMIT; `phone_set` says which of TIMIT's sets they are of, which folds
    references as other recognisers do. `train` has the optimiser of the generator, `discriminator` that of the other.
    """

    gan: GanConfig = field(default_factory=GanConfig)
    batch_size: int = 160
    silence: str | None = "<SIL>"
    phone_set: int | None = None
    watch: WatchConfig = field(default_factory=WatchConfig)
    discriminator: PartConfig = field(default_factory=PartConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size is at least 1, not {self.batch_size}")
        if self.gan.generator.has_blank != (self.silence is not None):
            raise ValueError("gan.generator.has_blank is true with a symbol for silence, and false without (null)")
        if self.train.optimizer != "adamw":
            raise ValueError("train.optimizer is adamw, as that of the discriminator")


def language(config: Wav2VecUConfig, tokens: TokenTable) -> Lang:
    """What the generator's outputs are: every symbol of the text but `silence`, behind the blank.

    Raises:
        SpeechkitError: the text has no such symbol.
    """
    symbols = list(tokens)[1:]
    if config.silence is not None and config.silence not in symbols:
        raise SpeechkitError(
            f"the text has no symbol '{config.silence}'; insert it, or set silence=null and "
            "gan.generator.has_blank=false"
        )
    phones = [symbol for symbol in symbols if symbol != config.silence]
    return Lang("phone", TokenTable(phones), Lexicon((phone, (phone,)) for phone in phones), config.phone_set)


def save_languages(lang: Lang, text: Path, out: Path) -> None:
    """Write the language folders of decoding graphs: `lang` for phones and, where `text` has a lexicon, `lang_words`.

    Words with phones that the text lacks are left out.
    """
    lang.save(out / "lang")
    if (text / "lexicon.txt").exists():
        entries = Lexicon.read(text / "lexicon.txt").entries
        known = Lexicon((word, phones) for word, phones in entries if all(phone in lang.tokens for phone in phones))
        replace(lang, lexicon=known).save(out / "lang_words")


class Symbols:
    """Numbers of the text's symbols among the generator's outputs, from 0; silence is 0 where there is one."""

    def __init__(self, lang: Lang, silence: str | None) -> None:
        names = list(lang.tokens)[1:] if silence is None else [silence, *list(lang.tokens)[1:]]
        self._numbers = {name: number for number, name in enumerate(names)}

    def encode(self, path: Path) -> Iterator[npt.NDArray[Any]]:
        """The sentences of a file, without empty ones."""
        for number, words in enumerate(read_sentences(path), start=1):
            unknown = next((word for word in words if word not in self._numbers), None)
            if unknown is not None:
                raise SpeechkitError(f"{path}:{number}: '{unknown}' is not in tokens.txt; make both by one command")
            if words:
                yield np.array([self._numbers[word] for word in words], SYMBOL)


def prepare(config: Wav2VecUConfig, data: Path, text: Path, out: Path) -> None:
    """Write features and text where the training reads them, unless an earlier start has; both are streamed.

    Of the cuts no supervision is read, and utterances with fewer than `LEAST_SEGMENTS` are left out.
    """
    lang = language(config, TokenTable.read(text / "tokens.txt"))
    for split in ("train", "dev"):
        cuts, ids = data / f"cuts_{split}.jsonl.gz", list[str]()
        if not cuts.exists():
            raise SpeechkitError(f"{cuts} does not exist; run `speechkit pool` first, or correct --data")
        kept = _long_enough(cuts, ids)
        write_packed(out, split, kept, [*origin_of(cuts), LEAST_SEGMENTS])
        if ids:
            write_json(out / f"{split}_ids.json", ids)
    phones = text / "phones.txt"
    write_packed(out, "text", Symbols(lang, config.silence).encode(phones), [*origin_of(phones), list(lang.tokens)])


def _long_enough(cuts: Path, ids: list[str]) -> Iterator[npt.NDArray[Any]]:
    """Features of the utterances that are kept, whose ids are added to `ids`."""
    short = 0
    for name, features in features_without_transcripts(cuts):
        if len(features) < LEAST_SEGMENTS:
            short += 1
            continue
        ids.append(name)
        yield features
    if short:
        log.warning("%s: left out %d utterances with fewer than %d segments", cuts, short, LEAST_SEGMENTS)


@dataclass(frozen=True)
class GanBatch:
    """Features `(N, T, D)` and symbols of text `(N, T')` with their lengths `(N,)`; nothing pairs them."""

    utterances: Sequence[int]
    features: Tensor
    lengths: Tensor
    text: Tensor
    text_lengths: Tensor

    def to(self, device: torch.device) -> "GanBatch":
        """The batch with its tensors on `device`."""
        names = ("features", "lengths", "text", "text_lengths")
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=True) for name in names})


class GanBatches:
    """Utterances in an order fixed by (seed, epoch), each batch with as many sentences, drawn from all of the text.

    The draw depends on the seed and on the batch's number alone, so any epoch can be entered in its middle.
    """

    def __init__(
        self, features: PackedSequences, text: PackedSequences, size: int, seed: int, rank: int = 0, processes: int = 1
    ) -> None:
        self.features, self.text, self.size, self.seed = features, text, size, seed
        self.rank, self.processes = rank, processes

    def epoch(self, epoch: int, skip: int) -> Iterator[GanBatch]:
        """Batches of `epoch` after the first `skip`."""
        order = self._generator("order of utterances", epoch).permutation(len(self.features))
        share = order[self.rank : len(order) // self.processes * self.processes : self.processes]
        for number in range(skip, -(-len(share) // self.size)):
            utterances = share[number * self.size : (number + 1) * self.size].tolist()
            drawn = self._generator("text", epoch, number, self.rank).integers(len(self.text), size=len(utterances))
            features, lengths = self.features.padded(utterances, torch.float32)
            yield GanBatch(utterances, features, lengths, *self.text.padded(drawn.tolist(), torch.int64))

    def _generator(self, *context: object) -> np.random.Generator:
        return np.random.default_rng(derive(self.seed, *context))


class Wav2VecUTask:
    """Trains on what `prepare` wrote to a folder; the criterion is the unsupervised metric of the development set.

    Args:
        text: folder with `tokens.txt`.
        lm: phone n-gram (ARPA) of the text.
        references: cuts of the development set, only to log the error rate of their transcripts beside.

    Attributes:
        update: how many updates were made so far; the trainer sets it.
        found: what the last validation has found.
        error_rate: its error rate, where there are references.
    """

    found: Figures
    error_rate: float | None = None

    def __init__(
        self,
        config: Wav2VecUConfig,
        folder: Path,
        text: Path,
        lm: Path,
        seed: int,
        world: World,
        references: Path | None = None,
    ) -> None:
        self.config, self.device = config, world.device
        self.update: Callable[[], int] = lambda: 0
        self.lang = language(config, TokenTable.read(text / "tokens.txt"))
        self.train, self.dev, sentences = (PackedSequences(folder, name) for name in ("train", "dev", "text"))
        if self.train.width != [config.gan.generator.in_dim]:
            columns = self.train.width[0]
            raise SpeechkitError(f"the features have {columns} columns; set gan.generator.in_dim={columns}")
        self.dev_ids: list[str] = read_json(folder / "dev_ids.json")
        self.model = Wav2VecU(config.gan, len(self.lang.tokens))
        self.module: nn.Module = self.model
        self.batches = GanBatches(self.train, sentences, config.batch_size, seed, world.rank, world.size)
        self.lm = read_arpa(lm)
        self.text = self._figures(self._sample(sentences))
        self.watch = Watch(config.watch, self.text.evenness)
        self.references = _references(references, self.lang, text / "lexicon.txt") if references else {}

    def _sample(self, text: PackedSequences) -> Iterator[list[str]]:
        """Some sentences, evenly taken, without silence."""
        offset = 1 if self.config.silence is None else 0
        for number in np.linspace(0, len(text) - 1, min(len(text), TEXT_SAMPLE)).astype(int).tolist():
            tokens = (text[number].astype(np.int64) + offset).tolist()
            yield self.lang.tokens.symbols(token for token in tokens if token)

    def _figures(self, transcripts: Iterator[list[str]] | list[list[str]]) -> Figures:
        return Figures.of(transcripts, self.lm, len(self.lang.tokens) - 1)

    def parts(self) -> Mapping[str, tuple[nn.Module, PartConfig]]:
        """Generator and discriminator, each with its own Adam."""
        train = self.config.train
        own = PartConfig(weight_decay=train.weight_decay, betas=train.betas, eps=train.eps, schedule=train.schedule)
        return {
            "generator": (self.model.generator, own),
            "discriminator": (self.model.discriminator, self.config.discriminator),
        }

    def loss(self, model: nn.Module, batch: GanBatch) -> tuple[Tensor, float, dict[str, float]]:
        """The discriminator's loss in updates of odd number, counted from 0, the generator's in the others."""
        batch = batch.to(self.device)
        result: GanLoss = model(
            batch.features, batch.lengths, batch.text, batch.text_lengths, discriminate=self.update() % 2 == 1
        )
        self.watch.note(result.figures)
        return result.total, float(result.count), result.figures

    def validate(self) -> Validation:
        """The metric and all that it is made of; a training that goes wrong ends here."""
        transcripts = self.transcripts()
        self.found = self._figures(transcripts)
        metrics = {**self.found.values(), "mean_length": self.found.symbols / max(1, len(transcripts))}
        if self.references:
            references = [self._scored(self.references[name]) for name in self.dev_ids]
            self.error_rate = error_rate(references, [self._scored(each) for each in transcripts])
            metrics["error_rate"] = self.error_rate
        lengths = [len(each) for each in transcripts]
        stop = self.watch.judge(self.update(), self.found, lengths, self.dev.lengths().tolist())
        chosen = sorted({0, len(transcripts) // 2, len(transcripts) - 1})
        samples = [(" ".join(self.references.get(self.dev_ids[i], [])), " ".join(transcripts[i])) for i in chosen]
        return Validation(self.found.metric, metrics, samples, stop)

    def transcripts(self) -> list[list[str]]:
        """Symbols of each utterance of the development set.

        Raises:
            NonFiniteError: naming an utterance whose outputs are NaN or infinite.
        """
        found: list[list[str]] = []
        for start in range(0, len(self.dev), self.config.batch_size):
            numbers = range(start, min(start + self.config.batch_size, len(self.dev)))
            features, lengths = self.dev.padded(numbers, torch.float32)
            log_probs, lengths = self.model.generator(features.to(self.device), lengths.to(self.device))
            bad = (~log_probs.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
            if bad:
                raise NonFiniteError(
                    f"the outputs for utterance {self.dev_ids[start + bad[0]]} are not finite; look at its features"
                )
            found += [self.lang.tokens.symbols(ids) for ids in greedy(log_probs, lengths)]
        return found

    def _scored(self, words: list[str]) -> list[str]:
        return fold(words, self.lang.scored_phones) if self.lang.scored_phones else words

    def describe(self, batch: GanBatch) -> str:
        """The numbers of a batch's utterances in the training set, at most ten."""
        names = " ".join(map(str, batch.utterances[:10]))
        return f"utterances number {names}{' ...' if len(batch.utterances) > 10 else ''}"

    def state(self) -> dict[str, Any]:
        """What the watch has counted."""
        return self.watch.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""
        self.watch.restore(state)

    def record(self) -> dict[str, Any]:
        """Figures of the training for its record."""
        parameters = sum(parameter.numel() for parameter in self.module.parameters())
        return {"num_params": parameters, "utterances": len(self.train), "sentences": len(self.batches.text)}

    def save(self, folder: Path, weights: dict[str, Tensor]) -> None:
        """Write the generator as a checkpoint that decodes as other recognisers do."""
        config = CtcConfig(generator=self.config.gan.generator, batches=BatchConfig(normalisation="none"))
        prefix = "generator."
        own = {name.removeprefix(prefix): each for name, each in weights.items() if name.startswith(prefix)}
        Recognizer(config, self.lang, Cmvn()).save(folder, own)

    def selection(self, state: str) -> dict[str, Any]:
        """What `gan-select` reads: the figures of the last validation beside those of the text."""
        errors = {} if self.error_rate is None else {"error_rate": self.error_rate}
        return {"state": state, **self.found.values(), **errors, "text": self.text.values()}


def _references(cuts: Path, lang: Lang, lexicon: Path) -> dict[str, list[str]]:
    """Phones of each cut: those that its supervision has, or those of its words where there is a lexicon."""
    words = {cut.id: lang.reference(text_fields(cut)) for cut in load_cuts(cuts)}
    if lang.phone_set or not lexicon.exists():
        return words
    spelled = Lexicon.read(lexicon)
    return {
        name: [phone for word in each if word in spelled for phone in spelled.spellings(word)[0]]
        for name, each in words.items()
    }
