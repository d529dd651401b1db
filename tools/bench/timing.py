"""Interleaved timing: every candidate once per round, so that a busy machine slows all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any


def compare(candidates: Mapping[str, Callable[[], Any]], repeats: int = 5, warm_up: bool = True) -> dict[str, float]:
    """Time the candidates in turn and print median, best and each one's time relative to the first.

    Args:
        candidates: name to a function without arguments; the first is the one the ratios refer to.
        repeats: rounds.
        warm_up: run each once before the first round.

    Returns:
        Median seconds of each candidate.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for round_number in range(repeats + warm_up):
        for name, function in candidates.items():
            start = time.perf_counter()
            function()
            if round_number >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    first, width = next(iter(medians.values())), max(map(len, medians))
    print(f"{'':{width}}  median s    best s   ratio to the first")
    for name, median in medians.items():
        print(f"{name:{width}}  {median:8.4f}  {min(seconds[name]):8.4f}  {median / first:7.2f}")
    return medians
