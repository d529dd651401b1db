"""The discs of WSJ (LDC93S6A and LDC94S13A): where files are, and what index files list."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from speechkit.common.errors import SpeechkitError
from speechkit.text.lines import numbered_lines

DISC = re.compile(r"1[13]-\d+\.\d+")
CORPUS = re.compile(r"wsj[01]")
KEPT = (".wv1", ".dot", ".ndx", ".z", "spkrinfo.txt")
ROW = re.compile(r"(\d+_\d+_\d+):\s*/?(\S+)")


@dataclass
class Discs:
    """Files by their place on the disc, in lower case (`wsj0/si_tr_s/011/011c0201.wv1`), and the discs' names.

    Discs may lie side by side, anywhere below one folder, or be merged into one `wsj0` and one `wsj1`.
    """

    files: dict[str, Path] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)

    def index(self, place: str, disc: str) -> Path:
        """The index file at `place`; its absence is a `SpeechkitError` that names the disc."""
        if place not in self.files:
            raise SpeechkitError(f"{place} is missing: copy disc {disc} of {release(disc)} into the corpus folder")
        return self.files[place]


@dataclass(frozen=True)
class Row:
    """An utterance that an index lists: the disc it should be on and its place there."""

    disc: str
    place: str


def release(disc: str) -> str:
    """The LDC's name of what a disc belongs to."""
    return "LDC93S6A" if disc.startswith("11-") else "LDC94S13A"


def scan(root: Path) -> Discs:
    """Look through all folders below `root`, linked ones too."""
    discs = Discs()
    visited = set()
    for folder, below, names in os.walk(root, followlinks=True):
        path = Path(folder)
        if path.resolve() in visited:
            below.clear()
            continue
        visited.add(path.resolve())
        below.sort()
        discs.names.update(name.lower() for name in (path.name, *below) if DISC.fullmatch(name))
        for name in sorted(names):
            if name.lower().endswith(KEPT) and (place := _place(path / name, root)):
                discs.files.setdefault(place, path / name)
    return discs


def _place(path: Path, root: Path) -> str:
    """The path from the first `wsj0` or `wsj1` below `root` on, in lower case; empty where there is none."""
    parts = [part.lower() for part in path.relative_to(root).parts]
    start = next((index for index, part in enumerate(parts) if CORPUS.fullmatch(part)), None)
    return "" if start is None else "/".join(parts[start:])


def read_index(path: Path) -> list[Row]:
    """Rows of an .ndx file, lines `11_1_1:wsj0/si_tr_s/01i/01ic0201.wv1`; test sets leave the suffix out."""
    rows = []
    for number, line in numbered_lines(path):
        text = line.strip().lower()
        if not text or text.startswith(";"):
            continue
        match = ROW.fullmatch(text)
        if match is None:
            raise SpeechkitError(f"{path}:{number} is no row `disc:file`; copy the index from its disc again")
        first, second, third = match[1].split("_")
        place = match[2] if match[2].endswith(".wv1") else f"{match[2]}.wv1"
        rows.append(Row(f"{first}-{second}.{third}", place))
    return rows
