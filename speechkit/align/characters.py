"""Where the characters of an utterance lie, as far as their number or their cores tell."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Spans = list[tuple[float, float]]
"""Start and end of each character in seconds."""


@dataclass(frozen=True)
class CharacterRate:
    """How many characters an utterance of some length has: `per_second * seconds + offset`."""

    per_second: float
    offset: float

    @classmethod
    def fit(cls, durations: Sequence[float], counts: Sequence[int]) -> "CharacterRate":
        """By least squares from utterances of which both are known; of equal lengths, the mean."""
        seconds = np.asarray(durations, dtype=np.float64)
        slope, mean = np.zeros(1), np.mean(counts)
        if np.ptp(seconds) > 0:
            slope = np.linalg.lstsq((seconds - seconds.mean())[:, None], np.asarray(counts) - mean, rcond=None)[0]
        return cls(float(slope[0]), float(mean - slope[0] * seconds.mean()))

    def count(self, duration: float) -> int:
        """The nearest whole number, at least 1."""
        return max(1, round(self.per_second * duration + self.offset))


def equal_division(count: int, duration: float) -> Spans:
    """`count` equal parts of the whole utterance, silence included."""
    edges = np.linspace(0, duration, count + 1).round(6).tolist()
    return list(itertools.pairwise(edges))


def token_cores(path: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """First frame and frame after the last of each token `(S, 2)` on a path of CTC `(T,)`, whose blank is 0."""
    edges = np.flatnonzero(np.diff(path, prepend=-1, append=-1))
    spans = np.stack([edges[:-1], edges[1:]], axis=1)
    found: npt.NDArray[np.int64] = spans[path[edges[:-1]] != 0]
    return found


def around_cores(cores: Sequence[tuple[float, float]], duration: float) -> Spans:
    """Segments about the cores of characters, `(S, 2)` in seconds.

    Neighbours meet in the middle between their cores. The first begins, and the last ends, half of the mean distance
    between the middles of neighbours beyond its core, or with the audio. Where there is one core or none, there is one
    segment, all of the audio.
    """
    if len(cores) < 2:
        return [(0.0, duration)]
    times = np.asarray(cores, dtype=np.float64)
    middles = times.mean(axis=1)
    reach = (middles[-1] - middles[0]) / (len(cores) - 1) / 2
    inner = (times[:-1, 1] + times[1:, 0]) / 2
    edges = np.concatenate([[max(0.0, times[0, 0] - reach)], inner, [min(duration, times[-1, 1] + reach)]])
    return list(itertools.pairwise(edges.round(6).tolist()))
