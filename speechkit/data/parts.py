"""Parts of a manifest: runs of its lines that processes work on, each either whole or absent, and joined in the end.

A part leaves its files beside each other and, last, a mark with a hash of what went in. A rerun skips the parts whose
mark still fits. Parts do not depend on the number of processes, so neither does anything written.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any, Protocol

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import atomic_path, read_json, write_json
from speechkit.common.progress import progress
from speechkit.data.manifests import read_lines
from speechkit.data.parallel import parallel_map

PARTS_PER_SET = 64
FEWEST_CUTS, MOST_CUTS = 50, 2000
CUTS, MARK = ".jsonl.gz", ".json"


@dataclass(frozen=True)
class Part:
    """A run of cuts; `lines` are their manifest lines, `stem` is where results go, without suffix."""

    stem: Path
    lines: tuple[str, ...]

    def rows(self) -> Iterator[dict[str, Any]]:
        """The cuts."""
        return map(json.loads, self.lines)

    def path(self, suffix: str) -> Path:
        """The result file with this suffix."""
        return self.stem.with_name(self.stem.name + suffix)


class Work(Protocol):
    """What is done to a part: it writes the files with these `suffixes`, `.jsonl.gz` with the new cuts among them."""

    @property
    def suffixes(self) -> tuple[str, ...]: ...
    def settings(self) -> Any:
        """All that the results of a part depend on besides its cuts, as JSON has it."""
        ...

    def __call__(self, part: Part) -> dict[str, Any]:
        """Write the files; returns figures for JSON."""
        ...


@dataclass(frozen=True)
class Parts:
    """The finished parts of a set, in order, with the figures of each."""

    stems: Sequence[Path]
    figures: Sequence[dict[str, Any]]

    def total(self, name: str) -> Any:
        """A figure of all parts."""
        return sum(each[name] for each in self.figures)

    def join(self, suffix: str, path: Path) -> None:
        """Write the parts' gzip files one after the other, which is a gzip file."""
        join_files([stem.with_name(stem.name + suffix) for stem in self.stems], path)


def run_parts(work: Work, manifest: Path, folder: Path, nj: int, what: str) -> Parts:
    """Do the work on every part of a manifest in `nj` processes, with files in `folder`, where nothing else stays.

    Raises:
        SpeechkitError: the manifest holds no cut, or one twice.
    """
    cuts = _checked(manifest)
    size = part_size(cuts)
    parts = parallel_map(partial(_run, work), _parts(manifest, folder, size), nj)
    done = list(progress(parts, -(-cuts // size), what))
    stems = [stem for stem, _ in done]
    sweep(folder, (f"{stem.name}{suffix}" for stem in stems for suffix in (*work.suffixes, MARK)))
    return Parts(stems, [figures for _, figures in done])


def part_size(cuts: int) -> int:
    """Cuts in a part of a set of so many."""
    return min(max(-(-cuts // PARTS_PER_SET), FEWEST_CUTS), MOST_CUTS)


def sweep(folder: Path, kept: Iterable[str]) -> None:
    """Delete what killed runs and other settings have left beside the files and folders in use."""
    names = set(kept)
    for path in folder.iterdir():
        if path.name in names:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def join_files(parts: Iterable[Path], path: Path) -> None:
    """Write files one after the other; of gzip files that is a gzip file."""
    with atomic_path(path) as temporary, temporary.open("wb") as joined:
        for part in parts:
            with part.open("rb") as stream:
                shutil.copyfileobj(stream, joined)


def _checked(manifest: Path) -> int:
    """The number of cuts, whose ids are all different."""
    seen: set[str] = set()
    cuts = 0
    for cuts, row in enumerate(read_lines(manifest), 1):  # noqa: B007
        if row["id"] in seen:
            raise SpeechkitError(f"{manifest} has cut {row['id']} twice; run `speechkit validate` again")
        seen.add(row["id"])
    if cuts == 0:
        raise SpeechkitError(f"{manifest} holds no cut; run the stage that makes it again")
    return cuts


def _parts(manifest: Path, folder: Path, size: int) -> Iterator[Part]:
    lines = (json.dumps(row, ensure_ascii=False) for row in read_lines(manifest))
    for number in count():
        part = tuple(islice(lines, size))
        if not part:
            return
        yield Part(folder / f"{number:04d}", part)


def _run(work: Work, part: Part) -> tuple[Path, dict[str, Any]]:
    """Do a part unless its mark says that it is there."""
    text = json.dumps([str(part.stem), work.settings()]) + "".join(part.lines)
    digest, mark = hashlib.sha256(text.encode()).hexdigest(), part.path(MARK)
    if mark.exists():
        content = read_json(mark)
        if content["hash"] == digest and all(part.path(suffix).exists() for suffix in work.suffixes):
            return part.stem, content["figures"]
        mark.unlink()
    figures = work(part)
    write_json(mark, {"hash": digest, "figures": figures})
    return part.stem, figures
