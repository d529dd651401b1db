"""Guards before what can blow up: sizes known in advance, and limits of time and memory for what is not.

The arcs of a denominator can be counted before they are made. Determinisation cannot be foreseen: on a graph that is
not determinisable it never ends, and it runs in C++ that no signal handler of Python interrupts. So it runs in a
process of its own, which can be ended.
"""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from speechkit.common.errors import SpeechkitError

P = ParamSpec("P")
R = TypeVar("R")

# Two states, a label and a score, of 4 bytes each.
BYTES_PER_ARC = 16
POLL_SECONDS = 0.02
PR_SET_PDEATHSIG = 1


def check_arcs(count: int, limit: int, what: str, remedy: str) -> None:
    """Refuse `what` if it has, or would have, more than `limit` arcs.

    Raises:
        SpeechkitError: names the size, the least memory it takes, and the remedy.
    """
    if count > limit:
        size = human_bytes(count * BYTES_PER_ARC)
        raise SpeechkitError(f"{what}: {count:,} arcs ({size}) are more than the limit of {limit:,}; {remedy}")


def human_bytes(count: float) -> str:
    """A number of bytes to be read, such as `1.5 GiB`."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if count >= 100 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


@dataclass(frozen=True)
class Limits:
    """What a computation may take.

    Attributes:
        what: the computation, as the error message begins, such as "determinising HL".
        remedy: what to do where it takes more, as the message ends.
        seconds: of wall-clock time.
        memory: bytes in its process that are no file's pages, so that graphs read from files do not count.
    """

    what: str
    remedy: str
    seconds: float
    memory: int


def run_limited(limits: Limits, function: Callable[P, R], *arguments: P.args, **keywords: P.kwargs) -> R:
    """Call `function` in a process of its own, within limits, and return what it returns.

    The process starts afresh, which takes a second or two: `function` has to be importable, and what it is given and
    returns to be picklable. Its process and those that it starts are gone afterwards, whatever happens; if this one
    is killed, so is that one. Files are its own affair: let it return its result rather than write it.

    Raises:
        SpeechkitError: it took too much time or memory, or crashed; says which, and the remedy.
        Exception: whatever `function` raised.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(theirs, os.getpid(), function, arguments, keywords))
    try:
        process.start()
        theirs.close()
        result: R = _await_result(limits, process, ours)
        return result
    finally:
        _end(process)
        ours.close()


def _await_result(limits: Limits, process: BaseProcess, connection: Connection) -> Any:
    _receive(limits, process, connection)  # It has started: its time begins.
    deadline = time.monotonic() + limits.seconds
    while True:
        if time.monotonic() >= deadline:
            raise SpeechkitError(f"{limits.what} took more than {limits.seconds:g} s: {limits.remedy}")
        if wait([connection, process.sentinel], min(POLL_SECONDS, max(deadline - time.monotonic(), 0))):
            break
        if _memory(process.pid) > limits.memory:
            raise _too_much_memory(limits)
    error, value, trace = _receive(limits, process, connection)
    if isinstance(error, MemoryError):
        raise _too_much_memory(limits)
    if isinstance(error, SpeechkitError):
        raise error
    if error is not None:
        raise error from RuntimeError(f"in the process of {limits.what}:\n{trace}")
    return value


def _receive(limits: Limits, process: BaseProcess, connection: Connection) -> Any:
    try:
        return connection.recv()
    except (EOFError, ConnectionResetError) as error:
        process.join()
        code = process.exitcode or 0
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise SpeechkitError(f"{limits.what} crashed ({how}): {limits.remedy}") from error


def _too_much_memory(limits: Limits) -> SpeechkitError:
    return SpeechkitError(f"{limits.what} took more than {human_bytes(limits.memory)} of memory: {limits.remedy}")


def _memory(pid: int | None) -> int:
    """Bytes of a process that are no file's pages; 0 once it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    sizes = {name: value.split() for name, _, value in (line.partition(":") for line in status.splitlines())}
    size = sizes.get("RssAnon") or sizes.get("VmRSS")
    return int(size[0]) * 1024 if size else 0


def _end(process: BaseProcess) -> None:
    """Kill a process and those it started, and wait for it."""
    if process.pid is None:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()  # It may not lead a group yet.
    process.join()
    process.close()


def _serve(
    connection: Connection, parent: int, function: Callable[..., Any], arguments: Any, keywords: dict[str, Any]
) -> None:
    """In the new process: call the function and send (error, value, traceback)."""
    os.setpgid(0, 0)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    connection.send(None)
    try:
        answer: tuple[BaseException | None, Any, str] = (None, function(*arguments, **keywords), "")
    except Exception as error:
        answer = (error, None, traceback.format_exc())
    connection.send(answer)
