"""Log-mel filter-bank energies with Kaldi's conventions.

Triangular filters equally spaced on the mel scale 1127 ln(1 + f / 700) over the power spectrum of `spectrum.py`, and
the natural logarithm.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from speechkit.common.errors import SpeechkitError
from speechkit.features.interface import WaveformFeatures
from speechkit.features.spectrum import ENERGY_FLOOR, INT16_SCALE, Framing, Spectra

BINS_PER_PRODUCT = 20


@dataclass(frozen=True)
class FbankConfig(Framing):
    """What is computed; frequencies in Hz, times in milliseconds.

    `high_hz` of zero or less counts down from half the sampling rate. `dither` is the standard
    deviation, in 16-bit units, of Gaussian noise added to the waveform. Both backends give the same
    numbers within the float32 noise of 2e-3.
    """

    sampling_rate: int = 16000
    num_bins: int = 80
    frame_length_ms: float = 25.0
    frame_shift_ms: float = 10.0
    low_hz: float = 20.0
    high_hz: float = -400.0
    preemphasis: float = 0.97
    dither: float = 0.0
    backend: Literal["torch", "kaldifeat"] = "torch"

    def __post_init__(self) -> None:
        self.check_frames()
        nyquist = self.sampling_rate / 2
        if not 0 <= self.low_hz < self.top_hz <= nyquist:
            raise ValueError(f"the band {self.low_hz} to {self.top_hz} Hz does not fit in 0 to {nyquist} Hz")
        if self.num_bins < 1 or not bool((mel_filters(self) > 0).any(dim=1).all()):
            raise ValueError(f"num_bins={self.num_bins} leaves mel filters empty; take fewer")

    @property
    def top_hz(self) -> float:
        """Upper end of the highest filter."""
        return self.high_hz if self.high_hz > 0 else self.sampling_rate / 2 + self.high_hz


def mel_filters(config: FbankConfig) -> Tensor:
    """Weights `(num_bins, fft_length / 2 + 1)` of the triangular filters, float64.

    Triangles are linear in mel; the bin at half the sampling rate gets no weight, as in Kaldi.
    """
    edges = torch.linspace(_mel(config.low_hz), _mel(config.top_hz), config.num_bins + 2, dtype=torch.float64)
    hertz = torch.arange(config.fft_length // 2 + 1, dtype=torch.float64) * (config.sampling_rate / config.fft_length)
    mels = 1127.0 * torch.log1p(hertz / 700.0)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    weights = torch.minimum((mels - left) / (centre - left), (right - mels) / (right - centre)).clamp_min(0)
    weights[:, -1] = 0
    return weights


def _mel(hertz: float) -> float:
    return 1127.0 * math.log1p(hertz / 700.0)


class Fbank(WaveformFeatures):
    """Computes `FbankConfig`'s features; holds buffers, so use one object per thread."""

    def __init__(self, config: FbankConfig) -> None:
        self.config = config
        self._compute = _KaldifeatBackend(config) if config.backend == "kaldifeat" else _TorchBackend(config)

    @property
    def num_features(self) -> int:
        """Mel filters."""
        return self.config.num_bins

    @torch.no_grad()
    def extract(self, waveform: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Features `(T, num_bins)` of one waveform `(S,)` in [-1, 1]; T is 0 for less than one frame."""
        waveform = self.config.dithered(waveform, generator)
        if self.config.num_frames(waveform.numel()) == 0:
            return waveform.new_empty(0, self.config.num_bins)
        features: Tensor = self._compute(waveform)
        return features


class _KaldifeatBackend:
    def __init__(self, config: FbankConfig) -> None:
        try:
            import kaldifeat
        except ImportError as error:
            raise SpeechkitError(
                "fbank.backend kaldifeat is not installed; run tools/install_kaldifeat.sh, or take torch (same values)"
            ) from error
        options = kaldifeat.FbankOptions()
        options.frame_opts.samp_freq = config.sampling_rate
        options.frame_opts.frame_length_ms = config.frame_length_ms
        options.frame_opts.frame_shift_ms = config.frame_shift_ms
        options.frame_opts.preemph_coeff = config.preemphasis
        options.frame_opts.dither = 0.0
        options.mel_opts.num_bins = config.num_bins
        options.mel_opts.low_freq = config.low_hz
        options.mel_opts.high_freq = config.high_hz
        self._options = options
        self._computers: dict[str, Any] = {}

    def __call__(self, waveform: Tensor) -> Tensor:
        key = str(waveform.device)
        if key not in self._computers:
            import kaldifeat

            self._options.device = waveform.device
            self._computers[key] = kaldifeat.Fbank(self._options)
        features: Tensor = self._computers[key](waveform * INT16_SCALE)
        return features


class _TorchBackend:
    """Blocks of frames that stay in cache from the waveform to the logarithm."""

    def __init__(self, config: FbankConfig) -> None:
        self._config = config
        self._constants: dict[str, tuple[Spectra, list[tuple[slice, slice, Tensor]]]] = {}

    def __call__(self, waveform: Tensor) -> Tensor:
        config, key, device = self._config, str(waveform.device), waveform.device
        if key not in self._constants:
            self._constants[key] = Spectra(config, device), _banded_filters(mel_filters(config), device)
        spectra, filters = self._constants[key]
        features = waveform.new_empty(config.num_frames(len(waveform)), config.num_bins)
        for block, squares in spectra.blocks(waveform):
            energies = features[block]
            for columns, bins, weights in filters:
                torch.mm(squares[:, columns], weights, out=energies[:, bins])
            energies.clamp_min_(ENERGY_FLOOR).log_()
        return features


def _banded_filters(filters: Tensor, device: torch.device) -> list[tuple[slice, slice, Tensor]]:
    """Groups of neighbouring filters as (spectrum columns, mel bins, weights).

    Every weight stands twice, for the squares of the real and of the imaginary part, so that the
    matrix product also adds them up to the power; each group reads only the columns it has weight on.
    """
    groups = []
    for first in range(0, len(filters), BINS_PER_PRODUCT):
        rows = filters[first : first + BINS_PER_PRODUCT]
        used = rows.sum(dim=0).nonzero()[:, 0]
        low, high = int(used[0]), int(used[-1]) + 1
        weights = rows[:, low:high].T.repeat_interleave(2, dim=0).to(device, torch.float32).contiguous()
        groups.append((slice(2 * low, 2 * high), slice(first, first + len(rows)), weights))
    return groups
