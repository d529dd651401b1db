"""Commands run beside each other, each with a log of its own."""

import fcntl
import os
import queue
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from speechkit.common.files import disk_errors


@dataclass(frozen=True)
class Job:
    """A command whose output goes to the end of `log`, which is locked while any process of the job runs."""

    command: tuple[str, ...]
    log: Path


@dataclass(frozen=True)
class Ended:
    """The job at `index` of those that were given, with its return code."""

    index: int
    code: int
    seconds: float


def run_jobs(jobs: Sequence[Job], slots: Sequence[Mapping[str, str]]) -> Iterator[Ended]:
    """Run as many jobs at a time as there are `slots`, and yield them as they end, whatever their return codes.

    A slot is what the environment of its jobs has more than this process's, as the number of a GPU. A job that is still
    at work for a driver that was killed is waited for.
    """
    free: queue.SimpleQueue[Mapping[str, str]] = queue.SimpleQueue()
    for slot in slots:
        free.put(slot)

    def run(index: int) -> Ended:
        slot = free.get()
        try:
            return _run(index, jobs[index], slot)
        finally:
            free.put(slot)

    with ThreadPoolExecutor(max(1, len(slots))) as pool:
        try:
            for future in as_completed([pool.submit(run, index) for index in range(len(jobs))]):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _run(index: int, job: Job, slot: Mapping[str, str]) -> Ended:
    start = time.monotonic()
    with disk_errors(job.log):
        job.log.parent.mkdir(parents=True, exist_ok=True)
        with job.log.open("ab") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)  # the job's processes hold it with their output
            result = subprocess.run(
                job.command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=os.environ | slot, check=False
            )
    return Ended(index, result.returncode, time.monotonic() - start)


def last_lines(path: Path, count: int) -> list[str]:
    """The last lines of a log."""
    return path.read_text(encoding="utf-8", errors="replace").splitlines()[-count:]
