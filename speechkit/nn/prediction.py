"""Prediction of masked tokens, the same in BERTs over text and over codes of speech."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class PredictionLoss:
    """Sums over `count` predicted tokens.

    Attributes:
        total: negative log-probability (natural).
        right: tokens that are the most probable of all.
        count: divide by that of all processes.
    """

    total: Tensor
    right: int
    count: int


def prediction_head(dim: int, norm_eps: float) -> nn.Sequential:
    """What stands before BERT's output matrix, which is that of the input: dense layer, GELU, norm."""
    return nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.LayerNorm(dim, norm_eps))


def prediction_loss(logits: Tensor, targets: Tensor) -> PredictionLoss:
    """Cross-entropy of `logits (M, V)` with `targets (M,)`."""
    right = int((logits.detach().argmax(1) == targets).sum())
    return PredictionLoss(F.cross_entropy(logits, targets, reduction="sum"), right, len(targets))
