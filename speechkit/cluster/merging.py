"""Neighbouring frames merged into segments from the bottom up, by Ward's criterion (Ward 1963)."""

import heapq

import numpy as np
import numpy.typing as npt
from torch import Tensor

from speechkit.cluster.pooling import Spans


def merged_segments(frames: Tensor, cost: float) -> Spans:
    """Spans `(S, 2)` of neighbouring `frames (T, D)`, first frame of each and that behind it.

    A merger costs what it adds to the sum of squared distances between frames and their segments' means. The cheapest
    of all comes first, the leftmost of equal ones, until none costs at most `cost`.
    """
    count = len(frames)
    sums, ends = frames.double().numpy().copy(), np.arange(1, count + 1)
    before = np.arange(-1, count - 1)

    def price(first: int, second: int) -> float:
        sizes = ends[first] - first, ends[second] - second
        gap = sums[first] / sizes[0] - sums[second] / sizes[1]
        return float((gap @ gap) * sizes[0] * sizes[1] / (sizes[0] + sizes[1]))

    # A segment is named by its first frame; an entry is out of date when one of its two has grown or is gone.
    queue = [(price(at, at + 1), at, at + 1, at + 2) for at in range(count - 1)]
    heapq.heapify(queue)
    while queue and queue[0][0] <= cost:
        _, first, second, end = heapq.heappop(queue)
        if ends[first] != second or ends[second] != end:
            continue
        sums[first] += sums[second]
        ends[first], ends[second] = end, 0
        if end < count:
            before[end] = first
            heapq.heappush(queue, (price(first, end), first, end, int(ends[end])))
        if (left := int(before[first])) >= 0:
            heapq.heappush(queue, (price(left, first), left, first, end))
    return _spans(ends)


def _spans(ends: npt.NDArray[np.int64]) -> Spans:
    starts = np.flatnonzero(ends)
    return np.stack([starts, ends[starts]], axis=1).astype(np.int64)
