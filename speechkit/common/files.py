"""Files that are either whole or absent."""

import contextlib
import errno
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from speechkit.common.errors import SpeechkitError


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full disk or a missing permission while writing `path` into a one-line error."""
    try:
        yield
    except OSError as error:
        remedies = {
            errno.ENOSPC: "no space left on its disk; free some space and run the same command again",
            errno.EDQUOT: "disk quota exceeded; free some space and run the same command again",
            errno.EACCES: "permission denied; choose a folder that you can write to",
            errno.EROFS: "the file system is read-only; choose another folder",
        }
        remedy = remedies.get(error.errno or 0)
        if remedy is None:
            raise
        raise SpeechkitError(f"cannot write {path}: {remedy}") from error


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` with the same suffixes.

    It replaces `path` on success and vanishes on failure.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".", suffix="".join(path.suffixes) or ".tmp", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Let one process at a time read and replace `path`: its folder is locked, as the file itself is exchanged."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, indented and with a final newline."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; a missing or damaged one is a `SpeechkitError` naming it."""
    require_file(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SpeechkitError(
            f"{path} is not valid JSON ({error}); delete it and run the step that writes it again"
        ) from error


def require_file(path: Path, remedy: str = "run the stage that makes it, or correct the path") -> None:
    """Raise `SpeechkitError` unless `path` exists."""
    if not path.exists():
        raise SpeechkitError(f"{path} does not exist; {remedy}")
