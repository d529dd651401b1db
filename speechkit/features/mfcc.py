"""Mel-frequency cepstra with Kaldi's conventions, from log-mel energies that are there already.

Kaldi's `compute-mfcc-feats --use-energy=false`: the first coefficients of an orthonormal cosine transform of the log
energies, weighted by the lifter 1 + L/2 sin(pi i / L).
"""

import math

import torch
from torch import Tensor

NUM_CEPSTRA = 13
LIFTER = 22.0


def cosine_transform(num_bins: int, count: int) -> Tensor:
    """The first `count` vectors of the orthonormal DCT-II over `num_bins` values, `(num_bins, count)` float64."""
    position = (torch.arange(num_bins, dtype=torch.float64) + 0.5) / num_bins
    order = torch.arange(count, dtype=torch.float64)
    cosines = torch.cos(math.pi * position[:, None] * order) * math.sqrt(2 / num_bins)
    cosines[:, 0] /= math.sqrt(2)
    return cosines


def lifter_weights(count: int, lifter: float = LIFTER) -> Tensor:
    """Weights of the cepstra `(count,)`, float64; all 1 for a lifter of 0."""
    if not lifter:
        return torch.ones(count, dtype=torch.float64)
    return 1 + 0.5 * lifter * torch.sin(math.pi * torch.arange(count, dtype=torch.float64) / lifter)


def mfcc(log_mel: Tensor, count: int = NUM_CEPSTRA, lifter: float = LIFTER) -> Tensor:
    """Cepstra `(..., count)` of log-mel energies `(..., num_bins)`.

    Raises:
        ValueError: more cepstra than bins.
    """
    num_bins = log_mel.shape[-1]
    if not 1 <= count <= num_bins:
        raise ValueError(f"{count} cepstra do not come out of {num_bins} mel bins")
    transform = cosine_transform(num_bins, count) * lifter_weights(count, lifter)
    return log_mel @ transform.to(log_mel)
