"""Work spread over processes, with results in the order of the items."""

import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from speechkit.common.errors import SpeechkitError, UsageError

Item = TypeVar("Item")
Result = TypeVar("Result")
WAITING_PER_JOB = 2


def available_cpus() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


def parallel_map(function: Callable[[Item], Result], items: Iterable[Item], num_jobs: int) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order, from `num_jobs` processes (in this one for 1).

    Items are taken as they are needed, so an endless or lazy iterable is fine. Raises what
    `function` raises, and `SpeechkitError` when a process dies.
    """
    if num_jobs < 1:
        raise UsageError(f"--nj must be at least 1, not {num_jobs}")
    if num_jobs == 1:
        yield from map(function, items)
        return
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(num_jobs, mp_context=context, initializer=_single_thread) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= WAITING_PER_JOB * num_jobs:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise SpeechkitError(
                "a worker process was killed, often for want of memory; run the same command again with a smaller --nj"
            ) from error
        finally:
            for future in waiting:
                future.cancel()


def _single_thread() -> None:
    """One thread per process, without importing torch where the work may not need it."""
    os.environ["OMP_NUM_THREADS"] = "1"
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
