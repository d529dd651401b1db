"""Recordings without their silence: the same detector for all sets, which every cut then names.

A model of unpaired speech and text must not meet silence in one set that it never met in another (Baevski et al. 2021,
section 4.1), hence the note in the manifests.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import write_json
from speechkit.data.audio import read_part
from speechkit.data.conversion import Samples, write_flac
from speechkit.data.manifests import make_recording, write_lines
from speechkit.data.parts import CUTS, Part, run_parts
from speechkit.features.silence import Detector

SILENCE = "silence"  # the custom field of cuts
NONE = "none"
LEAST_SECONDS = 0.1  # left of an utterance; with less it stays as it is
Row = dict[str, Any]


@dataclass(frozen=True)
class Removed:
    """Seconds of audio before, and removed; utterances, and those kept whole as hardly anything would be left."""

    seconds: float
    removed: float
    utterances: int
    kept_whole: int

    def __str__(self) -> str:
        """One line."""
        share = 100 * self.removed / max(self.seconds, 1e-9)
        return (
            f"{self.removed / 60:.2f} of {self.seconds / 60:.2f} minutes removed ({share:.1f} %), "
            f"{self.utterances} utterances"
        )


@dataclass(frozen=True)
class Removal:
    """Takes silence out of the cuts of a part; without a detector it only notes that nothing was done."""

    detector: Detector | None
    suffixes: tuple[str, ...] = field(default=("", CUTS), init=False)

    @property
    def description(self) -> str:
        """What the cuts say."""
        return self.detector.description if self.detector else NONE

    def settings(self) -> Any:
        """All that the recordings depend on."""
        return self.description

    def __call__(self, part: Part) -> dict[str, Any]:
        """Write recordings to the folder of the part, and its cuts."""
        shutil.rmtree(part.stem, ignore_errors=True)
        part.stem.mkdir(parents=True)
        figures = {"seconds": 0.0, "removed": 0.0, "utterances": 0, "kept_whole": 0}
        write_lines(part.path(CUTS), self._rows(part, figures))
        return figures

    def _rows(self, part: Part, figures: dict[str, Any]) -> Iterator[Row]:
        for row in part.rows():
            new = self._shortened(row, part.stem, figures) if self.detector else row
            figures["seconds"] += row["duration"]
            figures["removed"] += row["duration"] - new["duration"]
            figures["utterances"] += 1
            yield {**new, "custom": {**(row.get("custom") or {}), SILENCE: self.description}}

    def _shortened(self, row: Row, folder: Path, figures: dict[str, Any]) -> Row:
        """The cut of a new recording, or the same cut where there is no silence in it or nothing else."""
        assert self.detector is not None
        samples, rate = _read(row)
        speech = self.detector(samples, rate)
        left = int((speech[:, 1] - speech[:, 0]).sum())
        if left < LEAST_SECONDS * rate:
            figures["kept_whole"] += 1
            return row
        if left == len(samples):
            return row
        path = folder / f"{row['id']}.flac"
        write_flac(path, np.concatenate([samples[first:end] for first, end in speech]), rate)
        return _without_silence(row, path, speech / rate)


def remove_silence(
    data: Path, out: Path, detector: Detector | None, nj: int, sets: Sequence[str]
) -> dict[str, Removed]:
    """Write `cuts_<set>.jsonl.gz` and recordings without silence to `out`, and figures to `silence.json`.

    Cuts bear `custom: {"silence": <detector and settings in words>}`. Where something is removed, alignments, features
    and other times that no longer hold are dropped. Without a detector the recordings stay as they are.

    Raises:
        SpeechkitError: a recording is not as its manifest says, or no file of one channel.
    """
    work, found = Removal(detector), {}
    for name in sets:
        parts = run_parts(work, data / f"cuts_{name}.jsonl.gz", out / "storage" / name, nj, f"silence of {name}")
        parts.join(CUTS, out / f"cuts_{name}.jsonl.gz")
        found[name] = Removed(**{key: parts.total(key) for key in ("seconds", "removed", "utterances", "kept_whole")})
    figures = {name: vars(each) for name, each in found.items()}
    write_json(out / "silence.json", {"detector": work.description, "sets": figures})
    return found


def _read(row: Row) -> tuple[Samples, int]:
    """The samples of a cut, and their rate."""
    sources = (row.get("recording") or {}).get("sources", [])
    if [source["type"] for source in sources] != ["file"]:
        raise SpeechkitError(f"cut {row['id']} has no audio file of its own; run `speechkit validate` first")
    rate = int(row["recording"]["sampling_rate"])
    start, length = round(row["start"] * rate), round(row["duration"] * rate)
    return read_part(Path(sources[0]["source"]), rate, start, length), rate


def _without_silence(row: Row, path: Path, speech: Any) -> Row:
    """The cut of a recording that has only the stretches `speech (N, 2)`, in seconds, of that of the old cut."""
    recording = make_recording(row["id"], path)
    supervisions = [_moved(each, speech, recording.id) for each in row.get("supervisions") or []]
    new = {
        **row,
        "start": 0.0,
        "duration": recording.duration,
        "supervisions": supervisions,
        "recording": recording.to_dict(),
    }
    new.pop("features", None)
    return new


def _moved(supervision: Row, speech: Any, recording: str) -> Row:
    """A supervision with the times of what is left of it."""
    start, end = (_time_left(time, speech) for time in (supervision["start"], _end(supervision)))
    moved = {**supervision, "recording_id": recording, "start": start, "duration": round(end - start, 6)}
    moved.pop("alignment", None)
    return moved


def _end(supervision: Row) -> float:
    return float(supervision["start"] + supervision["duration"])


def _time_left(time: float, speech: Any) -> float:
    """Seconds of speech before a time."""
    return round(float(np.clip(time - speech[:, 0], 0, speech[:, 1] - speech[:, 0]).sum()), 6)
