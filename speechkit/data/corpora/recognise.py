"""Which corpus a folder looks like, for messages about a wrong one."""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from speechkit.common.errors import SpeechkitError

ENTRIES_LOOKED_AT = 20000
SIGNS = (
    ("the Free Spoken Digit Dataset (corpus digits)", re.compile(r"(^|/)\d_[a-z]+_\d+\.wav$")),
    ("TIMIT (corpus timit)", re.compile(r"(^|/)(train|test)/dr\d/[fm]\w{3}\d(/|$)")),
    ("LibriSpeech", re.compile(r"(^|/)(train|dev|test)-(clean|other)(-\d+)?(/|$)|\.trans\.txt$")),
    ("AISHELL-1", re.compile(r"(^|/)data_aishell(/|$)|aishell_transcript|(^|/)bac009s\d+")),
    ("WSJ", re.compile(r"(^|/)(11|13)-\d+\.\d+(/|$)|(^|/)wsj[01](/|$)|\.wv[12]$")),
)


def require_folder(root: Path) -> None:
    """Raise `SpeechkitError` unless `root` is a folder with something in it."""
    if not root.exists():
        raise SpeechkitError(f"corpus folder {root} does not exist; correct the path")
    if not root.is_dir():
        raise SpeechkitError(f"{root} is a file; give the folder that holds the corpus")
    if next(root.iterdir(), None) is None:
        raise SpeechkitError(f"corpus folder {root} is empty; correct the path or unpack the corpus there")


def wrong_corpus(root: Path, expected: str, missing: str) -> SpeechkitError:
    """The error for a folder that does not hold `expected`; it says what the folder looks like instead."""
    found = looks_like(root)
    hint = f"it looks like {found}" if found else "correct the path"
    return SpeechkitError(f"{root} is not {expected}: {missing}; {hint}")


def looks_like(root: Path) -> str | None:
    """Name of the corpus whose file names appear under `root`, or None."""
    for name in islice(_entries(root), ENTRIES_LOOKED_AT):
        for corpus, sign in SIGNS:
            if sign.search(name):
                return corpus
    return None


def _entries(root: Path) -> Iterator[str]:
    """Paths below `root` in lower case, level by level."""
    level, depth = [root], 0
    while level and depth < 5:
        below = []
        for folder in level:
            for entry in sorted(folder.iterdir()):
                yield f"{root.name}/{entry.relative_to(root)}".lower()
                if entry.is_dir():
                    below.append(entry)
        level, depth = below, depth + 1
