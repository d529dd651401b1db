import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import require_file
from speechkit.fsa.guard import Limits, check_arcs, human_bytes, run_limited

LIMITS = Limits("determinising HL", "prune the language model", seconds=60, memory=2 << 30)


def test_too_many_arcs_are_refused_with_the_remedy() -> None:
    check_arcs(1000, 1000, "the denominator", "prune it")
    with pytest.raises(SpeechkitError, match=r"the denominator: 2,000,000 arcs \(30.5 MiB\) .* 1,000; prune it"):
        check_arcs(2_000_000, 1000, "the denominator", "prune it")


@pytest.mark.parametrize(
    ("count", "text"), [(10, "10 B"), (1536, "1.5 KiB"), (200 << 20, "200 MiB"), (3 << 40, "3072.0 GiB")]
)
def test_human_bytes(count: int, text: str) -> None:
    assert human_bytes(count) == text


def test_the_result_comes_back() -> None:
    assert run_limited(LIMITS, sorted, [3, 1, 2], reverse=True) == [3, 2, 1]
    assert run_limited(LIMITS, os.getpid) != os.getpid()


def test_errors_come_back() -> None:
    with pytest.raises(ValueError, match="factorial"):
        run_limited(LIMITS, math.factorial, -1)
    with pytest.raises(SpeechkitError, match="nowhere does not exist; look elsewhere"):
        run_limited(LIMITS, require_file, Path("nowhere"), remedy="look elsewhere")


def test_a_crash_is_an_error() -> None:
    with pytest.raises(SpeechkitError, match=r"determinising HL crashed \(SIGABRT\): prune the language model"):
        run_limited(LIMITS, os.abort)
    with pytest.raises(SpeechkitError, match="exit code 3"):
        run_limited(LIMITS, os._exit, 3)


def descendants(parent: int) -> dict[int, str]:
    """Processes below one, with their command lines; not the tracker that multiprocessing keeps for its semaphores."""
    found: dict[int, str] = {}
    for _ in range(3):
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                above = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                command = (folder / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue
            if above in {parent, *found} and "resource_tracker" not in command:
                found[int(folder.name)] = command
    return found


def test_a_runaway_is_stopped_by_time_and_gone() -> None:
    started = time.monotonic()
    with pytest.raises(SpeechkitError, match="determinising HL took more than 0.5 s: prune the language model"):
        run_limited(Limits(LIMITS.what, LIMITS.remedy, 0.5, 1 << 30), subprocess.call, ["sleep", "1234"])
    assert time.monotonic() - started < 60
    assert not descendants(os.getpid())
    commands = [path.read_text() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert "sleep\x001234\x00" not in commands


def test_a_runaway_is_stopped_by_memory_and_gone() -> None:
    # The endless list of zeros grows by 8 bytes for each.
    with pytest.raises(SpeechkitError, match="determinising HL took more than 300 MiB of memory: prune"):
        run_limited(Limits(LIMITS.what, LIMITS.remedy, 600, 300 << 20), list, iter(int, 1))
    assert not descendants(os.getpid())


def test_what_python_cannot_allocate_is_too_much_memory() -> None:
    with pytest.raises(SpeechkitError, match="took more than 2.0 GiB of memory"):
        run_limited(LIMITS, bytearray, 1 << 62)


def test_it_ends_with_a_parent_that_is_killed() -> None:
    code = f"""
import time
from speechkit.fsa.guard import Limits, run_limited
run_limited(Limits("x", "y", 1000, {1 << 30}), time.sleep, 1000)
"""
    parent = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    # Once it leads a group of its own, it is about to call the function, or does.
    while not (below := [pid for pid in descendants(parent.pid) if os.getpgid(pid) == pid]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while Path(f"/proc/{below[0]}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{below[0]}").exists()
