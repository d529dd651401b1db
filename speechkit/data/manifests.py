"""Manifests between stages: recordings and supervisions of each split, and what was bad already."""

import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lhotse import CutSet, MonoCut, Recording, RecordingSet, SupervisionSegment, SupervisionSet
from lhotse.audio import AudioSource

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import atomic_path, require_file, write_text
from speechkit.data.audio import read_header

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Problem:
    """An item left out: its file, and the reason as `kind: details`."""

    split: str
    id: str
    file: str
    reason: str

    @property
    def kind(self) -> str:
        """The reason without details, for counting."""
        return self.reason.partition(":")[0]


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
    """Write `recordings_`, `supervisions_` and `bad_<split>.jsonl.gz` (the last one uncompressed)."""
    write_lines(folder / f"recordings_{split}.jsonl.gz", (item.to_dict() for item in content.recordings))
    write_lines(folder / f"supervisions_{split}.jsonl.gz", (item.to_dict() for item in content.supervisions))
    write_problems(folder / f"bad_{split}.jsonl", content.problems)


def read_manifests(folder: Path, split: str) -> Split:
    """Read what `write_manifests` wrote; manifests made by Lhotse alone will do too."""
    recordings, supervisions = folder / f"recordings_{split}.jsonl.gz", folder / f"supervisions_{split}.jsonl.gz"
    for path in (recordings, supervisions):
        require_file(path, "run `speechkit prepare`, or correct --in")
    bad = folder / f"bad_{split}.jsonl"
    return Split(
        list(RecordingSet.from_jsonl_lazy(recordings)),
        list(SupervisionSet.from_jsonl_lazy(supervisions)),
        [Problem(**row) for row in read_lines(bad)] if bad.exists() else [],
    )


def write_problems(path: Path, problems: Iterable[Problem]) -> None:
    """Write one JSON line per problem."""
    write_text(path, "".join(json.dumps(asdict(problem), ensure_ascii=False) + "\n" for problem in problems))


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
