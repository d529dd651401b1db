"""Praat's TextGrid files, in the long text format that Praat itself writes.

Intervals of a tier cover all of the audio without a gap; a stretch without a label has an empty text.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from speechkit.align.segments import Segment
from speechkit.common.errors import SpeechkitError
from speechkit.common.files import require_file, write_text

SAME_TIME = 1e-6
_TOKEN = re.compile(r'"((?:[^"]|"")*)"|(?<![\w.\[])(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)(?![\w\]])|(<exists>)')


def textgrid(duration: float, tiers: Mapping[str, Sequence[Segment]]) -> str:
    """The text of a TextGrid with one interval tier for each name; times in seconds.

    Raises:
        ValueError: segments of a tier overlap or lie outside the audio.
    """
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0 ", f"xmax = {_time(duration)} "]
    lines += ["tiers? <exists> ", f"size = {len(tiers)} ", "item []: "]
    for number, (name, segments) in enumerate(tiers.items(), start=1):
        intervals = _covering(name, segments, duration)
        lines += [f"    item [{number}]:", '        class = "IntervalTier" ', f'        name = "{_quoted(name)}" ']
        lines += ["        xmin = 0 ", f"        xmax = {_time(duration)} "]
        lines += [f"        intervals: size = {len(intervals)} "]
        for index, interval in enumerate(intervals, start=1):
            lines += [f"        intervals [{index}]:", f"            xmin = {_time(interval.start)} "]
            lines += [f"            xmax = {_time(interval.end)} ", f'            text = "{_quoted(interval.label)}" ']
    return "\n".join(lines) + "\n"


def write_textgrid(path: Path, duration: float, tiers: Mapping[str, Sequence[Segment]]) -> None:
    """Write a TextGrid file in UTF-8."""
    write_text(path, textgrid(duration, tiers))


def read_textgrid(path: Path) -> tuple[float, dict[str, list[Segment]]]:
    """Duration and interval tiers of a TextGrid in the long or the short text format; empty intervals are left out.

    Raises:
        SpeechkitError: the file is missing, or no TextGrid of interval tiers in UTF-8.
    """
    require_file(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        return _parsed(text)
    except (UnicodeDecodeError, ValueError, StopIteration) as error:
        reason = str(error) or "it is cut off"
        raise SpeechkitError(
            f"{path} is not a TextGrid of interval tiers in UTF-8 text ({reason}); save it as text"
        ) from None


def _parsed(text: str) -> tuple[float, dict[str, list[Segment]]]:
    tokens = _TOKEN.finditer(text)

    def string() -> str:
        match = next(tokens)
        if match[1] is None:
            raise ValueError(f"a text is missing before '{match[0]}'")
        return str(match[1]).replace('""', '"')

    def number() -> float:
        match = next(tokens)
        if match[2] is None:
            raise ValueError(f"a number is missing before '{match[0]}'")
        return float(match[2])

    if string() != "ooTextFile" or string() != "TextGrid":
        raise ValueError("its first lines say that it is something else")
    _, duration = number(), number()
    if next(tokens)[3] is None:
        raise ValueError("it has no tiers")
    tiers: dict[str, list[Segment]] = {}
    for _ in range(int(number())):
        kind, name, _, _, count = string(), string(), number(), number(), int(number())
        if kind != "IntervalTier":
            raise ValueError(f"tier '{name}' is a {kind}")
        rows = [(number(), number(), string()) for _ in range(count)]
        tiers[name] = [Segment(label, start, end) for start, end, label in rows if label]
    return duration, tiers


def _covering(name: str, segments: Sequence[Segment], duration: float) -> list[Segment]:
    """The segments with empty ones in the gaps."""
    intervals: list[Segment] = []
    position = 0.0
    for segment in segments:
        if segment.start < position - SAME_TIME or segment.end > duration + SAME_TIME:
            raise ValueError(f"tier {name}: '{segment.label}' at {segment.start} s overlaps or lies outside the audio")
        if segment.start > position + SAME_TIME:
            intervals.append(Segment("", position, segment.start))
        end = min(segment.end, duration)
        if end <= position:
            raise ValueError(f"tier {name}: '{segment.label}' at {segment.start} s has no length")
        intervals.append(Segment(segment.label, intervals[-1].end if intervals else 0.0, end))
        position = end
    if duration > position + SAME_TIME or not intervals:
        intervals.append(Segment("", position, duration))
    else:
        intervals[-1] = Segment(intervals[-1].label, intervals[-1].start, duration)
    return intervals


def _time(seconds: float) -> str:
    return f"{seconds:.6f}".rstrip("0").rstrip(".") or "0"


def _quoted(text: str) -> str:
    return text.replace('"', '""')
