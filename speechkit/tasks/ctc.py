"""Training of an acoustic model on features with transcripts, by CTC or LF-MMI, and its use for recognition."""

import functools
import logging
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import read_json
from speechkit.config.load import from_dict, to_dict
from speechkit.data.augment import AugmentConfig, augment
from speechkit.data.batches import (
    Batch,
    BatchConfig,
    FeatureDataset,
    Fields,
    TrainingBatches,
    keep_trainable,
    load_cuts,
    ordered_batches,
    stored_features,
    text_fields,
)
from speechkit.data.from_audio import AudioConfig, AudioFeatures
from speechkit.features.cmvn import Cmvn, CmvnStats
from speechkit.losses.ctc import blank_ratio
from speechkit.metrics.edit import edit_counts
from speechkit.models.acoustic import AcousticModel, AcousticModelConfig
from speechkit.nn.lengths import valid_mask
from speechkit.tasks.lfmmi import Lfmmi, LfmmiConfig, Words
from speechkit.tasks.objective import Ctc, LossName, Objective
from speechkit.tasks.token_times import TokenTimes, token_times
from speechkit.text.lang import Lang
from speechkit.text.phones import fold
from speechkit.train.checkpoint import MODEL, load_tensors, save_folder
from speechkit.train.distributed import World
from speechkit.train.trainer import TrainConfig, Validation

log = logging.getLogger(__name__)
TASK = "task.json"
FEATURE_SHIFT = 0.01
Times = dict[str, TokenTimes]


@dataclass(frozen=True, kw_only=True)
class CtcConfig:
    """Everything that decides what a training does, besides its data and its seed.

    The `loss` "lfmmi" takes its settings from `lfmmi`; models of either loss are decoded in the same ways. With `audio`
    the features of the training set are computed from audio, with noise and rooms; without it stored ones are read.
    """

    loss: LossName = "ctc"
    lfmmi: LfmmiConfig = field(default_factory=LfmmiConfig)
    model: AcousticModelConfig = field(default_factory=AcousticModelConfig)
    batches: BatchConfig = field(default_factory=BatchConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    audio: AudioConfig | None = None
    train: TrainConfig = field(default_factory=TrainConfig)


class Recognizer:
    """An acoustic model with its configuration, language and normalisation."""

    def __init__(self, config: CtcConfig, lang: Lang, cmvn: Cmvn) -> None:
        self.config, self.lang, self.cmvn = config, lang, cmvn
        normalise = config.loss != "lfmmi" or config.lfmmi.normalise
        self.module = AcousticModel(config.model, len(lang.tokens), log_softmax=normalise)

    def dataset(
        self, cmvn: Cmvn | None = None, read: Callable[[Any], list[Tensor]] = stored_features
    ) -> FeatureDataset:
        """Reader of batches; `cmvn` holds the speakers of another set than the training's.

        Targets lack what has no token: in recognition that is an error like any other.
        """
        speakers = Cmvn(self.cmvn.overall, (cmvn or self.cmvn).speakers)
        return FeatureDataset(self.encode_known, speakers, self.config.batches.normalisation, read)

    def encode(self, fields: Fields) -> list[int]:
        """Target token ids of one supervision."""
        return self.lang.encode(fields.get(self.lang.field) or "")

    def encode_known(self, fields: Fields) -> list[int]:
        """The same, without what has no token."""
        return self.lang.encode_known(fields.get(self.lang.field) or "")

    def pronunciations(self, fields: Fields) -> Words:
        """All spellings of each word of one supervision, in token ids, without what has no token."""
        lexicon, tokens = self.lang.lexicon, self.lang.tokens
        return tuple(
            tuple(tuple(tokens.ids(spelling)) for spelling in lexicon.spellings(word))
            if word in lexicon
            else (tuple(self.lang.encode_known(word)),)
            for word in self.lang.reference(fields)
        )

    def scored(self, words: list[str]) -> list[str]:
        """What errors are counted on: TIMIT phones folded to 39, other words as they are."""
        return fold(words, self.lang.scored_phones) if self.lang.scored_phones else words

    def emissions(self, batches: Iterable[Batch], device: torch.device) -> Iterator[tuple[Batch, Tensor, Tensor]]:
        """Each batch with its log-probabilities `(N, T, V)` and their lengths."""
        for batch, outputs, lengths in self.outputs(batches, device):
            yield batch, outputs.log_softmax(dim=-1), lengths

    def outputs(self, batches: Iterable[Batch], device: torch.device) -> Iterator[tuple[Batch, Tensor, Tensor]]:
        """Each batch with what the loss sees: log-probabilities, or raw outputs without `lfmmi.normalise`."""
        self.module.to(device).eval()
        with torch.inference_mode():
            for batch in batches:
                outputs, lengths = self.module(batch.features.to(device), batch.lengths.to(device))
                yield batch, outputs.cpu(), lengths.cpu()

    def save(self, folder: Path, weights: dict[str, Tensor]) -> None:
        """Write a checkpoint that decoding needs nothing else of."""
        overall = self.cmvn.stats()
        cmvn = {"count": overall.count, "total": overall.total.tolist(), "squares": overall.squares.tolist()}
        document = {"task": self.config.loss, "config": to_dict(self.config), "lang": self.lang.state(), "cmvn": cmvn}
        save_folder(folder, {MODEL: weights}, {TASK: document})

    @classmethod
    def load(cls, folder: Path) -> "Recognizer":
        """Read what `save` wrote."""
        if not (folder / TASK).is_file():
            raise SpeechkitError(
                f"{folder} is not a trained model ({TASK} is missing); run stage 6, or correct --checkpoint"
            )
        document = read_json(folder / TASK)
        config = from_dict(CtcConfig, document["config"], str(folder / TASK))
        cmvn = document["cmvn"]
        overall = CmvnStats(
            cmvn["count"], *(torch.tensor(cmvn[name], dtype=torch.float64) for name in ("total", "squares"))
        )
        recognizer = cls(config, Lang.from_state(document["lang"]), Cmvn(overall))
        try:
            recognizer.module.load_state_dict(load_tensors(folder / MODEL))
        except RuntimeError as error:
            raise SpeechkitError(
                f"{folder / MODEL} does not fit its {TASK}; train again ({str(error).splitlines()[0]})"
            ) from error
        return recognizer


class CtcTask:
    """Trains a `Recognizer` on `data/cuts_train.jsonl.gz`, validates on `data/cuts_dev.jsonl.gz`.

    Args:
        alignments: the training cuts with alignments in their supervisions, for `lfmmi.numerator: alignment`.
        fsa_engine: of `speechkit.fsa.intersect`, for LF-MMI.

    Attributes:
        update: how many updates were made so far; whoever runs the training sets it.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        data: Path,
        seed: int,
        world: World,
        *,
        alignments: Path | None = None,
        fsa_engine: str = "auto",
    ) -> None:
        self.recognizer, self.device = recognizer, world.device
        self.module: nn.Module = recognizer.module
        self.update: Callable[[], int] = lambda: 0
        config = recognizer.config
        self.dataset = recognizer.dataset()
        train = load_cuts(data / "cuts_train.jsonl.gz")
        times: Times | None = None
        unaligned: list[str] = []
        if config.loss == "lfmmi" and config.lfmmi.numerator == "alignment":
            train, times, unaligned = _aligned(train, alignments or data / "cuts_train.jsonl.gz", recognizer.lang)
        self.objective = _objective(recognizer, train, times, fsa_engine)
        train, too_long = keep_trainable(train, self._is_within_limit, "longer than batches.max_duration")
        train, too_short = keep_trainable(train, self._fits)
        self.dropped = [*unaligned, *too_long, *too_short]
        if next(iter(train), None) is None:
            raise SpeechkitError(
                f"{data}: no utterance is left to train on; raise batches.max_duration, or check the texts"
            )
        self.dev = list(load_cuts(data / "cuts_dev.jsonl.gz").sort_by_duration(ascending=True))
        self.train_seconds = sum(cut.duration for cut in train)
        heard = self.dataset
        if config.audio:
            read = AudioFeatures(config.audio, seed)
            read.require_columns(next(iter(train)).features.num_features)
            heard = recognizer.dataset(read=read)
        self.batches = TrainingBatches(train, heard, self._slowest(config.batches), seed, world.rank, world.size)

    def _speeds(self) -> tuple[float, ...]:
        audio = self.recognizer.config.audio
        return audio.distortion.speeds if audio else (1.0,)

    def _slowest(self, config: BatchConfig) -> BatchConfig:
        """The limit that batches keep to even if all are played at the lowest speed."""
        return replace(config, max_duration=config.max_duration * min(1.0, *self._speeds()))

    def _is_within_limit(self, cut: Any) -> bool:
        return bool(cut.duration <= self._slowest(self.recognizer.config.batches).max_duration)

    def _fits(self, cut: Any) -> bool:
        fewest = int(cut.features.num_frames / max(1.0, *self._speeds()))
        frames = self.recognizer.module.output_lengths(torch.tensor([fewest]))
        return int(frames) >= max(1, self.objective.min_frames(self.recognizer.encode(text_fields(cut))))

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, float, dict[str, float]]:
        """The objective's loss summed over the batch, counted per target token."""
        batch = batch.to(self.device)
        features = augment(batch.features, batch.lengths, self.recognizer.config.augment)
        outputs, lengths = model(features, batch.lengths)
        loss = self.objective(outputs, lengths, batch, self.update())
        return loss.total, loss.tokens, {"seconds_of_audio": float(batch.lengths.sum()) / 100, **loss.figures}

    def validate(self) -> Validation:
        """Error rate in percent, loss per token and blank ratio on the development set, and three hypotheses."""
        loss, tokens, blanks, frames = 0.0, 0.0, 0.0, 0.0
        references: list[list[str]] = []
        hypotheses: list[list[str]] = []
        batches = ordered_batches(self.dev, self.dataset, self.recognizer.config.batches.max_duration)
        for batch, outputs, lengths in self.recognizer.outputs(batches, self.device):
            result = self.objective(outputs, lengths, batch, self.update())
            loss += float(result.total)
            tokens += result.tokens
            mask = valid_mask(lengths, outputs.shape[1])
            blanks += blank_ratio(outputs, mask) * float(mask.sum())
            frames += float(mask.sum())
            references += [self.recognizer.scored(self.recognizer.lang.reference(fields)) for fields in batch.fields]
            found = self.objective.decode(outputs, lengths)
            hypotheses += [self.recognizer.scored(self.recognizer.lang.words(ids)) for ids in found]
        rate = error_rate(references, hypotheses)
        metrics = {"loss": loss / max(tokens, 1), "error_rate": rate, "blank_ratio": blanks / max(frames, 1)}
        chosen = (0, len(references) // 2, len(references) - 1)
        return Validation(rate, metrics, [(" ".join(references[i]), " ".join(hypotheses[i])) for i in chosen])

    def describe(self, batch: Batch) -> str:
        """The ids of a batch, at most ten."""
        return f"utterances {' '.join(batch.ids[:10])}{' ...' if len(batch.ids) > 10 else ''}"


def _aligned(cuts: Any, alignments: Path, lang: Lang) -> tuple[Any, Times, list[str]]:
    """The cuts that have an alignment, the alignments, and the ids of the others, which are logged."""
    found = {cut.id: token_times(cut, lang) for cut in load_cuts(alignments)}
    times = {name: each for name, each in found.items() if each is not None}
    lost = [cut.id for cut in cuts if cut.id not in times]
    if not lost:
        return cuts, times, lost
    problem = f"{len(lost)} utterances have no alignment of phones in {alignments} that fits their words"
    kept = cuts.filter(functools.partial(_is_among, times))
    if next(iter(kept), None) is None:
        raise SpeechkitError(f"all {problem}; name an aligned set with --alignments, or set lfmmi.numerator=transcript")
    log.warning("left out: %s: %s", problem, " ".join(lost[:20]))
    return kept, times, lost


def _is_among(times: Times, cut: Any) -> bool:
    return cut.id in times


def _objective(recognizer: Recognizer, cuts: Any, times: Times | None, fsa_engine: str) -> Objective:
    config = recognizer.config
    if config.loss == "ctc":
        return Ctc()
    return Lfmmi(
        config.lfmmi,
        len(recognizer.lang.tokens),
        [recognizer.encode(text_fields(cut)) for cut in cuts],
        recognizer.pronunciations,
        times=times,
        frame_shift=FEATURE_SHIFT * math.prod(config.model.strides),
        engine=fsa_engine,
    )


def error_rate(references: list[list[str]], hypotheses: list[list[str]]) -> float:
    """Insertions, deletions and substitutions in percent of the reference's words."""
    return 100 * float(edit_counts(references, hypotheses).sum()) / max(1, sum(map(len, references)))


def run_record(task: CtcTask) -> dict[str, Any]:
    """Figures of a training that a table of results wants."""
    parameters = sum(parameter.numel() for parameter in task.module.parameters())
    return {
        "num_params": parameters,
        "train_hours": task.train_seconds / 3600,
        "num_dropped": len(task.dropped),
        **task.objective.describe(),
    }
