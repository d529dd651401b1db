"""What the pitch tracker multiplies signals and correlations with: each resampling is a product with a small matrix."""

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from speechkit.features.pitch_config import PitchConfig
from speechkit.features.spectrum import INT16_SCALE

SAMPLES_PER_PRODUCT = 40
LAGS_PER_PRODUCT = 96


class Resampling:
    """Low-pass filtering to the lower rate, as a product of overlapping pieces of the signal with one banded matrix.

    The filter is a sinc under a raised cosine; it depends only on where an output sample lies between input samples,
    which repeats after `shift` of them. It takes [-1, 1] to 16-bit units.
    """

    def __init__(self, config: PitchConfig, device: torch.device) -> None:
        into, out = int(config.sample_frequency), int(config.resample_frequency)
        common = math.gcd(into, out)
        units = -(-SAMPLES_PER_PRODUCT * common // out)
        self.shift = units * into // common
        times = np.arange(units * out // common) / out
        width = config.lowpass_filter_width / (2 * config.lowpass_cutoff)
        self.before = int(math.floor(width * into))
        positions = np.arange(-self.before, math.floor((times[-1] + width) * into) + 1) / into
        offsets = (positions[:, None] - times).astype(np.float32)
        weights = _filter(offsets, config.lowpass_cutoff, config.lowpass_filter_width) / np.float32(into)
        self.weights = torch.from_numpy(weights * np.float32(INT16_SCALE)).to(device)

    def __call__(self, waveforms: Tensor, count: int) -> Tensor:
        """The first `count` samples at the lower rate `(N, count)` of `(N, S)`, which is silent beyond its ends."""
        length, outputs = self.weights.shape
        pieces = max(1, -(-count // outputs))
        behind = self.shift * (pieces - 1) + length - self.before - waveforms.shape[1]
        padded = pad(waveforms, (self.before, behind))
        return (padded.unfold(1, length, self.shift) @ self.weights).flatten(1)[:, :count]


def _filter(times: NDArray[np.float32], cutoff: float, zeros: int) -> NDArray[np.float32]:
    """A sinc with its first zero at 1 / (2 cutoff), under a raised cosine that ends after `zeros` half periods.

    Rounded to float32 where Kaldi does: the times' last digits are worth 1e-5 of the NCCF, enough to turn a search.
    """
    exact = times.astype(np.float64)
    cosine = (0.5 + 0.5 * np.cos(2 * np.pi * cutoff / zeros * exact)).astype(np.float32)
    window = np.where(np.abs(exact) < zeros / (2 * cutoff), cosine, np.float32(0))
    sinc = (2 * cutoff * np.sinc(2 * cutoff * exact)).astype(np.float32)
    result: NDArray[np.float32] = sinc * window
    return result


def lag_grid(config: PitchConfig) -> NDArray[np.float32]:
    """Candidate pitch periods in seconds, a geometric series from 1 / max_f0 to 1 / min_f0, float32.

    Each is the one before times 1 + delta_pitch, rounded to float32 every time, as in Kaldi: the last digits of the
    pitch and, at the upper end, the number of lags depend on it.
    """
    step, last = 1.0 + float(np.float32(config.delta_pitch)), np.float32(1.0 / config.max_f0)
    lags = []
    while last <= np.float32(1.0 / config.min_f0):
        lags.append(last)
        last = np.float32(float(last) * step)
    return np.array(lags, dtype=np.float32)


def lag_weights(config: PitchConfig) -> NDArray[np.float32]:
    """Interpolation `(M, L)` from the M measured lags, whole samples, to the L of the grid."""
    rate = np.float32(config.resample_frequency)
    lags = lag_grid(config) - np.float32(config.first_lag) / rate
    measured = np.arange(config.last_lag - config.first_lag + 1, dtype=np.float32) / rate
    weights = _filter(lags - measured[:, None], config.resample_frequency / 2, config.upsample_filter_width)
    result: NDArray[np.float32] = weights / rate
    return result


class PitchTables:
    """The constants of one configuration on one device."""

    def __init__(self, config: PitchConfig, device: torch.device) -> None:
        lags, weights = lag_grid(config), lag_weights(config)
        self.resampling = Resampling(config, device)
        self.num_measured, self.num_lags = weights.shape
        self.weights = torch.from_numpy(weights).to(device, torch.float32)
        self.weights_of_lag = self.weights.T.contiguous()
        self.hertz = (1.0 / torch.from_numpy(lags)).to(device)
        # The local cost is 1 - nccf (1 - soft_min_f0 lag).
        self.prices = torch.from_numpy(lags * np.float32(config.soft_min_f0)).to(device)
        self._groups = _banded(self.weights)
        self.factor = float(
            np.float32(math.log1p(np.float32(config.delta_pitch)) ** 2) * np.float32(config.penalty_factor)
        )

    def interpolate(self, nccf: Tensor, result: Tensor) -> Tensor:
        """Write the NCCF at the lags of the grid, `result (T, L)`, given that at the measured lags `(T, M)`."""
        for rows, columns, weights in self._groups:
            torch.mm(nccf[:, rows], weights, out=result[:, columns])
        return result


def _banded(weights: Tensor) -> list[tuple[slice, slice, Tensor]]:
    """Groups of neighbouring columns with the rows that they have weight on: (rows, columns, weights)."""
    groups = []
    for first in range(0, weights.shape[1], LAGS_PER_PRODUCT):
        part = weights[:, first : first + LAGS_PER_PRODUCT]
        used = part.abs().sum(dim=1).nonzero()[:, 0]
        rows = slice(int(used[0]), int(used[-1]) + 1)
        groups.append((rows, slice(first, first + part.shape[1]), part[rows].contiguous()))
    return groups


@lru_cache(maxsize=8)
def tables_for(config: PitchConfig, device: torch.device) -> PitchTables:
    """The tables of a configuration on a device, made once."""
    return PitchTables(config, device)
