"""Counts that a corpus must have: the published ones, or a miniature's own table of contents."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import read_json
from speechkit.data.manifests import Split
from speechkit.data.miniature import MARKER

log = logging.getLogger(__name__)
PUBLISHED_ROUNDING = 0.06  # hours are published with one decimal place
PUBLISHED_SHARE = 0.002
MINIATURE_ROUNDING = 1e-5


@dataclass(frozen=True)
class Counts:
    """What a set of a corpus holds; None where nobody has published it."""

    utterances: int | None
    speakers: int | None
    hours: float | None


def contents_of_miniature(root: Path) -> dict[str, Counts] | None:
    """The table of contents of the miniature at `root`, by set; None where there is no miniature."""
    if not (root / MARKER).exists():
        return None
    return {name: Counts(**counts) for name, counts in read_json(root / MARKER).get("parts", {}).items()}


def compare(root: Path, sets: Mapping[str, Split], published: Mapping[str, Counts], title: str) -> None:
    """Warn, set by set, where what is usable differs from `published`, or at `root` from a miniature's own contents."""
    contents = contents_of_miniature(root)
    rounding, share = PUBLISHED_ROUNDING, PUBLISHED_SHARE
    if contents is not None:
        title, published, rounding, share = "the miniature", contents, MINIATURE_ROUNDING, 0.0
    if not published:
        return  # a miniature of an earlier version
    different = False
    for name, content in sets.items():
        expected = published.get(name, Counts(None, None, None))
        notes = _differences(_count(content), expected, rounding + share * (expected.hours or 0))
        if notes:
            different = True
            unusable = f"; {len(content.problems)} are unusable (bad_*.jsonl names them)" if content.problems else ""
            log.warning("the set %s has %s in %s%s", name, ", ".join(notes), title, unusable)
    if not different:
        log.info("%s: as many utterances, speakers and hours as in %s", ", ".join(sets), title)


def _count(content: Split) -> Counts:
    speakers = {item.speaker for item in content.supervisions}
    return Counts(len(content.supervisions), len(speakers), sum(item.duration for item in content.supervisions) / 3600)


def _differences(found: Counts, expected: Counts, hours_apart: float) -> list[str]:
    notes = []
    if expected.utterances not in (None, found.utterances):
        notes.append(f"{found.utterances} utterances instead of {expected.utterances}")
    if expected.speakers not in (None, found.speakers):
        notes.append(f"{found.speakers} speakers instead of {expected.speakers}")
    if expected.hours is not None and found.hours is not None and abs(found.hours - expected.hours) > hours_apart:
        notes.append(f"{found.hours:.5g} hours instead of {expected.hours:g}")
    return notes


def joined(split: str, sets: Mapping[str, Split], root: Path) -> Split:
    """The sets chosen for `split` as one; an utterance of two of them is taken once.

    Raises `SpeechkitError` where nothing of them can be used.
    """
    content, seen = Split(), set()
    for one in sets.values():
        content.problems += [replace(problem, split=split) for problem in one.problems]
        for recording, supervision in zip(one.recordings, one.supervisions, strict=True):
            if recording.id not in seen:
                seen.add(recording.id)
                content.recordings.append(recording)
                content.supervisions.append(supervision)
    if not content.recordings:
        raise SpeechkitError(f"{root} has no usable utterance of {', '.join(sets)} for {split}; complete the corpus")
    return content
