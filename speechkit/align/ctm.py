"""CTM files, as NIST's sclite reads them: a line `utterance channel start duration label [confidence]` per segment."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from speechkit.align.segments import Segment
from speechkit.common.errors import SpeechkitError
from speechkit.common.files import atomic_path
from speechkit.text.lines import numbered_lines

CHANNEL = "1"


def ctm_lines(utterance: str, segments: Iterable[Segment]) -> str:
    """The lines of one utterance; times in seconds with four decimals, white space in its name written as `_`."""
    name = "_".join(utterance.split())
    return "".join(
        f"{name} {CHANNEL} {segment.start:.4f} {segment.end - segment.start:.4f} {segment.label}"
        + ("\n" if segment.confidence is None else f" {segment.confidence:.3f}\n")
        for segment in segments
    )


def write_ctm(path: Path, utterances: Mapping[str, Iterable[Segment]]) -> None:
    """Write all segments of all utterances."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        stream.writelines(ctm_lines(utterance, segments) for utterance, segments in utterances.items())


def read_ctm(path: Path) -> dict[str, list[Segment]]:
    """Segments by utterance; a line that is none is a `SpeechkitError`."""
    found: dict[str, list[Segment]] = {}
    for number, line in numbered_lines(path):
        parts = line.split()
        if not parts or line.startswith(";;"):
            continue
        try:
            utterance, _, start, duration, label, *rest = parts
            confidence = float(rest[0]) if rest else None
            segment = Segment(label, float(start), round(float(start) + float(duration), 6), confidence)
        except (ValueError, IndexError):
            raise SpeechkitError(
                f"{path}:{number}: expected `utterance channel start duration label [confidence]`, found '{line}'"
            ) from None
        found.setdefault(utterance, []).append(segment)
    return found
