"""How near found segments of utterances come to true ones: their number, and where they begin and end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np
import numpy.typing as npt

from speechkit.metrics.boundaries import ROUNDING_S, BoundaryScore, score_boundaries

TOLERANCE_S = 0.05
Segments = Sequence[tuple[float, float]] | npt.NDArray[np.float64]


@dataclass
class SegmentScore:
    """Sums over utterances.

    Attributes:
        utterances: how many were compared.
        missing: how many of the reference there were not.
        right: those whose numbers of segments agree.
        miscounted: differences between the two numbers, without sign.
        boundaries: of utterances with agreeing numbers, every start and every end, pauses included.
        near: boundaries of the reference that are paired, one to one, with a found one within 50 ms; `true` and `found`
            are all of them. A boundary between two segments is one.
    """

    utterances: int = 0
    missing: int = 0
    right: int = 0
    miscounted: int = 0
    boundaries: BoundaryScore = field(default_factory=BoundaryScore)
    near: int = 0
    true: int = 0
    found: int = 0

    @property
    def boundary_ms(self) -> float | None:
        """Mean difference of boundaries without sign, None where no number agrees."""
        differences = self.boundaries.differences
        return 1000 * fmean(map(abs, differences)) if differences else None

    @property
    def f1(self) -> float:
        """Harmonic mean of the shares of reference and found boundaries that are paired, in percent."""
        return 200 * self.near / max(1, self.true + self.found)

    def figures(self) -> dict[str, float | None]:
        """Everything as JSON: shares in percent, errors in segments per utterance and in milliseconds."""
        error = self.boundary_ms
        return {
            "utterances": self.utterances,
            "missing": self.missing,
            "right_count": round(100 * self.right / max(1, self.utterances), 3),
            "count_error": round(self.miscounted / max(1, self.utterances), 4),
            "boundary_ms": None if error is None else round(error, 3),
            "f1_50_ms": round(self.f1, 3),
            "where_counts_agree": dict(self.boundaries.figures()),  # type: ignore[dict-item]
        }


def score_segments(reference: Mapping[str, Segments], found: Mapping[str, Segments]) -> SegmentScore:
    """Compare the utterances of `reference`, start and end times in seconds of each segment in order of time."""
    score = SegmentScore()
    agreeing: list[tuple[Segments, Segments]] = []
    for name, true in reference.items():
        if name not in found:
            score.missing += 1
            continue
        segments = found[name]
        score.utterances += 1
        score.miscounted += abs(len(true) - len(segments))
        if len(true) == len(segments):
            score.right += 1
            agreeing.append((true, segments))
        times = boundary_times(true), boundary_times(segments)
        score.true, score.found = score.true + len(times[0]), score.found + len(times[1])
        score.near += pairs_within(*times, TOLERANCE_S)
    references, hypotheses = ([_numbered(each[side]) for each in agreeing] for side in (0, 1))
    score.boundaries = score_boundaries(references, hypotheses, next_to_silence=True)
    return score


def _numbered(segments: Segments) -> list[tuple[str, float, float]]:
    return [(str(number), float(start), float(end)) for number, (start, end) in enumerate(segments)]


def boundary_times(segments: Segments) -> list[float]:
    """All starts and ends; where a segment begins as the one before ends, that is one boundary."""
    times: list[float] = []
    for start, end in segments:
        if not times or start - times[-1] > ROUNDING_S:
            times.append(float(start))
        times.append(float(end))
    return times


def pairs_within(a: Sequence[float], b: Sequence[float], tolerance: float) -> int:
    """The most pairs of ascending times, each in one pair at most, that are no further apart than `tolerance`."""
    count = i = j = 0
    while i < len(a) and j < len(b):
        difference = a[i] - b[j]
        if abs(difference) <= tolerance + ROUNDING_S / 100:
            count, i, j = count + 1, i + 1, j + 1
        elif difference < 0:
            i += 1
        else:
            j += 1
    return count


def segment_table(scores: Mapping[str, SegmentScore]) -> str:
    """Lines of text, one for each name."""
    width = max([len("segments of"), *map(len, scores)])
    lines = [
        f"{'segments of':<{width}}{'utterances':>12}{'right count':>13}{'off by':>9}{'boundary':>11}{'F1 50 ms':>11}"
    ]
    for name, score in scores.items():
        figures, error = score.figures(), score.boundary_ms
        boundary = "-" if error is None else f"{error:.1f} ms"
        lines.append(
            f"{name:<{width}}{score.utterances:>12}{figures['right_count']:>12.2f}%{figures['count_error']:>9.3f}"
            f"{boundary:>11}{score.f1:>10.2f}%"
        )
    return "\n".join(lines)
