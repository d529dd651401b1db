"""Mel-frequency cepstra with Kaldi's conventions, from waveforms or from log-mel energies that are there already.

Kaldi's `compute-mfcc-feats --use-energy=false`: the first coefficients of an orthonormal cosine transform of the log
energies, weighted by the lifter 1 + L/2 sin(pi i / L).
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from speechkit.features.deltas import add_deltas
from speechkit.features.fbank import Fbank, FbankConfig
from speechkit.features.interface import WaveformFeatures

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


@dataclass(frozen=True)
class MfccConfig:
    """Cepstra of 23 mel bins up to half the sampling rate, with first and second derivatives: Kaldi's settings.

    `delta_order` 0 leaves the derivatives out.
    """

    fbank: FbankConfig = field(default_factory=lambda: FbankConfig(num_bins=23, high_hz=0.0))
    num_cepstra: int = NUM_CEPSTRA
    lifter: float = LIFTER
    delta_order: int = 2
    delta_window: int = 2

    def __post_init__(self) -> None:
        if not 1 <= self.num_cepstra <= self.fbank.num_bins:
            raise ValueError(f"{self.num_cepstra} cepstra do not come out of {self.fbank.num_bins} mel bins")
        if self.delta_order < 0 or self.delta_window < 1:
            raise ValueError("delta_order must be at least 0 and delta_window at least 1")


class Mfcc(WaveformFeatures):
    """Computes `MfccConfig`'s features."""

    def __init__(self, config: MfccConfig) -> None:
        self.config = config
        self._fbank = Fbank(config.fbank)

    @property
    def num_features(self) -> int:
        """Cepstra and their derivatives."""
        return self.config.num_cepstra * (self.config.delta_order + 1)

    @torch.no_grad()
    def extract(self, waveform: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Features `(T, C)` of one waveform `(S,)` in [-1, 1]; T is 0 for less than one frame."""
        config = self.config
        cepstra = mfcc(self._fbank.extract(waveform, generator), config.num_cepstra, config.lifter)
        return add_deltas(cepstra, config.delta_order, config.delta_window)
