"""BERT over the characters of transcripts: its training on text, and its checkpoint.

There are two objectives. "masked" is BERT's own, with whole words hidden. "prefix" makes it a language model, the
BERT-LM of Huang et al., "Speech recognition by simply fine-tuning BERT" (2021), section 3.1: of every prefix of every
sentence the next character is predicted. A prefix is read as `[CLS] y_1 ... y_{t-1} [MASK]`, so that y_i is always at
position i, and what is predicted stands where it will stand. There is no [SEP] in either: one form of input for all.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from speechkit.common.errors import SpeechkitError
from speechkit.config.load import from_dict, to_dict
from speechkit.data.alignments import read_spoken
from speechkit.lm.character_text import CharacterText, Prefixes, last_places
from speechkit.lm.token_file import SentenceBatch, SentenceBatches, Sentences, batches_by_length
from speechkit.lm.whole_words import NO_WORD, WordMaskConfig, choose_words, hide, word_numbers
from speechkit.models.text_bert import TextBert, TextBertConfig
from speechkit.nn.prediction import PredictionLoss, prediction_loss
from speechkit.text.bert_vocabulary import BertVocabulary
from speechkit.text.lines import numbered_lines
from speechkit.train.checkpoint import MODEL, TASK, load_module, read_document, save_folder
from speechkit.train.distributed import World
from speechkit.train.trainer import TrainConfig, Validation

log = logging.getLogger(__name__)
NAME = "bert"
Objective = Literal["masked", "prefix"]


@dataclass(frozen=True, kw_only=True)
class TextBertTrainConfig:
    """Everything that decides what a training does, besides its text, its seed and the model that it starts from.

    Batches hold `max_tokens`, padding included; of each sentence the first characters are learned, `longest` with
    [CLS]. `mask` is for the objective "masked".
    """

    objective: Objective = "masked"
    model: TextBertConfig = field(default_factory=TextBertConfig)
    mask: WordMaskConfig = field(default_factory=WordMaskConfig)
    max_tokens: int = 8192
    longest: int = 128
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        if not 2 <= self.longest <= min(self.max_tokens, self.model.positions):
            raise ValueError(
                f"longest ({self.longest}) is at least 2 and at most max_tokens ({self.max_tokens}) and "
                f"model.positions ({self.model.positions})"
            )


class TextBertModel:
    """A BERT over characters with its configuration and vocabulary."""

    def __init__(self, config: TextBertTrainConfig, vocabulary: BertVocabulary) -> None:
        self.config, self.vocabulary = config, vocabulary
        self.module = TextBert(config.model, len(vocabulary))

    def save(self, folder: Path, weights: dict[str, Tensor]) -> None:
        """Write a checkpoint that needs nothing else."""
        document = {"task": NAME, "config": to_dict(self.config), "vocabulary": self.vocabulary.tokens}
        save_folder(folder, {MODEL: weights}, {TASK: document})

    @classmethod
    def load(cls, folder: Path) -> "TextBertModel":
        """Read what `save` wrote.

        Raises:
            SpeechkitError: the folder holds no BERT over characters, or a damaged one.
        """
        complaint = (
            "is not a BERT over characters; `speechkit bert` writes one to OUT/final, `speechkit import --format bert` "
            "reads one of Hugging Face"
        )
        document = read_document(folder, NAME, complaint)
        config = from_dict(TextBertTrainConfig, document["config"], str(folder / TASK))
        model = cls(config, BertVocabulary(document["vocabulary"]))
        load_module(model.module, folder / MODEL)
        return model

    @classmethod
    def start(cls, config: TextBertTrainConfig, init: Path | None, texts: Sequence[str]) -> "TextBertModel":
        """What a training starts from: the checkpoint `init`, or a new model with the characters of `texts`.

        Of the configuration `model` is then what the checkpoint says.

        Raises:
            SpeechkitError: `init` is no such checkpoint.
            UsageError: it has too few positions for `longest`.
        """
        if init is None:
            return cls(config, BertVocabulary.learn(texts))
        found = cls.load(init)
        found.config = from_dict(
            TextBertTrainConfig, {**to_dict(config), "model": to_dict(found.config.model)}, f"--init {init}"
        )
        return found


def read_texts(path: Path) -> list[str]:
    """The transcripts of a file, one a line, without spaces; empty lines are passed over.

    Raises:
        SpeechkitError: there is no such file, or no text in it.
    """
    texts = ["".join(line.split()) for _, line in numbered_lines(path, "correct --text or --dev")]
    if not any(texts):
        raise SpeechkitError(f"{path} holds no text; it should have one transcript a line")
    return [text for text in texts if text]


def transcripts(cuts: Path) -> list[str]:
    """Those of a manifest of cuts, without spaces; empty ones are passed over.

    Raises:
        SpeechkitError: there is no such manifest, or no text in it.
    """
    texts = ["".join(each.fields.get("text", "").split()) for each in read_spoken(cuts)]
    if not any(texts):
        raise SpeechkitError(f"{cuts} holds no transcripts; name cuts that have some")
    return [text for text in texts if text]


@dataclass(frozen=True)
class Texts:
    """Some transcripts as tokens, and how many characters there are and are [UNK].

    Attributes:
        lines: the transcripts, cut where they are too long.
        tokens: with [CLS].
    """

    lines: list[str]
    tokens: CharacterText
    characters: int
    unknown: int

    @classmethod
    def of(cls, source: Path, lines: Sequence[str], vocabulary: BertVocabulary, longest: int) -> "Texts":
        """Encode, with a warning of characters that the vocabulary lacks and of lines longer than `longest` tokens.

        Raises:
            SpeechkitError: the vocabulary has not one of the characters.
        """
        kept = [line[: longest - 1] for line in lines]
        long = sum(len(line) >= longest for line in lines)
        if long:
            log.warning("%s: of %d lines only the first %d characters are read; see longest", source, long, longest - 1)
        tokens = CharacterText(map(vocabulary.encode, kept), vocabulary.cls)
        characters, unknown = len(tokens.tokens), int((tokens.tokens == vocabulary.unknown).sum())
        if unknown == characters:
            raise SpeechkitError(f"{source}: the vocabulary has none of its characters; it is of another language")
        if unknown:
            missing = vocabulary.missing(character for line in kept for character in line)
            names = "".join(missing[:20]) + (" ..." if len(missing) > 20 else "")
            log.warning(
                "%s: the vocabulary lacks %d characters (%d of %d): %s; they are read as [UNK] and not predicted",
                source, len(missing), unknown, characters, names,
            )  # fmt: skip
        return cls(kept, tokens, characters, unknown)


class Samples(Protocol):
    """Sequences of tokens, and what a model has to tell of them."""

    sentences: Sentences

    def hide(self, batch: SentenceBatch) -> tuple[Tensor, Tensor]:
        """What the model reads instead of a batch's tokens `(N, T)`, and `(N, T)`, True where it predicts them."""
        ...


class MaskedWords:
    """Sentences with words hidden anew each time."""

    def __init__(self, texts: Texts, config: WordMaskConfig, vocabulary: BertVocabulary) -> None:
        self.sentences: Sentences = texts.tokens
        self.config, self.mask, self.single = config, vocabulary.mask, torch.tensor(vocabulary.single)
        self._words = [torch.from_numpy(word_numbers(line)) for line in texts.lines]

    def hide(self, batch: SentenceBatch) -> tuple[Tensor, Tensor]:
        """See `Samples`."""
        words = pad_sequence([self._words[line - 1] for line in batch.lines], batch_first=True, padding_value=NO_WORD)
        chosen = choose_words(F.pad(words, (1, 0), value=NO_WORD), self.config.probability)
        return hide(batch.tokens, chosen, self.config, self.mask, self.single), chosen


class NextCharacters:
    """All prefixes of sentences, the last character of each hidden."""

    def __init__(self, texts: Texts, vocabulary: BertVocabulary) -> None:
        self.sentences: Sentences = Prefixes(texts.tokens)
        self.mask = vocabulary.mask

    def hide(self, batch: SentenceBatch) -> tuple[Tensor, Tensor]:
        """See `Samples`."""
        chosen = last_places(batch.lengths, batch.tokens.shape[1])
        return batch.tokens.masked_fill(chosen, self.mask), chosen


class TextBertTask:
    """Trains a `TextBertModel`; the criterion is the loss per predicted character of `dev`."""

    def __init__(self, model: TextBertModel, train: Texts, dev: Texts, seed: int, world: World) -> None:
        self.model, self.config, self.device = model, model.config, world.device
        self.module: TextBert = model.module
        self.texts = {"train": train, "dev": dev}
        self.train, self.dev = self._samples(train), self._samples(dev)
        config = self.config
        self.batches = SentenceBatches(
            self.train.sentences, config.max_tokens, config.longest, seed, world.rank, world.size
        )

    def _samples(self, texts: Texts) -> Samples:
        if self.config.objective == "prefix":
            return NextCharacters(texts, self.model.vocabulary)
        return MaskedWords(texts, self.config.mask, self.model.vocabulary)

    def loss(self, model: nn.Module, batch: SentenceBatch) -> tuple[Tensor, float, dict[str, float]]:
        """Negative log-probability summed over predicted characters, their number, and figures to watch."""
        found = self._run(model, self.train, batch)
        return found.total, float(found.count), {"accuracy": found.right / max(1, found.count)}

    def _run(self, model: nn.Module, samples: Samples, batch: SentenceBatch) -> PredictionLoss:
        read, chosen = samples.hide(batch)
        chosen = chosen & (batch.tokens != self.model.vocabulary.unknown)
        hidden = model(read.to(self.device), batch.lengths.to(self.device))
        return prediction_loss(
            self.module.predict(hidden[chosen.to(self.device)]), batch.tokens[chosen].to(self.device)
        )

    def validate(self) -> Validation:
        """Loss, perplexity and accuracy per predicted character of dev, the same words hidden each time.

        With the objective "prefix" these are all its characters but unknown ones; ends of sentences are none.
        """
        total, right, count = 0.0, 0, 0
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for numbers in batches_by_length(self.dev.sentences.lengths(), self.config.max_tokens):
                found = self._run(self.module, self.dev, self.dev.sentences.batch(numbers))
                total, right, count = total + float(found.total), right + found.right, count + found.count
        loss = total / max(1, count)
        metrics = {"loss": loss, "perplexity": math.exp(min(loss, 700)), "accuracy": right / max(1, count)}
        return Validation(loss, {**metrics, "predicted": float(count)}, [])

    def describe(self, batch: SentenceBatch) -> str:
        """The sentences of a batch, at most ten."""
        return f"sentences {' '.join(map(str, batch.lines[:10]))}{' ...' if len(batch.lines) > 10 else ''} of the text"

    def record(self) -> dict[str, Any]:
        """Figures of the training for its record."""
        parameters = sum(parameter.numel() for parameter in self.module.parameters())
        counts = {
            name: {"sentences": len(texts.lines), "characters": texts.characters, "unknown": texts.unknown}
            for name, texts in self.texts.items()
        }
        return {"num_params": parameters, "vocabulary": len(self.model.vocabulary), **counts}
