"""Batches that keep to a limit with their padding."""

import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

from lhotse.dataset.sampling.base import TimeConstraint


@dataclass
class PaddedLimit(TimeConstraint):  # type: ignore[misc]
    """Ends a batch before any cut of its bucket could make it longer, padding included, than `max_duration`.

    Lhotse's own constraint assumes that the next cut is no longer than the longest so far, which it may be.

    Attributes:
        edges: the longest duration in each bucket, ascending.
        crop: seconds that are taken of a cut at most.
    """

    longest_seen: float = 0.0
    edges: tuple[float, ...] = ()
    crop: float = math.inf

    def add(self, example: Any) -> None:
        """Count a cut as long as the longest of its bucket, cropped."""
        bucket = bisect_left(self.edges, example.duration)
        longest = min(self.crop, self.edges[bucket] if bucket < len(self.edges) else example.duration)
        self.current += longest
        self.longest_seen = max(self.longest_seen, longest)
        self.num_cuts += 1
