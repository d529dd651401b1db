"""Manifests between stages: recordings and supervisions of each split, and what was bad already."""

import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from lhotse import CutSet, MonoCut, Recording, RecordingSet, SupervisionSegment, SupervisionSet
from lhotse.audio import AudioSource

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import atomic_path, require_file, write_text
from speechkit.data.audio import read_header
from speechkit.data.remedies import remedy_of

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Problem:
    """What is wrong with an item: its file, and the reason as `kind: details`; it is left out unless it is `used`."""

    split: str
    id: str
    file: str
    reason: str
    used: bool = False

    @property
    def kind(self) -> str:
        """The reason without details, for counting."""
        return self.reason.partition(":")[0]

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return remedy_of(self.reason)


@dataclass
class Split:
    """One part of a corpus as it lies on disk."""

    recordings: list[Recording] = field(default_factory=list)
    supervisions: list[SupervisionSegment] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def make_recording(recording_id: str, path: Path) -> Recording:
    """Describe an audio file by its header, without decoding it; raises `BadAudioError`."""
    header = read_header(path)
    source = AudioSource(type="file", channels=list(range(header.num_channels)), source=str(path))
    duration = header.num_samples / header.sampling_rate
    return Recording(recording_id, [source], header.sampling_rate, header.num_samples, duration)


def write_manifests(folder: Path, split: str, content: Split) -> None:
    """Write `recordings_` and `supervisions_<split>.jsonl.gz` and, of what is left out, `bad_<split>.jsonl`."""
    write_lines(folder / f"recordings_{split}.jsonl.gz", (item.to_dict() for item in content.recordings))
    write_lines(folder / f"supervisions_{split}.jsonl.gz", (item.to_dict() for item in content.supervisions))
    write_problems(folder / f"bad_{split}.jsonl", (problem for problem in content.problems if not problem.used))


def manifest_of(folder: Path, kind: str, split: str) -> Path:
    """The manifest of "recordings" or "supervisions" that `write_manifests` wrote; Lhotse's own will do too."""
    path = folder / f"{kind}_{split}.jsonl.gz"
    require_file(path, "run `speechkit prepare`, or correct --in")
    return path


def read_manifests(folder: Path, split: str) -> Split:
    """Read what `write_manifests` wrote, all of it."""
    return Split(
        list(RecordingSet.from_jsonl_lazy(manifest_of(folder, "recordings", split))),
        list(SupervisionSet.from_jsonl_lazy(manifest_of(folder, "supervisions", split))),
        read_bad(folder, split),
    )


def read_bad(folder: Path, split: str) -> list[Problem]:
    """What the preparation of a split left out."""
    bad = folder / f"bad_{split}.jsonl"
    return read_problems(bad) if bad.exists() else []


def present_splits(folder: Path, kind: str) -> tuple[str, ...]:
    """Those of train, dev and test that have a manifest of this kind in `folder`; all three where none has."""
    return tuple(split for split in SPLITS if (folder / f"{kind}_{split}.jsonl.gz").exists()) or SPLITS


def remove_other_splits(folder: Path, splits: Iterable[str]) -> None:
    """Delete the manifests of train, dev and test that are not among `splits`, left by an earlier preparation."""
    for split in set(SPLITS) - set(splits):
        for name in (f"recordings_{split}.jsonl.gz", f"supervisions_{split}.jsonl.gz", f"bad_{split}.jsonl"):
            (folder / name).unlink(missing_ok=True)


def write_problems(path: Path, problems: Iterable[Problem]) -> None:
    """Write one JSON line per problem, with its remedy."""
    rows = ({**asdict(problem), "remedy": problem.remedy} for problem in problems)
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_problems(path: Path) -> list[Problem]:
    """Read what `write_problems` wrote."""
    names = {each.name for each in fields(Problem)}
    return [Problem(**{name: row[name] for name in names & row.keys()}) for row in read_lines(path)]


def problem_lines(problems: Iterable[Problem]) -> list[str]:
    """One line for each kind of problem: how often, an example, and what to do."""
    kinds: dict[tuple[bool, str], list[Problem]] = {}
    for problem in problems:
        kinds.setdefault((problem.used, problem.kind), []).append(problem)
    lines = []
    for (used, kind), found in sorted(kinds.items()):
        first, fate = found[0], "used all the same" if used else "left out"
        details = first.reason.partition(": ")[2]
        example = f"{first.file}: {details}" if details else first.file
        lines.append(f"{len(found)} {fate}, {kind} ({example}{', ...' if len(found) > 1 else ''}): {first.remedy}")
    return lines


def write_cuts(path: Path, cuts: Iterable[MonoCut]) -> None:
    """Write cuts as gzipped JSON lines, which `CutSet.from_jsonl_lazy` reads."""
    write_lines(path, (cut.to_dict() for cut in cuts))


def read_cuts(path: Path) -> CutSet:
    """Cuts of a manifest, read as they are needed."""
    require_file(path)
    return CutSet.from_jsonl_lazy(path)


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object per line, gzipped where the name ends in .gz; the same rows give the same bytes."""
    text = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        if path.suffix != ".gz":
            stream.writelines(line.encode() for line in text)
            return
        with gzip.GzipFile(filename="", mode="wb", compresslevel=4, fileobj=stream, mtime=0) as packed:
            packed.writelines(line.encode() for line in text)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Read JSON lines, gzipped or not; a damaged file is a `SpeechkitError`."""
    require_file(path)
    try:
        with path.open("rb") as raw, gzip.open(raw) if path.suffix == ".gz" else raw as stream:
            for line in stream:
                yield json.loads(line)
    except (EOFError, ValueError, gzip.BadGzipFile) as error:
        raise SpeechkitError(
            f"{path} is damaged ({error}); delete it and run the stage that writes it again"
        ) from error
