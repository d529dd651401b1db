"""k-means on a sample of frames that fits into memory, on the CPU or a GPU.

Seeds are chosen by greedy k-means++ on few points. Lloyd's iterations then run on a sixteenth of the points, on a
quarter and on all of them: most of the way is made where an iteration costs little, and the end is that of full
iterations (which come lower than mini-batch steps, see tools/bench/kmeans.py).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from speechkit.common.errors import SpeechkitError

# Distances at a time: as many floats as a processor's cache holds; a GPU wants large products.
BLOCK, GPU_BLOCK = 1 << 18, 1 << 26
SHARES = (1 / 16, 1 / 4, 1)
LEAST_POINTS, LEAST_PER_CLUSTER = 10_000, 20  # of a share, and for the seeds


@dataclass(frozen=True, kw_only=True)
class KMeansConfig:
    """`clusters` centres from at most `max_points` frames, drawn evenly from all: that bounds the memory.

    Iterations on a share of the points end after `iterations` of them, or when one lowers the mean squared distance by
    less than the factor `tolerance`.
    """

    clusters: int = 100
    max_points: int = 1_000_000
    iterations: int = 20
    tolerance: float = 5e-4

    def __post_init__(self) -> None:
        if self.clusters < 2 or self.max_points < self.clusters or self.iterations < 1:
            raise ValueError("clusters must be at least 2, max_points no fewer than clusters, iterations at least 1")


class Sample:
    """An even sample of at most `size` of all points that are added, whatever their number (Vitter 1985, method R).

    With a `folder` they are kept in a file there that has no name, in place of memory.
    """

    def __init__(self, size: int, generator: torch.Generator, folder: Path | None = None) -> None:
        self.size, self.seen, self._generator, self._folder = size, 0, generator, folder
        self._kept: Tensor | None = None

    def add(self, points: Tensor) -> None:
        """Add `(P, D)` points."""
        if self._kept is None:
            self._kept = self._room(points)
        free = max(0, min(self.size - self.seen, len(points)))
        self._kept[self.seen : self.seen + free] = points[:free]
        rest = points[free:]
        order = torch.arange(self.seen + free, self.seen + len(points), dtype=torch.float64)
        place = (torch.rand(len(rest), dtype=torch.float64, generator=self._generator) * (order + 1)).long()
        chosen = (place < self.size).nonzero().flatten().flip(0)
        # Of several for one place the last one stays, as if they had come one by one.
        places, last = np.unique(place[chosen].numpy(), return_index=True)
        self._kept[torch.from_numpy(places)] = rest[chosen[torch.from_numpy(last)]]
        self.seen += len(points)

    def _room(self, points: Tensor) -> Tensor:
        if self._folder is None:
            return points.new_empty(self.size, points.shape[1])
        self._folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=self._folder) as file:  # mapped memory outlives it
            return torch.from_numpy(np.memmap(file, points.numpy().dtype, "w+", shape=(self.size, points.shape[1])))

    def points(self) -> Tensor:
        """What is kept, `(P, D)`."""
        if self._kept is None:
            raise SpeechkitError("there are no frames to cluster; check the cuts of the training set")
        return self._kept[: min(self.seen, self.size)]


def assign(points: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest of `centres (K, D)` to each of `points (P, D)`, and the squared distance to it, both `(P,)`."""
    labels = torch.empty(len(points), dtype=torch.int64, device=points.device)
    distances = torch.empty(len(points), device=points.device)
    norms, columns = centres.pow(2).sum(1), centres.T.contiguous()
    step = max(64, (BLOCK if points.device.type == "cpu" else GPU_BLOCK) // len(centres))
    for start in range(0, len(points), step):
        block = points[start : start + step]
        nearest = torch.addmm(norms, block, columns, alpha=-2).min(1)
        labels[start : start + step] = nearest.indices
        distances[start : start + step] = nearest.values + block.pow(2).sum(1)
    return labels, distances.clamp(min=0)


def fit(points: Tensor, config: KMeansConfig, generator: torch.Generator, seeds: Tensor | None = None) -> Tensor:
    """Centres `(K, D)` of `points (P, D)` float32, from k-means++, or by full iterations from given `seeds (K, D)`.

    Raises:
        SpeechkitError: fewer different points than clusters, or values that are not finite.
    """
    if len(points) < config.clusters:
        raise SpeechkitError(f"{len(points)} frames are too few for {config.clusters} clusters; take fewer clusters")
    if not bool(points.isfinite().all()):
        raise SpeechkitError("frames hold NaN or infinity; look for broken audio with `speechkit validate`")
    if seeds is not None:
        return _iterate(points, seeds, config)
    points = points[torch.randperm(len(points), generator=generator).to(points.device)]
    least = max(LEAST_POINTS, LEAST_PER_CLUSTER * config.clusters)
    centres = _seeds(points[:least], config.clusters, generator)
    for count in sorted({min(len(points), max(least, math.ceil(share * len(points)))) for share in SHARES}):
        centres = _iterate(points[:count], centres, config)
    return centres


def _iterate(points: Tensor, centres: Tensor, config: KMeansConfig) -> Tensor:
    """Lloyd's iterations until they gain little."""
    before = math.inf
    for _ in range(config.iterations):
        labels, distances = assign(points, centres)
        centres = _means(points, labels, distances, centres)
        inertia = float(distances.mean())
        if before - inertia <= config.tolerance * inertia:
            break
        before = inertia
    return centres


def _means(points: Tensor, labels: Tensor, distances: Tensor, centres: Tensor) -> Tensor:
    """Mean of the points of each cluster; a cluster without any takes a point that is farthest from its own."""
    counts = torch.bincount(labels, minlength=len(centres))
    starts = counts.cumsum(0) - counts
    sums = F.embedding_bag(labels.argsort(), points, starts, mode="sum")
    means = sums / counts.clamp(min=1).unsqueeze(1)
    empty = (counts == 0).nonzero().flatten()
    if len(empty):
        means[empty] = points[distances.topk(len(empty)).indices]
    return means


def _seeds(points: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    """Greedy k-means++ (Arthur and Vassilvitskii 2007): of a few candidates, drawn by squared distance, the best."""
    trials = 2 + int(math.log(clusters))
    norms = points.pow(2).sum(1)
    chosen = [int(torch.randint(len(points), (), generator=generator))]
    closest = (points - points[chosen[0]]).pow(2).sum(1)
    for _ in range(clusters - 1):
        if float(closest.max()) == 0:
            raise SpeechkitError(f"there are fewer than {clusters} different frames; take fewer clusters")
        thresholds = torch.rand(trials, dtype=torch.float64, generator=generator).to(points.device)
        cumulative = closest.double().cumsum(0)
        candidates = torch.searchsorted(cumulative, thresholds * cumulative[-1]).clamp(max=len(points) - 1)
        distances = torch.addmm(norms, points[candidates], points.T, alpha=-2) + norms[candidates].unsqueeze(1)
        closer = torch.minimum(closest, distances.clamp(min=0))
        best = int(closer.sum(1).argmin())
        closest = closer[best]
        chosen.append(int(candidates[best]))
        closest[chosen[-1]] = 0
    return points[torch.tensor(chosen, device=points.device)]


def sampled(blocks: Iterable[Tensor], config: KMeansConfig, generator: torch.Generator) -> Tensor:
    """An even sample of all frames in blocks `(P, D)`."""
    sample = Sample(config.max_points, generator)
    for block in blocks:
        sample.add(block)
    return sample.points()
