"""How near segments of pooled features come to phones: their boundaries, and what their clusters say."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from speechkit.cluster.quality import Quality, Tally
from speechkit.common.errors import SpeechkitError
from speechkit.common.files import write_json
from speechkit.data.alignments import Spoken, read_spoken
from speechkit.data.manifests import read_lines
from speechkit.metrics.boundaries import Detection, Labelled, detect_boundaries

TOLERANCE_S = 0.02
SAME_S = 0.01  # by which durations of the same audio may differ
Times = Sequence[float]


@dataclass
class SegmentQuality:
    """Boundaries of the segments and of what they are pooled into against those of phones, and clusters of frames."""

    segments: Detection = field(default_factory=Detection)
    pooled: Detection = field(default_factory=Detection)
    clusters: Quality | None = None
    utterances: int = 0

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"boundaries of segments within {1000 * TOLERANCE_S:g} ms: {self.segments}",
            f"boundaries of pooled ones: {self.pooled}",
            f"clusters: {self.clusters}",
        ]

    def figures(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "utterances": self.utterances,
            "tolerance_ms": 1000 * TOLERANCE_S,
            "segments": self.segments.figures(),
            "pooled": self.pooled.figures(),
            "clusters": asdict(self.clusters) if self.clusters else None,
        }


def judge_segments(
    data: Path, pooled: Path, sets: Sequence[str], alignments: Sequence[Path], clusters: int
) -> dict[str, SegmentQuality]:
    """Compare what `speechkit.tasks.pool.pool` wrote to `pooled` with the phones of aligned cuts; of the sets those
    with aligned utterances.

    Frame t is taken to stand for the time from t to t + 1 frame shifts, which is right within 3 ms for all encoders
    here. Figures are written to `quality.json`.

    Args:
        data: folder of the frames that were pooled.
        pooled: folder of the result.
        sets: their names.
        alignments: manifests of cuts with times of phones; utterances are found by their ids.
        clusters: how many there are.

    Raises:
        SpeechkitError: no phones, none of these utterances, or other audio, as before silence was removed.
    """
    phones = {cut.id: cut for path in alignments for cut in _aligned(path)}
    found = {name: _judge(data, pooled, name, phones, clusters) for name in sets}
    found = {name: each for name, each in found.items() if each.utterances}
    if not found:
        raise SpeechkitError(f"{alignments[0]} has no utterance of {data}; correct --alignments")
    write_json(pooled / "quality.json", {name: each.figures() for name, each in found.items()})
    return found


def _aligned(path: Path) -> Sequence[Spoken]:
    cuts = list(read_spoken(path))
    for cut in cuts:
        if cut.labels("phone") is None:
            raise SpeechkitError(f"cut {cut.id} of {path} has no times of phones; name cuts that were aligned")
    return cuts


def _judge(data: Path, pooled: Path, name: str, phones: Mapping[str, Spoken], clusters: int) -> SegmentQuality:
    quality, tally = SegmentQuality(), Tally(clusters)
    rows = zip(read_spoken(data / f"cuts_{name}.jsonl.gz"), read_lines(pooled / f"spans_{name}.jsonl.gz"), strict=True)
    for cut, row in rows:
        if cut.id not in phones:
            continue
        spoken = phones[cut.id]
        if abs(spoken.duration - cut.duration) > SAME_S:
            raise SpeechkitError(
                f"cut {cut.id} lasts {cut.duration:.2f} s, aligned {spoken.duration:.2f} s; leave out --alignments, as "
                "times do not hold where silence was removed"
            )
        shift, items = float(row["shift"]), spoken.labels("phone") or []
        times = _edges(items, cut.duration)
        quality.segments += _detected(times, [first for first, _, _ in row["segments"]], shift)
        quality.pooled += _detected(times, [first for first, _ in row["frames"]], shift)
        segments = np.array(row["segments"])
        tally.add(np.repeat(segments[:, 2], segments[:, 1] - segments[:, 0]), _frames(items, shift))
        quality.utterances += 1
    quality.clusters = tally.quality()
    return quality


def _detected(times: Times, first_frames: Sequence[int], shift: float) -> Detection:
    return detect_boundaries(times, [first * shift for first in first_frames[1:]], TOLERANCE_S)


def _edges(items: Sequence[Labelled], duration: float) -> Times:
    """Times where a phone begins or ends, but for the ends of the recording."""
    edges = sorted({round(time, 6) for _, *span in items for time in span})
    return [time for time in edges if SAME_S < time < duration - SAME_S]


def _frames(items: Sequence[Labelled], shift: float) -> list[tuple[str, int, int]]:
    """Phones with the first frame whose middle is in each and the first behind it."""
    return [(phone, _first_frame(start / shift), _first_frame(end / shift)) for phone, start, end in items]


def _first_frame(frames: float) -> int:
    return int(np.ceil(frames - 0.5 - 1e-6))
