"""Continuous integrate-and-fire (Dong and Xu 2020): frames have weights, and a character ends at each whole sum."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from speechkit.nn.conv import ConvBlock, ConvSubsampling
from speechkit.nn.lengths import valid_mask

MARGIN = 0.05  # of a character's weight
PAUSE = 0.04  # seconds
FIRST_LOGIT = -2.0  # of weights before they learn: a character in eight frames


@dataclass(frozen=True, kw_only=True)
class CifConfig:
    """`strides` subsample the feature frames; `dilations` has one residual convolution per entry."""

    in_dim: int = 83
    dim: int = 96
    strides: tuple[int, ...] = (2,)
    dilations: tuple[int, ...] = (1, 2, 4, 8)
    kernel: int = 5
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if min(self.in_dim, self.dim, self.kernel, *self.strides, *self.dilations) < 1:
            raise ValueError("in_dim, dim, kernel, strides and dilations are at least 1")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel is odd, not {self.kernel}")


class Cif(nn.Module):
    """Features `(N, T, in_dim)` to weights `(N, T')` in (0, 1), zero on padding, and their lengths `(N,)`.

    The weights of an utterance sum up to the number of its characters. Ours are convolutions on features; the paper's
    stand on the encoder of the recogniser that learns them.
    """

    def __init__(self, config: CifConfig) -> None:
        super().__init__()
        self.subsampling = ConvSubsampling(config.in_dim, config.dim, config.strides, config.dropout)
        self.blocks = nn.ModuleList(
            ConvBlock(config.dim, config.kernel, dilation, config.dropout) for dilation in config.dilations
        )
        self.norm = nn.LayerNorm(config.dim)
        self.output = nn.Linear(config.dim, 1)
        nn.init.constant_(self.output.bias, FIRST_LOGIT)

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Number of output frames for `lengths (N,)` feature frames."""
        return self.subsampling.output_lengths(lengths)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Weigh the frames of a padded batch."""
        x, lengths = self.subsampling(features, lengths)
        mask = valid_mask(lengths, x.shape[1])
        for block in self.blocks:
            x = block(x, mask)
        weights = torch.sigmoid(self.output(self.norm(x)).squeeze(2).float())
        return weights * mask, lengths


def fire(weights: npt.NDArray[np.floating], edges: npt.NDArray[np.float64]) -> list[tuple[float, float]]:
    """Characters as start and end in seconds from the weights of an utterance `(T,)`.

    A character ends whenever the running sum has grown by one; what remains after the last makes one more if it is half
    or more. Within a frame the sum grows evenly.

    Ours: a little weight is in silence too, so that a character begins where its first `MARGIN` is reached and ends
    where its last one is left; unless these times of two neighbours are less than `PAUSE` apart, who then meet where
    the sum is whole. Where all weights sum up to less than half, there is one segment, all of the audio.

    Args:
        weights: of each frame.
        edges: where frames begin and end, `(T + 1,)`, in seconds.
    """
    sums = np.append(0.0, np.cumsum(weights, dtype=np.float64))
    count = int(sums[-1] + 0.5)
    if not count:
        return [(float(edges[0]), float(edges[-1]))]
    whole = np.arange(count)
    starts = np.interp(whole + MARGIN, sums, edges)
    ends = np.interp(np.minimum(whole + 1, sums[-1]) - MARGIN, sums, edges)
    together = np.flatnonzero(starts[1:] - ends[:-1] < PAUSE)
    starts[together + 1] = ends[together] = np.interp(whole[together] + 1, sums, edges)
    return list(zip(starts.round(6).tolist(), ends.round(6).tolist(), strict=True))
