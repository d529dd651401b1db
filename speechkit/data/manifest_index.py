"""Recordings and utterances by id, on disk: a join of manifests of any length and order in little memory."""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from typing import Any

from speechkit.common.errors import SpeechkitError

Row = dict[str, Any]
CACHE_KIB = 32 << 10


@contextlib.contextmanager
def index_errors() -> Iterator[None]:
    """Turn what goes wrong with the database, such as a full disk, into a one-line error."""
    try:
        yield
    except sqlite3.Error as error:
        raise SpeechkitError(
            f"the temporary index of the manifests fails ({error}); free some space, or set SQLITE_TMPDIR elsewhere"
        ) from error


class ManifestIndex:
    """A temporary SQLite database, which vanishes with this object; a split's recordings are its own."""

    def __init__(self) -> None:
        self._base = sqlite3.connect("", isolation_level=None)  # an empty name: a file that SQLite deletes itself
        self._base.executescript(
            f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -{CACHE_KIB};"
            "CREATE TABLE recordings (split, id, file, samples, row);"
            "CREATE UNIQUE INDEX by_id ON recordings (split, id);"
            "CREATE TABLE heard (recording INTEGER PRIMARY KEY);"
            "CREATE TABLE utterances (id PRIMARY KEY, split) WITHOUT ROWID; BEGIN"
        )

    def add_recording(self, split: str, row: Row) -> str | None:
        """Add a recording; returns the file of one of the same id that was there before, which stays."""
        known = self._base.execute(
            "SELECT file FROM recordings WHERE split = ? AND id = ?", (split, row["id"])
        ).fetchone()
        if known:
            return str(known[0])
        values = (split, row["id"], file_of(row), row["num_samples"], json.dumps(row, ensure_ascii=False))
        self._base.execute("INSERT INTO recordings (split, id, file, samples, row) VALUES (?, ?, ?, ?, ?)", values)
        return None

    def files(self) -> Iterator[tuple[str, int]]:
        """Each file with the number of samples that it is to have, in the order of splits and ids."""
        cursor = self._base.execute("SELECT file, max(samples) FROM recordings GROUP BY file")
        return ((str(name), int(samples)) for name, samples in cursor)

    def num_files(self) -> int:
        """Number of different files."""
        return int(self._base.execute("SELECT count(DISTINCT file) FROM recordings").fetchone()[0])

    def recording(self, split: str, name: str) -> Row | None:
        """The row of a recording, which now counts as named by a transcript."""
        question = "SELECT rowid, row FROM recordings WHERE split = ? AND id = ?"
        found = self._base.execute(question, (split, name)).fetchone()
        if found is None:
            return None
        self._base.execute("INSERT OR IGNORE INTO heard VALUES (?)", (found[0],))
        row: Row = json.loads(found[1])
        return row

    def without_transcript(self, split: str) -> Iterator[tuple[str, str]]:
        """Ids and files of the recordings that `recording` was never asked for."""
        question = "SELECT id, file FROM recordings WHERE split = ? AND rowid NOT IN (SELECT recording FROM heard)"
        cursor = self._base.execute(question, (split,))
        return ((str(name), str(file)) for name, file in cursor)

    def owner(self, utterance: str, split: str) -> str | None:
        """The split that has an utterance of this id already; without one it belongs to `split` from now on."""
        known = self._base.execute("SELECT split FROM utterances WHERE id = ?", (utterance,)).fetchone()
        if known:
            return str(known[0])
        self._base.execute("INSERT INTO utterances VALUES (?, ?)", (utterance, split))
        return None


def file_of(row: Row) -> str:
    """The audio file of a recording's row."""
    return str(row["sources"][0]["source"])
