"""Log-mel filter-bank energies with Kaldi's conventions.

Frames start at multiples of the shift and lie wholly inside the signal (snip_edges), the mean of
each frame is removed, then come pre-emphasis, the povey window (Hann to the power 0.85), the power
spectrum of the next power of two, triangular filters equally spaced on the mel scale
1127 ln(1 + f / 700), and the natural logarithm. Waveforms in [-1, 1] are brought to 16-bit scale
first, because the energy floor is an absolute number.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from speechkit.common.errors import SpeechkitError

INT16_SCALE = 32768.0
ENERGY_FLOOR = 1.1920928955078125e-07  # float32 epsilon, as in Kaldi
FRAMES_PER_BLOCK = {"cpu": 256}  # keeps a block's buffers in the second-level cache of a core
FRAMES_PER_BLOCK_ELSEWHERE = 65536
BINS_PER_PRODUCT = 20


@dataclass(frozen=True)
class FbankConfig:
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
        nyquist = self.sampling_rate / 2
        if self.sampling_rate <= 0 or self.frame_shift <= 0 or self.frame_length < 2:
            raise ValueError("sampling rate, frame length and frame shift must be positive")
        if not 0 <= self.low_hz < self.top_hz <= nyquist:
            raise ValueError(f"the band {self.low_hz} to {self.top_hz} Hz does not fit in 0 to {nyquist} Hz")
        if self.num_bins < 1 or not bool((mel_filters(self) > 0).any(dim=1).all()):
            raise ValueError(f"num_bins={self.num_bins} leaves mel filters empty; take fewer")
        if self.dither < 0:
            raise ValueError("dither cannot be negative")

    @property
    def frame_length(self) -> int:
        """Samples in one frame."""
        return int(self.sampling_rate * 0.001 * self.frame_length_ms)

    @property
    def frame_shift(self) -> int:
        """Samples from one frame to the next."""
        return int(self.sampling_rate * 0.001 * self.frame_shift_ms)

    @property
    def fft_length(self) -> int:
        """The frame length, rounded up to a power of two."""
        return 1 << (self.frame_length - 1).bit_length()

    @property
    def top_hz(self) -> float:
        """Upper end of the highest filter."""
        return self.high_hz if self.high_hz > 0 else self.sampling_rate / 2 + self.high_hz

    def num_frames(self, num_samples: int) -> int:
        """Frames that fit in `num_samples`; 0 for less than one frame."""
        return max(0, 1 + (num_samples - self.frame_length) // self.frame_shift)


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


class Fbank:
    """Computes `FbankConfig`'s features; holds buffers, so use one object per thread."""

    def __init__(self, config: FbankConfig) -> None:
        self.config = config
        self._compute = _KaldifeatBackend(config) if config.backend == "kaldifeat" else _TorchBackend(config)

    @torch.no_grad()
    def __call__(
        self,
        waveforms: Tensor | Sequence[Tensor],
        lengths: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Features of a batch.

        Args:
            waveforms: `(N, S)`, or a sequence of 1-D tensors; floats in [-1, 1].
            lengths: samples of each waveform, `(N,)`; all of them where left out.
            generator: source of the dither's noise.

        Returns:
            Features `(N, T, num_bins)`, zero behind each utterance's end, and frames `(N,)` as int64.
        """
        samples = [waveform.numel() for waveform in waveforms] if lengths is None else lengths.tolist()
        each = [self.extract(waveform[:count], generator) for waveform, count in zip(waveforms, samples, strict=True)]
        frames = torch.tensor([len(features) for features in each], dtype=torch.int64)
        return torch.nn.utils.rnn.pad_sequence(each, batch_first=True), frames

    @torch.no_grad()
    def extract(self, waveform: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Features `(T, num_bins)` of one waveform `(S,)` in [-1, 1]; T is 0 for less than one frame."""
        waveform = waveform.to(torch.float32)
        if self.config.dither:
            noise = torch.randn(waveform.shape, generator=generator).to(waveform.device)
            waveform = waveform + noise * (self.config.dither / INT16_SCALE)
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
        self._workspaces: dict[str, _Workspace] = {}

    def __call__(self, waveform: Tensor) -> Tensor:
        config, key = self._config, str(waveform.device)
        if key not in self._workspaces:
            self._workspaces[key] = _Workspace(config, waveform.device)
        work = self._workspaces[key]
        # DC removal and pre-emphasis are linear: (x_i - m) - c (x_{i-1} - m) = (x_i - c x_{i-1}) - (1 - c) m, so the
        # first term is computed once for the signal, not per frame. A frame's own first sample, which Kaldi
        # pre-emphasises differently, does not matter because the povey window begins with 0.
        emphasised = torch.empty_like(waveform)
        torch.sub(waveform[1:], waveform[:-1], alpha=config.preemphasis, out=emphasised[1:])
        emphasised[0] = 0
        means = waveform.unfold(0, config.frame_length, config.frame_shift).mean(dim=1, keepdim=True)
        means.mul_(1 - config.preemphasis)
        frames = emphasised.unfold(0, config.frame_length, config.frame_shift)
        features = waveform.new_empty(len(frames), config.num_bins)
        for start in range(0, len(frames), work.size):
            block = slice(start, start + work.size)
            work.compute(frames[block], means[block], features[block])
        return features


class _Workspace:
    """Buffers and constants of one device."""

    def __init__(self, config: FbankConfig, device: torch.device) -> None:
        self.size = FRAMES_PER_BLOCK.get(device.type, FRAMES_PER_BLOCK_ELSEWHERE)
        bins = config.fft_length // 2 + 1
        window = torch.hann_window(config.frame_length, periodic=False, dtype=torch.float64) ** 0.85
        self._window = (window * INT16_SCALE).to(device, torch.float32)
        self._padded = torch.zeros(self.size, config.fft_length, device=device)
        self._spectrum = torch.empty(self.size, bins, dtype=torch.complex64, device=device)
        self._parts = torch.view_as_real(self._spectrum).view(self.size, 2 * bins)
        self._filters = _banded_filters(mel_filters(config), device)

    def compute(self, frames: Tensor, means: Tensor, out: Tensor) -> None:
        """Write the log energies of pre-emphasised frames `(B, frame_length)` into `out` `(B, num_bins)`."""
        count, length = frames.shape
        padded, parts = self._padded[:count], self._parts[:count]
        windowed = torch.sub(frames, means, out=padded[:, :length])
        windowed.mul_(self._window)
        torch.fft.rfft(padded, out=self._spectrum[:count])
        parts.mul_(parts)
        for columns, bins, weights in self._filters:
            torch.mm(parts[:, columns], weights, out=out[:, bins])
        out.clamp_min_(ENERGY_FLOOR).log_()


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
