"""Causal convolutions over frames: the context network of wav2vec (Schneider et al. 2019, section 2)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechkit.nn.strided import strided_conv
from speechkit.nn.waveform import UtteranceNorm

RESIDUAL_SCALE = math.sqrt(0.5)  # keeps the variance of a sum of two


@dataclass(frozen=True, kw_only=True)
class AggregatorConfig:
    """A layer for each of `kernels`; the defaults are the base model's. `dropout` comes before the norm.

    With `skip` the input of each layer is added to its output, and the sum scaled by sqrt(0.5).
    """

    kernels: tuple[int, ...] = (3,) * 9
    skip: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not self.kernels or min(self.kernels) < 1:
            raise ValueError("kernels must hold a positive number for each layer")

    @property
    def window(self) -> int:
        """Frames that a frame sees, itself and earlier ones."""
        return 1 + sum(kernel - 1 for kernel in self.kernels)


class Aggregator(nn.Module):
    """Frames `(N, T, C)` with lengths `(N,)` to context vectors `(N, T, C)`, that of a frame from it and earlier ones.

    The first frame is repeated to its left. Norms are over the valid frames of an utterance, so that each gives what
    it gives alone; through them alone a context vector depends on later frames, as the paper's does.
    """

    def __init__(self, config: AggregatorConfig, dim: int) -> None:
        super().__init__()
        self.config = config
        self.convs = nn.ModuleList(nn.Conv1d(dim, dim, kernel) for kernel in config.kernels)
        self.norms = nn.ModuleList(UtteranceNorm(dim) for _ in config.kernels)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Context vectors; those beyond the lengths mean nothing."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            y = F.dropout(_causal(conv, x), self.config.dropout, self.training)
            y = F.relu(norm(y, lengths))
            x = (x + y) * RESIDUAL_SCALE if self.config.skip else y
        return x


def _causal(conv: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(conv, nn.Conv1d)
    padded = torch.cat([x[:, :1].expand(-1, conv.kernel_size[0] - 1, -1), x], dim=1)
    return strided_conv(padded, conv.weight, conv.bias, stride=1)[:, : x.shape[1]]
