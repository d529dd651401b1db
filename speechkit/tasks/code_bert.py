"""BERT over codes of speech: its training on label files, and its checkpoint."""

import logging
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from speechkit.common.errors import SpeechkitError
from speechkit.config.load import from_dict, to_dict
from speechkit.data.batches import name_utterances
from speechkit.data.labels import UNKNOWN, LabelFile
from speechkit.lm.code_pieces import CodePieces, count_codes
from speechkit.lm.token_file import SentenceBatch, SentenceBatches, batches_by_length
from speechkit.models.code_bert import CodeBert, CodeStackConfig
from speechkit.nn.masking import SpanMaskConfig
from speechkit.nn.prediction import PredictionLoss
from speechkit.train.checkpoint import MODEL, TASK, load_module, read_document, save_folder
from speechkit.train.distributed import World
from speechkit.train.trainer import TrainConfig, Validation

log = logging.getLogger(__name__)
NAME = "code-bert"


@dataclass(frozen=True, kw_only=True)
class CodeBertConfig:
    """Everything that decides what a training does, besides its codes and its seed.

    Utterances are cut into even pieces of at most `longest` codes; batches hold `max_tokens`, padding included.
    """

    model: CodeStackConfig = field(default_factory=CodeStackConfig)
    mask: SpanMaskConfig = field(default_factory=lambda: SpanMaskConfig(probability=0.05, length=10))
    max_tokens: int = 3072
    longest: int = 3072
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        if self.model.dim % 2:
            raise ValueError(f"model.dim is even, for positions are sines and cosines, not {self.model.dim}")
        if not self.mask.length <= self.longest <= self.max_tokens:
            raise ValueError(
                f"longest ({self.longest}) is at least mask.length ({self.mask.length}) and at most max_tokens "
                f"({self.max_tokens})"
            )
        if not self.mask.probability:
            raise ValueError("mask.probability is more than 0: what is not masked is not learned")


@dataclass(frozen=True)
class Codes:
    """What the codes of a label file are; files of which all of this is the same go together."""

    names: list[str]
    frame_rate: float
    origin: dict[str, Any]

    @classmethod
    def of(cls, labels: LabelFile) -> "Codes":
        """Those of a file."""
        return cls(labels.names, labels.frame_rate, labels.origin)

    @property
    def unknown(self) -> int | None:
        """The number that stands for codes that were not seen in training."""
        return self.names.index(UNKNOWN) if UNKNOWN in self.names else None


class CodeBertModel:
    """A BERT over codes with its configuration and what its codes are."""

    def __init__(self, config: CodeBertConfig, codes: Codes) -> None:
        self.config, self.codes = config, codes
        self.module = CodeBert(config.model, config.mask, len(codes.names), codes.unknown)

    def save(self, folder: Path, weights: dict[str, Tensor]) -> None:
        """Write a checkpoint that needs nothing else."""
        document = {"task": NAME, "config": to_dict(self.config), "codes": asdict(self.codes)}
        save_folder(folder, {MODEL: weights}, {TASK: document})

    @classmethod
    def load(cls, folder: Path) -> "CodeBertModel":
        """Read what `save` wrote.

        Raises:
            SpeechkitError: the folder holds no BERT over codes, or a damaged one.
        """
        document = read_document(
            folder, NAME, "is not a BERT over codes; `speechkit code-bert` writes one to OUT/final"
        )
        model = cls(from_dict(CodeBertConfig, document["config"], str(folder / TASK)), Codes(**document["codes"]))
        load_module(model.module, folder / MODEL)
        return model


class CodeBertTask:
    """Trains on the label file `train` of a folder, and watches the loss on `dev`.

    Raises:
        SpeechkitError: there is nothing to be learned from the labels, or the two files do not belong together.
    """

    def __init__(self, config: CodeBertConfig, labels: Path, seed: int, world: World) -> None:
        train, dev = LabelFile(labels, "train"), LabelFile(labels, "dev")
        self.device, self.config = world.device, config
        self.model = CodeBertModel(config, Codes.of(train))
        self.module: nn.Module = self.model.module
        if Codes.of(dev) != self.model.codes:
            raise SpeechkitError(f"{labels}: train and dev hold codes of different kinds; make both by one command")
        self.usage = {"train": _usage(train, labels / "train.bin"), "dev": _usage(dev, labels / "dev.bin")}
        self.train, self.dev = CodePieces(train, config.longest), CodePieces(dev, config.longest)
        for name, pieces in (("train", self.train), ("dev", self.dev)):
            if pieces.lengths().max() < config.mask.length:
                raise SpeechkitError(
                    f"{labels / name}.bin: no utterance has the {config.mask.length} codes of a masked span; "
                    "lower mask.length"
                )
        self.batches = SentenceBatches(self.train, config.max_tokens, config.longest, seed, world.rank, world.size)

    def loss(self, model: nn.Module, batch: SentenceBatch) -> tuple[Tensor, float, dict[str, float]]:
        """Negative log-probability summed over masked codes, their number, and figures to watch."""
        found = self._run(model, batch)
        accuracy = found.right / max(1, found.count)
        return found.total, float(found.count), {"masked_accuracy": accuracy, "masked_codes": float(found.count)}

    def _run(self, model: nn.Module, batch: SentenceBatch) -> PredictionLoss:
        found: PredictionLoss = model(batch.tokens.to(self.device), batch.lengths.to(self.device))
        return found

    def validate(self) -> Validation:
        """Loss, perplexity and accuracy over masked codes of the development set, with the same masks each time."""
        total, right, count = 0.0, 0, 0
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for numbers in batches_by_length(self.dev.lengths(), self.config.max_tokens):
                found = self._run(self.module, self.dev.batch(numbers))
                total, right, count = total + float(found.total), right + found.right, count + found.count
        loss = total / max(1, count)
        metrics = {"loss": loss, "perplexity": math.exp(min(loss, 700)), "masked_accuracy": right / max(1, count)}
        return Validation(loss, metrics, [])

    def describe(self, batch: SentenceBatch) -> str:
        """The utterances of a batch, at most ten."""
        return name_utterances(self.train.utterances(batch))

    def record(self) -> dict[str, Any]:
        """Figures of the training for its record."""
        parameters = sum(parameter.numel() for parameter in self.module.parameters())
        hours = self.usage["train"]["codes"] / self.model.codes.frame_rate / 3600
        return {"num_params": parameters, "train_hours": hours, "codes": self.usage}


def _usage(labels: LabelFile, path: Path) -> dict[str, Any]:
    """How many codes a file has, how many different ones, their perplexity and the share of unknown ones."""
    counts, unknown = count_codes(labels), Codes.of(labels).unknown
    total, known = int(counts.sum()), counts.copy()
    if unknown is not None:
        known[unknown] = 0
    shares = known[known > 0] / max(1, known.sum())
    if len(shares) < 2:
        raise SpeechkitError(f"{path} holds fewer than two different codes; make labels with more")
    perplexity = math.exp(-float((shares * np.log(shares)).sum()))
    share = (total - int(known.sum())) / total
    return {"codes": total, "different": len(shares), "perplexity": perplexity, "unknown": share}
