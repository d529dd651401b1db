"""Done marks: what a step of a recipe was made with, so that it is redone only when that changes.

A finished folder `OUT` holds `OUT/.done.json`, a finished file has `.OUT.done.json`
beside it. The mark carries a hash of the command and of the inputs. While a
step is at work, `.OUT.started.json` beside `OUT` carries the same, which tells an
interrupted step (go on) from one whose command has changed since (start anew).

An input with a mark, or inside a folder with one, counts as its mark's hash; any
other file counts as its content, any other folder as the names, sizes and times
of its files. Options that change only the speed (`NEUTRAL_OPTIONS`) do not count.
"""

import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from speechkit import __version__
from speechkit.common.errors import SpeechkitError
from speechkit.common.files import disk_errors, read_json, write_json

NEUTRAL_OPTIONS = ("--nj",)
LARGE_FILE = 1 << 26  # bytes; a larger file is known by its size and time, not by its content
BASE_LINE = re.compile(r"^base:\s*[\"']?([^\"'#\n]+?)[\"']?\s*(?:#.*)?$", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """A command and a digest for each of its inputs."""

    command: tuple[str, ...]
    inputs: Mapping[str, str]

    @property
    def hash(self) -> str:
        """SHA-256 over command and inputs, in hexadecimal."""
        content = [_options(self.command), sorted(self.inputs.items())]
        return hashlib.sha256(json.dumps(content, ensure_ascii=True).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What to do about a step: `clear` says that the old output has to go first."""

    action: Literal["skip", "run", "refuse"]
    reason: str
    clear: bool = False


def fingerprint(
    command: Sequence[str],
    needs: Sequence[Path] = (),
    files: Sequence[Path] = (),
    planned: Mapping[str, str] | None = None,
) -> Fingerprint:
    """Digest a command with its inputs.

    `needs` count by their marks where they have one; of the folders in `files` the
    files themselves count, mark or not. `planned` maps an output that is still to
    be made to the hash its mark will have. A missing input is a `SpeechkitError`.
    """
    planned = planned or {}
    inputs = {str(path): _planned(path, planned) or _marked(path) or _unmarked(path) for path in needs}
    inputs |= {str(path): _planned(path, planned) or _unmarked(path) for path in files}
    return Fingerprint(tuple(command), inputs)


def decide(out: Path, wanted: Fingerprint, keep: bool = False, redo: str = "") -> Verdict:
    """Compare what `out` was made with and what is wanted now.

    With `keep` a changed step is refused instead of run again; a non-empty `redo`
    is the reason to run again whatever the marks say, and overrules `keep`.
    """
    done, started = read_mark(out), _read(_started_path(out))
    before = started or done
    exists = _has_content(out)
    if before is None:
        if exists:
            raise SpeechkitError(f"{out} holds files that this step did not make; move them or choose another folder")
        return Verdict("run", "not made yet")
    if redo and exists:
        return Verdict("run", redo, clear=True)
    if not exists:
        return Verdict("run", "not made yet", clear=True)
    if before["hash"] != wanted.hash:
        return Verdict("refuse" if keep else "run", differences(before, wanted), clear=True)
    if started:
        return Verdict("run", "it was interrupted and goes on")
    return Verdict("skip", "up to date")


def start(out: Path, wanted: Fingerprint, clear: bool) -> None:
    """Take the done mark away, and the old output with it if `clear`; note what the step is started with.

    A finished folder is not removed but waits, hidden beside, until the new one is finished or `undo` is called.
    """
    with disk_errors(out):
        if clear and out.is_dir() and _done_path(out).is_file():
            _remove(_replaced_path(out))
            out.rename(_replaced_path(out))
        _done_path(out).unlink(missing_ok=True)
        if clear:
            _remove(out)
        out.parent.mkdir(parents=True, exist_ok=True)
    content = {"hash": wanted.hash, "command": wanted.command, "inputs": wanted.inputs, "time": time.time()}
    write_json(_started_path(out), content)


def finish(out: Path) -> None:
    """Mark `out` as done with what `start` noted; `out` must exist by now."""
    started = _read(_started_path(out))
    if started is None:
        raise SpeechkitError(f"{out} cannot be marked as done: the step was not started through its recipe")
    if not out.exists():
        raise SpeechkitError(f"the command ended without making {out}: {' '.join(started['command'])}")
    content = {name: started[name] for name in ("hash", "command", "inputs")}
    content["date"] = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    content["seconds"] = round(time.time() - started["time"], 1)
    content["speechkit"] = {"version": __version__, "commit": _commit()}
    write_json(_done_path(out), content)
    _started_path(out).unlink(missing_ok=True)
    _remove(_replaced_path(out))


def undo(out: Path) -> None:
    """Put back the finished folder that `start` moved aside, if any: the step could not make a new one."""
    replaced = _replaced_path(out)
    if replaced.exists():
        _remove(out)
        replaced.rename(out)
        _started_path(out).unlink(missing_ok=True)


def read_mark(out: Path) -> dict[str, Any] | None:
    """Return the done mark of `out`, or None where it is not finished."""
    return _read(out / ".done.json") or _read(_beside(out, "done"))


def differences(before: Mapping[str, Any], wanted: Fingerprint) -> str:
    """Say in words which options and inputs differ from those of a mark."""
    old, new = _options(before["command"]), _options(wanted.command)
    reasons = [
        f"{name or 'the command'} was {_words(old.get(name))}, is now {_words(new.get(name))}"
        for name in dict.fromkeys((*old, *new))
        if old.get(name) != new.get(name)
    ]
    inputs = before["inputs"]
    reasons += [f"{name} has changed" for name, digest in wanted.inputs.items() if inputs.get(name, digest) != digest]
    if not reasons:
        reasons = [f"it now uses {name}" for name in wanted.inputs if name not in inputs]
        reasons += [f"it no longer uses {name}" for name in inputs if name not in wanted.inputs]
    return "; ".join(reasons)


def _options(command: Sequence[str]) -> dict[str, list[str]]:
    """Group a command's words by option; the words before the first option are under the empty name."""
    groups: dict[str, list[str]] = {"": []}
    name = ""
    for word in command:
        if word.startswith("--"):
            name = word
            groups.setdefault(name, [])
        else:
            groups[name].append(word)
    return {name: words for name, words in groups.items() if name not in NEUTRAL_OPTIONS}


def _words(words: Sequence[str] | None) -> str:
    if words is None:
        return "not given"
    return " ".join(words) or "given"


def _planned(path: Path, planned: Mapping[str, str]) -> str | None:
    return next((planned[str(folder)] for folder in (path, *path.parents) if str(folder) in planned), None)


def _marked(path: Path) -> str | None:
    """Hash of the mark of `path` or of the nearest folder around it, None without one."""
    for folder in (path, *path.parents):
        if mark := read_mark(folder):
            return str(mark["hash"]) if path.exists() else None
    return None


def _unmarked(path: Path) -> str:
    if not path.exists():
        raise SpeechkitError(f"{path} does not exist")
    digest = hashlib.sha256()
    if path.is_dir():
        for name, state in sorted(_walk(path, "")):
            digest.update(f"{name}\0{state.st_size}\0{state.st_mtime_ns}\n".encode(errors="surrogateescape"))
    else:
        for file in _with_bases(path, ()):
            state = file.stat()
            large = state.st_size > LARGE_FILE
            digest.update(f"{state.st_size} {state.st_mtime_ns}".encode() if large else file.read_bytes())
    return digest.hexdigest()


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    """Files below `folder` with names relative to it; hidden ones, our marks among them, do not count."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _walk(Path(entry.path), f"{prefix}{entry.name}/")
            elif entry.is_file():
                yield f"{prefix}{entry.name}", entry.stat()


def _with_bases(path: Path, children: tuple[Path, ...]) -> tuple[Path, ...]:
    """A file and, if it is a configuration, the files that `base:` lines lead to."""
    files = (*children, path)
    if path.suffix not in (".yaml", ".yml"):
        return files
    base = BASE_LINE.search(path.read_text(encoding="utf-8", errors="replace"))
    parent = path.parent / base.group(1) if base else path
    return files if parent in files or not parent.is_file() else _with_bases(parent, files)


def _done_path(out: Path) -> Path:
    return out / ".done.json" if out.is_dir() else _beside(out, "done")


def _started_path(out: Path) -> Path:
    return _beside(out, "started")


def _replaced_path(out: Path) -> Path:
    return out.with_name(f".{out.name}.replaced")


def _beside(out: Path, kind: str) -> Path:
    return out.with_name(f".{out.name}.{kind}.json") if out.name else out / f".{kind}.json"


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    mark: dict[str, Any] = read_json(path)
    return mark


def _has_content(out: Path) -> bool:
    """Whether there is output; a folder that holds only hidden files and logs has none."""
    if out.is_dir():
        return any(not child.name.startswith(".") and child.name != "log" for child in out.iterdir())
    return out.exists()


def _remove(path: Path) -> None:
    """Remove a file or folder; of a folder behind a symbolic link only what it holds."""
    if path.is_symlink() and path.is_dir():
        for child in path.iterdir():
            _remove(child)
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _commit() -> str | None:
    """Commit of the speechkit source tree, None outside a git checkout."""
    folder = Path(__file__).resolve().parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return result.stdout.strip() or None
