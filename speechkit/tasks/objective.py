"""What a recogniser is trained for: an objective turns outputs and a batch into a loss. CTC is here, LF-MMI beside."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from torch import Tensor

from speechkit.data.batches import Batch
from speechkit.decode.greedy import greedy
from speechkit.losses.ctc import ctc_loss, min_frames

LossName = Literal["ctc", "lfmmi"]


@dataclass(frozen=True)
class LossSum:
    """A loss summed over a batch, the number of tokens to divide it by, and further figures to log."""

    total: Tensor
    tokens: float
    figures: Mapping[str, float] = field(default_factory=dict)


class Objective(Protocol):
    """What a recogniser is trained for."""

    def min_frames(self, tokens: list[int]) -> int:
        """The fewest output frames that an utterance of these tokens can be trained on."""
        ...

    def __call__(self, outputs: Tensor, lengths: Tensor, batch: Batch, update: int) -> LossSum:
        """The loss of the model's `outputs (N, T, V)` with `lengths (N,)`, after `update` updates."""
        ...

    def decode(self, outputs: Tensor, lengths: Tensor) -> list[list[int]]:
        """Token ids of each utterance, for the error rate that chooses the best checkpoint."""
        ...

    def describe(self) -> dict[str, Any]:
        """What the record of a training should say about it."""
        ...


class Ctc:
    """Connectionist temporal classification."""

    def min_frames(self, tokens: list[int]) -> int:
        """One frame per token, and a blank between equal neighbours."""
        return min_frames(tokens)

    def __call__(self, outputs: Tensor, lengths: Tensor, batch: Batch, update: int) -> LossSum:
        """The loss of the targets; outputs may lack their normalisation."""
        loss = ctc_loss(outputs.log_softmax(dim=-1), lengths, batch.targets, batch.target_lengths)
        return LossSum(loss, float(batch.target_lengths.sum()))

    def decode(self, outputs: Tensor, lengths: Tensor) -> list[list[int]]:
        """Greedily."""
        return greedy(outputs, lengths)

    def describe(self) -> dict[str, Any]:
        """The name."""
        return {"loss": "ctc"}
