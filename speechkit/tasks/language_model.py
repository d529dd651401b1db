"""A neural language model: its training on text, its checkpoint, and the log-probabilities of sentences."""

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import read_json, write_json
from speechkit.config.load import from_dict, to_dict
from speechkit.lm.conv_lm import ConvLm, ConvLmConfig
from speechkit.lm.token_file import SentenceBatch, SentenceBatches, TokenFile, batches_by_length, write_tokens
from speechkit.lm.transformer_lm import TransformerLm
from speechkit.lm.units import Unit, Units, learn_units
from speechkit.nn.transformer import StackConfig
from speechkit.train.checkpoint import MODEL, TASK, load_module, read_document, save_folder
from speechkit.train.distributed import World
from speechkit.train.trainer import TrainConfig, Validation

log = logging.getLogger(__name__)
SCORED_TOKENS, SCORED_LOGITS = 8192, 1 << 26  # at most in a batch of which no activations are kept


def _paper() -> StackConfig:
    return StackConfig(dim=1280, layers=20, heads=16, feed_forward=6144, norm_first=True)


@dataclass(frozen=True, kw_only=True)
class LmConfig:
    """Everything that decides what a training does, besides its text and its seed.

    The model is a Transformer of the sizes `model`, or a convolutional one where `conv` gives its sizes. Batches hold
    `max_tokens`, padding included; of each sentence the first `longest` tokens are learned. The units "bpe" and
    "unigram" have `vocab_size` tokens, "word" the words that the text has at least `min_count` times.
    """

    unit: Unit = "bpe"
    vocab_size: int = 5000
    min_count: int = 1
    model: StackConfig = field(default_factory=_paper)
    conv: ConvLmConfig | None = None
    max_tokens: int = 8192
    longest: int = 512
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        if self.model.dim % 2:
            raise ValueError(f"model.dim is even, for positions are sines and cosines, not {self.model.dim}")
        if not 1 <= self.longest <= self.max_tokens:
            raise ValueError(f"longest ({self.longest}) is at least 1 and at most max_tokens ({self.max_tokens})")
        if self.unit != "word" and self.min_count != 1:
            raise ValueError(f"min_count leaves out words, it does not go with unit {self.unit}")
        if self.unit != "word" and self.conv and self.conv.cutoffs:
            raise ValueError(f"conv.cutoffs part words by their frequency, they do not go with unit {self.unit}")


class LanguageModel:
    """A Transformer or convolutional language model with its configuration and units."""

    def __init__(self, config: LmConfig, units: Units) -> None:
        self.config, self.units = config, units
        self.module: TransformerLm | ConvLm
        if config.conv is not None:
            self.module = ConvLm(config.conv, len(units))
        else:
            self.module = TransformerLm(config.model, len(units))

    @property
    def scored_tokens(self) -> int:
        """Tokens of a batch that needs little memory, padding included."""
        return max(1, min(SCORED_TOKENS, SCORED_LOGITS // len(self.units)))

    def log_probs(self, sentences: Sequence[Sequence[str]], device: torch.device) -> list[float]:
        """Natural-log probability of each sentence with its end."""
        return self.token_log_probs([self.units.encode(words) for words in sentences], device)

    def token_log_probs(self, sequences: Sequence[Sequence[int]], device: torch.device) -> list[float]:
        """Natural-log probability of each sequence of tokens at the beginning of a sentence."""
        tokens = [np.array(each) for each in sequences]
        found = [0.0] * len(tokens)
        self.module.to(device).eval()
        with torch.inference_mode():
            for places in batches_by_length(np.array([len(each) for each in tokens]), self.scored_tokens):
                batch = SentenceBatch.of([tokens[place] for place in places], places)
                scores = self.module(batch.tokens.to(device), batch.lengths.to(device)).double().sum(dim=1)
                for place, score in zip(places, scores.tolist(), strict=True):
                    found[place] = score
        return found

    def save(self, folder: Path, weights: dict[str, Tensor]) -> None:
        """Write a checkpoint that needs nothing else."""
        document = {"task": "lm", "config": to_dict(self.config), "units": self.units.state()}
        save_folder(folder, {MODEL: weights}, {TASK: document})

    @classmethod
    def load(cls, folder: Path) -> "LanguageModel":
        """Read what `save` wrote.

        Raises:
            SpeechkitError: the folder holds no language model, or a damaged one.
        """
        document = _document(folder)
        model = cls(from_dict(LmConfig, document["config"], str(folder / TASK)), Units.from_state(document["units"]))
        load_module(model.module, folder / MODEL)
        return model


def model_name(folder: Path) -> str:
    """Units and architecture of a saved `LanguageModel`, for tables of results."""
    document = _document(folder)
    return f"{document['units']['unit']} {'ConvLM' if document['config'].get('conv') else 'Transformer LM'}"


def _document(folder: Path) -> dict[str, Any]:
    return read_document(folder, "lm", "is not a neural language model; `speechkit lm` writes one to OUT/final")


@dataclass(frozen=True)
class LmText:
    """A file and what reads its sentences."""

    path: Path
    sentences: Callable[[], Iterable[list[str]]]

    @property
    def mark(self) -> int:
        """What tells a text from another: its size in bytes."""
        return self.path.stat().st_size


def prepare_text(folder: Path, config: LmConfig, train: LmText, dev: LmText) -> None:
    """Learn the units and write both texts as tokens, unless an earlier start has; the texts are streamed.

    Raises:
        SpeechkitError: the earlier start had other texts or units.
    """
    ready = folder / "text.json"
    wanted = {"unit": config.unit, "vocab_size": config.vocab_size, "min_count": config.min_count}
    if ready.exists():
        made = read_json(ready)
        if made != {**made, **wanted, "train": train.mark, "dev": dev.mark}:
            raise SpeechkitError(
                f"{folder} was made of other text or for other units; choose another --out, or delete {folder.parent}"
            )
        return
    units = learn_units(config.unit, train.sentences(), config.vocab_size, config.min_count)
    for name, text in (("train", train), ("dev", dev)):
        write_tokens(folder, name, text.sentences(), units)
    write_json(ready, {**wanted, "train": train.mark, "dev": dev.mark, "units": units.state()})


def prepared_units(folder: Path) -> Units:
    """The units that `prepare_text` learned."""
    return Units.from_state(read_json(folder / "text.json")["units"])


class LmTask:
    """Trains a `LanguageModel` on the text that `prepare_text` wrote; the criterion is dev's perplexity per word."""

    def __init__(self, model: LanguageModel, folder: Path, seed: int, world: World) -> None:
        self.model, self.device, config = model, world.device, model.config
        self.module: nn.Module = model.module
        self.train, self.dev = TokenFile(folder, "train"), TokenFile(folder, "dev")
        self.batches = SentenceBatches(self.train, config.max_tokens, config.longest, seed, world.rank, world.size)

    def loss(self, model: nn.Module, batch: SentenceBatch) -> tuple[Tensor, float, dict[str, float]]:
        """Negative log-probability summed over tokens, and their number."""
        log_probs = model(batch.tokens.to(self.device), batch.lengths.to(self.device))
        return -log_probs.sum(), float(batch.lengths.sum()), {}

    def validate(self) -> Validation:
        """Perplexity per token, and per word as `speechkit.lm.perplexity` counts: sentence ends are words too."""
        total, counts = 0.0, self.dev.counts
        for numbers in batches_by_length(self.dev.lengths(), self.model.scored_tokens):
            loss, _, _ = self.loss(self.module, self.dev.batch(numbers))
            total += float(loss)
        word = _perplexity(total, counts["words"] + counts["sentences"])
        metrics = {"loss": total / counts["tokens"], "perplexity": _perplexity(total, counts["tokens"])}
        return Validation(word, {**metrics, "word_perplexity": word}, [])

    def describe(self, batch: SentenceBatch) -> str:
        """The lines of a batch, at most ten."""
        return f"lines {' '.join(map(str, batch.lines[:10]))}{' ...' if len(batch.lines) > 10 else ''} of the text"

    def record(self) -> dict[str, Any]:
        """Figures of the training for its record."""
        parameters = sum(parameter.numel() for parameter in self.module.parameters())
        return {"num_params": parameters, "train": self.train.counts, "dev": self.dev.counts}


def _perplexity(loss: float, count: int) -> float:
    return math.exp(loss / count) if loss / count < math.log(1e300) else math.inf
