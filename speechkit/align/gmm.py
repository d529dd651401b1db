"""Mixtures of diagonal Gaussians for all pdfs at once: log-likelihoods, statistics, estimation, growth.

All Gaussians lie end to end, sorted by pdf, so that the log-likelihoods of a block of frames are one matrix product.
Estimation and growth follow Kaldi's `gmm-est`: Gaussians of low occupancy are removed, variances floored, and the
number of Gaussians of each pdf grows with a power of its occupancy (`--mix-up`, `--power`).
"""

import heapq
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

LOG_2_PI = math.log(2 * math.pi)
FRAMES_PER_BLOCK = 1024
LEAST_WEIGHT = 1e-5


@dataclass
class GmmStats:
    """Sums over frames for every Gaussian: occupancy `(G,)`, features and their squares `(G, D)`, float64."""

    occupancy: Tensor
    total: Tensor
    squares: Tensor
    log_likelihood: float = 0.0
    frames: int = 0

    @classmethod
    def zeros(cls, num_gaussians: int, dim: int) -> "GmmStats":
        """Statistics of no frame."""
        occupancy = torch.zeros(num_gaussians, dtype=torch.float64)
        return cls(occupancy, occupancy.new_zeros(num_gaussians, dim), occupancy.new_zeros(num_gaussians, dim))


@dataclass
class DiagonalGmms:
    """Mixtures of `P` pdfs over `D` dimensions, `G` Gaussians in all.

    Attributes:
        sizes: Gaussians of each pdf, at least 1, `(P,)` int64.
        weights: of the Gaussians, summing to 1 within each pdf, `(G,)` float64.
        means, variances: `(G, D)` float64.
    """

    sizes: Tensor
    weights: Tensor
    means: Tensor
    variances: Tensor

    def __post_init__(self) -> None:
        self.splits = [0, *torch.cumsum(self.sizes, 0).tolist()]
        self.pdf = torch.repeat_interleave(torch.arange(len(self.sizes)), self.sizes)
        precision = 1 / self.variances
        constants = self.weights.clamp_min(1e-300).log() - 0.5 * (
            LOG_2_PI * self.dim + self.variances.log().sum(1) + (self.means.square() * precision).sum(1)
        )
        self._constants = constants.float()
        self._linear = (self.means * precision).float().T.contiguous()
        self._quadratic = (-0.5 * precision).float().T.contiguous()

    @property
    def num_pdfs(self) -> int:
        """Number of mixtures, `P`."""
        return len(self.sizes)

    @property
    def num_gaussians(self) -> int:
        """Number of Gaussians of all mixtures, `G`."""
        return len(self.weights)

    @property
    def dim(self) -> int:
        """Dimension of the features, `D`."""
        return self.means.shape[1]

    @classmethod
    def single(cls, mean: Tensor, variance: Tensor, num_pdfs: int) -> "DiagonalGmms":
        """Start: one Gaussian of the same mean and variance `(D,)` for every pdf."""
        ones = torch.ones(num_pdfs, dtype=torch.float64)
        each = (value.double().expand(num_pdfs, -1).clone() for value in (mean, variance))
        return cls(ones.long(), ones, *each)

    def log_likelihoods(self, frames: Tensor) -> Tensor:
        """Natural-log densities `(T, P)` of the frames `(T, D)` under every mixture."""
        out = frames.new_empty(len(frames), self.num_pdfs)
        index = self.pdf.expand(FRAMES_PER_BLOCK, -1)
        for start in range(0, len(frames), FRAMES_PER_BLOCK):
            block = frames[start : start + FRAMES_PER_BLOCK]
            scores = self._component_scores(block, slice(None))
            if self.num_gaussians == self.num_pdfs:
                out[start : start + len(block)] = scores
                continue
            best = scores.new_full((len(block), self.num_pdfs), -math.inf)
            best.scatter_reduce_(1, index[: len(block)], scores, "amax")
            scores.sub_(best.index_select(1, self.pdf)).exp_()
            sums = torch.zeros_like(best).index_add_(1, self.pdf, scores)
            out[start : start + len(block)] = sums.log_().add_(best)
        return out

    def accumulate(self, frames: Tensor, pdfs: Tensor, stats: GmmStats) -> None:
        """Add to `stats` the frames `(T, D)`, each under the one pdf that it is aligned to, `(T,)`."""
        order = torch.argsort(pdfs, stable=True)
        counts = torch.bincount(pdfs, minlength=self.num_pdfs).tolist()
        start = 0
        for pdf, count in enumerate(counts):
            if count == 0:
                continue
            block = frames[order[start : start + count]]
            start += count
            rows = slice(self.splits[pdf], self.splits[pdf + 1])
            scores = self._component_scores(block, rows)
            totals = torch.logsumexp(scores, 1)
            posteriors = (scores - totals[:, None]).exp_()
            stats.occupancy[rows] += posteriors.sum(0, dtype=torch.float64)
            stats.total[rows] += (posteriors.T @ block).double()
            stats.squares[rows] += (posteriors.T @ block.square()).double()
            stats.log_likelihood += float(totals.sum(dtype=torch.float64))
            stats.frames += count

    def _component_scores(self, frames: Tensor, rows: slice) -> Tensor:
        """Weighted log-densities `(T, R)` of the Gaussians in `rows`."""
        scores = torch.addmm(self._constants[rows], frames, self._linear[:, rows])
        return scores.addmm_(frames.square(), self._quadratic[:, rows])

    def estimated(self, stats: GmmStats, variance_floor: Tensor, least_occupancy: float = 10.0) -> "DiagonalGmms":
        """Maximum-likelihood mixtures from statistics.

        A Gaussian of less than `least_occupancy` frames is removed, or kept as it is where it is its pdf's best.
        """
        keep, means, variances = [], self.means.clone(), self.variances.clone()
        for first, last in zip(self.splits[:-1], self.splits[1:], strict=True):
            enough = stats.occupancy[first:last] >= least_occupancy
            if not enough.any():
                best = first + int(stats.occupancy[first:last].argmax())
                keep.append(torch.tensor([best]))
                continue
            chosen = first + enough.nonzero()[:, 0]
            keep.append(chosen)
            occupancy = stats.occupancy[chosen, None]
            means[chosen] = stats.total[chosen] / occupancy
            spread = stats.squares[chosen] / occupancy - means[chosen].square()
            variances[chosen] = torch.maximum(spread, variance_floor)
        rows = torch.cat(keep)
        sizes = torch.tensor([len(each) for each in keep])
        return DiagonalGmms(sizes, _shares(stats.occupancy[rows], sizes), means[rows], variances[rows])

    def grown(
        self, occupancy: Tensor, num_gaussians: int, power: float, least_count: float, generator: torch.Generator
    ) -> "DiagonalGmms":
        """Split the heaviest Gaussians until there are about `num_gaussians`.

        Args:
            occupancy: frames of each pdf `(P,)`.
            num_gaussians: wanted in all; pdfs without enough frames stay below their share.
            power: a pdf's share grows with this power of its occupancy.
            least_count: frames that each Gaussian of a pdf shall have.
            generator: source of the directions in which the halves move apart.
        """
        targets = split_targets(occupancy.tolist(), self.sizes.tolist(), num_gaussians, power, least_count)
        parts = []
        for pdf, target in enumerate(targets):
            rows = slice(self.splits[pdf], self.splits[pdf + 1])
            parts.append(_split(self.weights[rows], self.means[rows], self.variances[rows], target, generator))
        weights, means, variances = (torch.cat(part) for part in zip(*parts, strict=True))
        return DiagonalGmms(torch.tensor([len(part[0]) for part in parts]), weights, means, variances)


def pieces(frames: Tensor, lengths: Sequence[int]) -> list[Tensor]:
    """Views of the frames `(F, ...)` of each of some utterances that lie end to end."""
    ends = list(itertools.accumulate(lengths))
    return [frames[end - length : end] for end, length in zip(ends, lengths, strict=True)]


def split_targets(
    occupancy: list[float], sizes: list[int], num_gaussians: int, power: float, least_count: float
) -> list[int]:
    """Gaussians that each pdf shall have: each further one goes where occupancy^power per Gaussian is greatest.

    Pdfs are never given fewer than they have, nor more than one per `least_count` frames.
    """
    targets = [1] * len(sizes)
    queue = [(-(count**power), pdf) for pdf, count in enumerate(occupancy) if count > 0]
    heapq.heapify(queue)
    total = len(sizes)
    while queue and total < num_gaussians:
        _, pdf = heapq.heappop(queue)
        if (targets[pdf] + 1) * least_count >= occupancy[pdf]:
            continue
        targets[pdf] += 1
        total += 1
        heapq.heappush(queue, (-(occupancy[pdf] ** power) / targets[pdf], pdf))
    return [max(target, size) for target, size in zip(targets, sizes, strict=True)]


def _split(
    weights: Tensor, means: Tensor, variances: Tensor, target: int, generator: torch.Generator, distance: float = 0.01
) -> tuple[Tensor, Tensor, Tensor]:
    """Halve the heaviest Gaussian again and again; the halves lie `distance` standard deviations to either side."""
    while len(weights) < target:
        heaviest = int(weights.argmax())
        step = torch.randn(means.shape[1], generator=generator, dtype=torch.float64)
        step *= distance * variances[heaviest].sqrt()
        half = weights[heaviest] / 2
        weights = torch.cat([weights, half[None]])
        means = torch.cat([means, (means[heaviest] + step)[None]])
        variances = torch.cat([variances, variances[heaviest][None]])
        weights[heaviest] = half
        means[heaviest] = means[heaviest] - step
    return weights, means, variances


def _shares(occupancy: Tensor, sizes: Tensor) -> Tensor:
    """Weights within each pdf, equal where it has no frames."""
    pdf = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
    totals = torch.zeros(len(sizes), dtype=torch.float64).index_add_(0, pdf, occupancy)
    equal = 1 / sizes.double()[pdf]
    weights = torch.where(totals[pdf] > 0, occupancy / totals[pdf].clamp_min(1e-300), equal).clamp_min(LEAST_WEIGHT)
    return weights / torch.zeros_like(totals).index_add_(0, pdf, weights)[pdf]
