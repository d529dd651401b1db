"""Power spectra of frames with Kaldi's conventions, in blocks that stay in cache.

Frames start at multiples of the shift and lie wholly inside the signal (snip_edges), the mean of each frame is removed,
then come pre-emphasis, the povey window (Hann to the power 0.85), and the power spectrum of the next power of two.
Waveforms in [-1, 1] are brought to 16-bit scale, because Kaldi's floors are absolute numbers.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

INT16_SCALE = 32768.0
ENERGY_FLOOR = 1.1920928955078125e-07  # float32 epsilon, as in Kaldi
FRAMES_PER_BLOCK = {"cpu": 256}  # keeps a block's buffers in the second-level cache of a core
FRAMES_PER_BLOCK_ELSEWHERE = 65536


class Framing:
    """How a signal is cut into frames: what configurations of spectra have in common."""

    sampling_rate: int
    frame_length_ms: float
    frame_shift_ms: float
    preemphasis: float
    dither: float

    def check_frames(self) -> None:
        """Raise ValueError for what cannot be."""
        if self.sampling_rate <= 0 or self.frame_shift <= 0 or self.frame_length < 2:
            raise ValueError("sampling rate, frame length and frame shift must be positive")
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

    def num_frames(self, num_samples: int) -> int:
        """Frames that fit in `num_samples`; 0 for less than one frame."""
        return max(0, 1 + (num_samples - self.frame_length) // self.frame_shift)

    def dithered(self, waveform: Tensor, generator: torch.Generator | None) -> Tensor:
        """The waveform in float32, with noise where there is to be some."""
        waveform = waveform.to(torch.float32)
        if not self.dither:
            return waveform
        noise = torch.randn(waveform.shape, generator=generator).to(waveform.device)
        return waveform + noise * (self.dither / INT16_SCALE)


class Spectra:
    """Computes the spectra of one framing on one device; holds buffers, so use one object per thread."""

    def __init__(self, framing: Framing, device: torch.device) -> None:
        self._framing = framing
        self._size = FRAMES_PER_BLOCK.get(device.type, FRAMES_PER_BLOCK_ELSEWHERE)
        bins = framing.fft_length // 2 + 1
        window = torch.hann_window(framing.frame_length, periodic=False, dtype=torch.float64) ** 0.85
        self._window = (window * INT16_SCALE).to(device, torch.float32)
        self._padded = torch.zeros(self._size, framing.fft_length, device=device)
        self._spectrum = torch.empty(self._size, bins, dtype=torch.complex64, device=device)
        self._parts = torch.view_as_real(self._spectrum).view(self._size, 2 * bins)

    def blocks(self, waveform: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Runs of frames, and the squares of the real and imaginary parts of their bins in turn, `(B, fft_length + 2)`.

        The tensor holds the next block's numbers as soon as that is asked for.
        """
        framing = self._framing
        # DC removal and pre-emphasis are linear: (x_i - m) - c (x_{i-1} - m) = (x_i - c x_{i-1}) - (1 - c) m, so the
        # first term is computed once for the signal, not per frame. A frame's own first sample, which Kaldi
        # pre-emphasises differently, does not matter because the povey window begins with 0.
        emphasised = torch.empty_like(waveform)
        torch.sub(waveform[1:], waveform[:-1], alpha=framing.preemphasis, out=emphasised[1:])
        emphasised[0] = 0
        means = waveform.unfold(0, framing.frame_length, framing.frame_shift).mean(dim=1, keepdim=True)
        means.mul_(1 - framing.preemphasis)
        frames = emphasised.unfold(0, framing.frame_length, framing.frame_shift)
        for start in range(0, len(frames), self._size):
            block = slice(start, min(start + self._size, len(frames)))
            yield block, self._squares(frames[block], means[block])

    def _squares(self, frames: Tensor, means: Tensor) -> Tensor:
        count, length = frames.shape
        padded, parts = self._padded[:count], self._parts[:count]
        windowed = torch.sub(frames, means, out=padded[:, :length])
        windowed.mul_(self._window)
        torch.fft.rfft(padded, out=self._spectrum[:count])
        parts.mul_(parts)
        return parts
