"""Where there is speech in a recording: by its energy against its own noise, or by rVAD.

A detector gives the stretches of speech `(N, 2)` in samples, in order and apart: what is between them is silence.
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from speechkit.common.environment import install_command, package_version
from speechkit.common.errors import SpeechkitError

Samples = npt.NDArray[np.float32]
Stretches = npt.NDArray[np.int64]

FRAMES_PER_SECOND = 100
FRAMES_PER_WINDOW = 3
PRE_EMPHASIS = 0.97  # so that hum weighs little and fricatives much
LEAST_ENERGY = 1e-10  # of a frame, per sample: rounding to 16 bits makes as much
NOISE, SPEECH = 0.1, 0.95  # quantiles of the energies of an utterance that stand for them


class Detector(Protocol):
    """Finds speech; `description` says in words by what settings."""

    @property
    def description(self) -> str: ...
    def __call__(self, samples: Samples, rate: int) -> Stretches:
        """Stretches of speech `(N, 2)`, first sample and that behind the last, of samples `(S,)` in [-1, 1]."""
        ...


@dataclass(frozen=True, kw_only=True)
class EnergyDetector:
    """Speech is what is louder than a threshold between the noise of the utterance and its speech.

    Energies are of windows of 30 ms every 10 ms, pre-emphasised, in decibels, and smoothed over `smoothing` seconds.
    Noise is their 10 % quantile, speech their 95 % quantile; the threshold is the `share` of the way from one to the
    other, and `margin` dB above the noise at least. Speech is padded by `padding` seconds on both sides. Gaps that
    leave less than `least_silence` are no silence, and what is shorter than `least_speech` by itself is no speech.
    """

    share: float = 0.3
    margin: float = 6.0
    smoothing: float = 0.05
    least_speech: float = 0.1
    least_silence: float = 0.2
    padding: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.share < 1 or self.margin < 0:
            raise ValueError("share must be between 0 and 1, margin not negative")
        if min(self.smoothing, self.least_speech, self.least_silence, self.padding) < 0:
            raise ValueError("smoothing, least_speech, least_silence and padding must not be negative")

    @property
    def description(self) -> str:
        """The settings in words."""
        return (
            f"energy: {100 * self.share:g} % of the way from noise to speech and {self.margin:g} dB above noise at "
            f"least, smoothed over {self.smoothing:g} s, speech of {self.least_speech:g} s and silence of "
            f"{self.least_silence:g} s at least, padded by {self.padding:g} s"
        )

    def __call__(self, samples: Samples, rate: int) -> Stretches:
        """All of it is speech where it is shorter than a window or does not reach `margin` above its noise."""
        levels = _smoothed(frame_levels(samples, rate), self._frames(self.smoothing))
        if not len(levels):
            return np.array([[0, len(samples)]])
        noise, speech = np.quantile(levels, (NOISE, SPEECH))
        found = levels > noise + max(self.margin, self.share * (speech - noise))
        if not found.any():
            return np.array([[0, len(samples)]])
        padding = self._frames(self.padding)
        runs = _joined(_runs(found), max(1, self._frames(self.least_silence)) + 2 * padding)
        runs = _without_short(runs, self._frames(self.least_speech))
        runs = np.clip(runs + [-padding, padding], 0, len(levels))
        return to_samples(runs, len(levels), len(samples), rate)

    def _frames(self, seconds: float) -> int:
        return round(seconds * FRAMES_PER_SECOND)


class RvadDetector:
    """The unsupervised detector rVAD in its fast form (Tan, Sarkar and Dehak 2020), by the package rVADfast.

    Raises:
        SpeechkitError: the package is not installed.
    """

    def __init__(self) -> None:
        self._find()

    @property
    def description(self) -> str:
        """The version, which has the settings."""
        return f"rvad: rVADfast {package_version('rVADfast')} as it is"

    def __call__(self, samples: Samples, rate: int) -> Stretches:
        """All of it is speech where it is shorter than a window or rVAD finds none."""
        if len(samples) < math.ceil(2 * FRAMES_PER_WINDOW * rate / FRAMES_PER_SECOND):
            return np.array([[0, len(samples)]])
        labels, _ = self._find()(samples.astype(np.float64), rate)
        found = np.asarray(labels) > 0
        if not found.any():
            return np.array([[0, len(samples)]])
        return to_samples(_runs(found), len(found), len(samples), rate)

    def _find(self) -> Any:
        try:
            from rVADfast import rVADfast  # type: ignore[import, unused-ignore]
        except ImportError as error:
            command = install_command("rVADfast")
            raise SpeechkitError(f"--detector rvad needs rVADfast; run: {command}, or take energy") from error
        return rVADfast()


def frame_levels(samples: Samples, rate: int) -> npt.NDArray[np.float64]:
    """Energies `(T,)` in decibels of pre-emphasised windows of 30 ms, every 10 ms."""
    hop = rate // FRAMES_PER_SECOND
    blocks = len(samples) // hop
    if blocks < FRAMES_PER_WINDOW:
        return np.zeros(0)
    emphasised = samples[: blocks * hop].copy()
    emphasised[1:] -= np.float32(PRE_EMPHASIS) * samples[: blocks * hop - 1]
    rows = emphasised.reshape(blocks, hop)
    energies = np.einsum("th,th->t", rows, rows).astype(np.float64)
    windows = np.convolve(energies, np.ones(FRAMES_PER_WINDOW), "valid") / (FRAMES_PER_WINDOW * hop)
    return 10 * np.log10(windows + LEAST_ENERGY)


def to_samples(runs: Stretches, frames: int, samples: int, rate: int) -> Stretches:
    """Runs of frames `(N, 2)` as samples; the first and the last frame reach to the ends of the recording."""
    hop = rate // FRAMES_PER_SECOND
    beside = (samples - frames * hop) // 2  # windows reach beyond their 10 ms
    found = runs * hop + beside
    found[runs == 0], found[runs == frames] = 0, samples
    return found


def _smoothed(levels: npt.NDArray[np.float64], frames: int) -> npt.NDArray[np.float64]:
    """Means over `frames` neighbours, fewer at the ends."""
    if frames < 2 or not len(levels):
        return levels
    sums = np.concatenate([[0.0], np.cumsum(levels)])
    first = np.maximum(np.arange(len(levels)) - (frames - 1) // 2, 0)
    end = np.minimum(np.arange(len(levels)) + frames // 2 + 1, len(levels))
    means: npt.NDArray[np.float64] = (sums[end] - sums[first]) / (end - first)
    return means


def _runs(found: npt.NDArray[np.bool_]) -> Stretches:
    """First frame of each run of True and that behind it, `(N, 2)`."""
    edges = np.diff(np.concatenate([[0], found.astype(np.int8), [0]]))
    return np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], axis=1)


def _without_short(runs: Stretches, least: int) -> Stretches:
    """Without the runs of fewer than `least` frames; the longest stays in any case."""
    lengths = runs[:, 1] - runs[:, 0]
    kept: Stretches = runs[lengths >= min(least, lengths.max())]
    return kept


def _joined(runs: Stretches, least: int) -> Stretches:
    """With gaps of fewer than `least` frames closed."""
    wide = runs[1:, 0] - runs[:-1, 1] >= least
    starts, ends = runs[np.concatenate([[True], wide]), 0], runs[np.concatenate([wide, [True]]), 1]
    return np.stack([starts, ends], axis=1)
