"""The built-in engine on the CPU: what the kernels need and give, and threads to run them in."""

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from speechkit.fsa.engines.cpu_banded import band_totals, band_work
from speechkit.fsa.engines.cpu_best import Search, best_work, block_sizes, listed_paths
from speechkit.fsa.engines.cpu_best_banded import banded_paths
from speechkit.fsa.engines.cpu_lanes import LANES
from speechkit.fsa.engines.cpu_layout import BANDED, KIND, LABELS, LABELS_AT, LISTED, Arcs, Batch, Layout, lay_out
from speechkit.fsa.engines.cpu_listed import list_work
from speechkit.fsa.engines.cpu_listed_back import COUNTS, NOTHING, POSTERIORS, lane_totals, single_totals
from speechkit.fsa.engines.cpu_wide import kernel
from speechkit.fsa.graph import GraphBatch
from speechkit.fsa.paths import BestPaths

Array = npt.NDArray[Any]

# Rough nanoseconds per arc and frame: searches and sums through banded and through listed graphs; per value written.
SEARCH_TIME = {BANDED: 0.2, LISTED: 1.0}
SUM_TIME = {BANDED: 1.0, LISTED: 3.0}
SPREAD_TIME = 0.2
# Under this many nanoseconds threads do not pay: on a busy machine it takes as long until the last one gets its turn.
LEAST_TIME = 2e6
# Bytes that the search for one path may take: what is longer is computed twice.
SEARCH_MEMORY = 64_000_000


class Sums(NamedTuple):
    """Total scores of a batch and, where they were asked for, probabilities of labels and notes about arcs."""

    layout: Layout
    batch: Batch
    arc_sizes: Array

    def totals(self) -> Tensor:
        """Total scores `(N,)`, float64."""
        return torch.from_numpy(self.batch.totals)

    def gradient(self, scale: Tensor) -> Tensor:
        """Occupation probabilities `(N, T, V)`, those of each utterance times its `scale` `(N,)`."""
        dense = torch.empty(self.batch.log_probs.shape)
        run = functools.partial(_spread, self.batch, self.layout, scale.float().numpy(), dense.numpy())
        _in_threads(run, np.arange(len(dense)), SPREAD_TIME * dense.numel())
        return dense

    def arc_gradient(self, scale: Tensor, arc_splits: Tensor) -> Tensor:
        """Expected counts of all arcs of the batch of graphs, summed over utterances with weights `scale` `(N,)`."""
        summed = np.zeros(int(arc_splits[-1]))
        for n, weight in enumerate(scale.tolist()):
            first = int(arc_splits[self.batch.graph_of[n]])
            summed[first : first + self.arc_sizes[n]] += weight * self._noted(n)
        return torch.from_numpy(summed)

    def posteriors(self, num_arcs: Tensor) -> list[Tensor]:
        """Occupation probabilities of arcs by frame, `(length, arcs)` for each utterance of `num_arcs` `(N,)`."""
        shapes = zip(self.batch.lengths.tolist(), num_arcs.tolist(), strict=True)
        return [torch.from_numpy(self._noted(n)).reshape(shape) for n, shape in enumerate(shapes)]

    def _noted(self, n: int) -> Array:
        start = self.batch.arc_starts[n]
        return self.batch.arc_values[start : start + self.arc_sizes[n]]


def sum_paths(
    log_probs: Tensor, lengths: Tensor, graphs: GraphBatch, *, labels: bool = False, notes: int = NOTHING
) -> Sums:
    """Sum over all paths of each utterance.

    Args:
        log_probs: float32 `(N, T, V)`.
        lengths: `(N,)`.
        graphs: the graphs.
        labels: keep what `Sums.gradient` needs.
        notes: `COUNTS` keeps what `Sums.arc_gradient` needs, `POSTERIORS` what `Sums.posteriors` needs.
    """
    arcs, index, frames = _arcs_of(graphs), graphs.index.numpy(), lengths.numpy()
    values = log_probs.detach().contiguous().numpy()
    layout = lay_out(arcs, _used(graphs), values.shape[2], banded=notes == NOTHING, best=False)
    keep = labels or notes != NOTHING
    label_sizes = frames * layout.graphs[index, LABELS] * keep
    arc_sizes = np.diff(arcs.arc_splits)[index] * {NOTHING: 0, COUNTS: 1, POSTERIORS: frames}[notes]
    batch = Batch(
        log_probs=values,
        lengths=frames,
        graph_of=index,
        totals=np.full(len(frames), -np.inf),
        starts=np.cumsum(label_sizes) - label_sizes,
        occupied=np.empty(label_sizes.sum(), np.float32),
        arc_starts=np.cumsum(arc_sizes) - arc_sizes,
        arc_values=np.zeros(arc_sizes.sum(), np.float32),
    )
    banded, listed = (_by_length(frames, layout.graphs[index, KIND] == kind) for kind in (BANDED, LISTED))
    work = _work(arcs, index, frames)
    _in_threads(functools.partial(_sum_banded, batch, layout, keep), banded, SUM_TIME[BANDED] * work)
    single, blocks = _blocks(listed, index) if notes != POSTERIORS else (listed, np.zeros((0, LANES), np.int64))
    work *= SUM_TIME[LISTED]
    _in_threads(functools.partial(_sum_single, batch, arcs, layout, keep, notes), single, work)
    _in_threads(functools.partial(_sum_lanes, batch, arcs, layout, keep, notes), blocks, work / LANES)
    return Sums(layout, batch, arc_sizes)


def best_path(log_probs: Tensor, lengths: Tensor, graphs: GraphBatch, beam: float | None) -> BestPaths:
    """The best path of each utterance; see `speechkit.fsa.intersect.best_path`."""
    arcs, index, frames = _arcs_of(graphs), graphs.index.numpy(), lengths.numpy()
    values = log_probs.detach().contiguous().numpy()
    layout = lay_out(arcs, _used(graphs), values.shape[2], banded=True, best=True)
    search = Search(
        log_probs=values,
        lengths=frames,
        graph_of=index,
        beam=np.inf if beam is None else float(beam),
        sizes=block_sizes(frames, layout.graphs[index], SEARCH_MEMORY),
        scores=np.full(len(frames), -np.inf),
        path=np.full(values.shape[:2], -1, np.int64),
        path_scores=np.zeros(values.shape[:2], np.float32),
        final_arcs=np.full(len(frames), -1, np.int64),
    )
    work = _work(arcs, index, frames)
    for kind, search_kind in ((BANDED, banded_paths), (LISTED, listed_paths)):
        rows = _by_length(frames, layout.graphs[index, KIND] == kind)
        _in_threads(functools.partial(_search, search_kind, search, arcs, layout), rows, SEARCH_TIME[kind] * work)
    scores, path, path_scores, final_arcs = map(torch.from_numpy, search[5:])
    return BestPaths(scores, path, path_scores, final_arcs)


def _sum_banded(batch: Batch, layout: Layout, keep: bool, rows: Array) -> None:
    band_totals(batch, rows, layout, band_work(batch.lengths[rows], layout.graphs[batch.graph_of[rows]], keep), keep)


def _sum_single(batch: Batch, arcs: Arcs, layout: Layout, keep: bool, notes: int, rows: Array) -> None:
    chosen = batch.graph_of[rows]
    num_arcs = int(np.diff(arcs.arc_splits)[chosen].max())
    work = list_work(batch.lengths[rows], layout.graphs[chosen], num_arcs, 1, keep=keep, noted=0)
    single_totals(batch, rows, arcs, layout, work, keep, notes)


def _sum_lanes(batch: Batch, arcs: Arcs, layout: Layout, keep: bool, notes: int, blocks: Array) -> None:
    chosen = batch.graph_of[blocks[:, 0]]
    num_arcs = int(np.diff(arcs.arc_splits)[chosen].max())
    noted = 0 if notes == NOTHING else num_arcs
    longest = np.where(blocks >= 0, batch.lengths[blocks], 0).max(1)
    work = list_work(longest, layout.graphs[chosen], num_arcs, LANES, keep=keep, noted=noted)
    lane_totals(batch, blocks, arcs, layout, work, keep, notes)


def _search(run: Callable[..., object], search: Search, arcs: Arcs, layout: Layout, rows: Array) -> None:
    work = best_work(search.lengths[rows], layout.graphs[search.graph_of[rows]], search.sizes[rows])
    run(search, rows, arcs, layout, work)


def _by_length(frames: Array, chosen: Array) -> Array:
    """The chosen utterances, longest first."""
    rows = np.flatnonzero(chosen)
    return rows[np.argsort(-frames[rows], kind="stable")]


def _arcs_of(graphs: GraphBatch) -> Arcs:
    return Arcs(*(getattr(graphs, name).detach().contiguous().numpy() for name in Arcs._fields))


def _used(graphs: GraphBatch) -> Array:
    used = np.zeros(graphs.num_graphs, np.bool_)
    used[graphs.index.numpy()] = True
    return used


def _work(arcs: Arcs, index: Array, frames: Array) -> float:
    """Arcs times frames."""
    return float((np.diff(arcs.arc_splits)[index] * frames).sum())


def _blocks(rows: Array, index: Array) -> tuple[Array, Array]:
    """Utterances whose graph no other one uses, and blocks `(B, LANES)` of those that share a graph, filled with -1."""
    rows = rows[np.argsort(index[rows], kind="stable")]
    groups = np.split(rows, np.flatnonzero(np.diff(index[rows])) + 1)
    single = [group for group in groups if len(group) == 1]
    blocks = [group[i : i + LANES] for group in groups if len(group) > 1 for i in range(0, len(group), LANES)]
    filled = [np.pad(block, (0, LANES - len(block)), constant_values=-1) for block in blocks]
    empty = np.zeros(0, np.int64)
    return np.concatenate([empty, *single]), np.array(filled, np.int64).reshape(-1, LANES)


def _in_threads(run: Callable[[Array], object], items: Array, nanoseconds: float) -> None:
    """Run a kernel on items that are sorted by falling size, in as many threads as torch uses if it takes long."""
    if not len(items):
        return
    threads = min(torch.get_num_threads(), len(items)) if nanoseconds >= LEAST_TIME else 1
    shares = [np.ascontiguousarray(items[first::threads]) for first in range(threads)]
    others = [_pool(os.getpid(), torch.get_num_threads()).submit(run, share) for share in shares[1:]]
    run(shares[0])
    for other in others:
        other.result()


@functools.lru_cache(maxsize=1)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Threads of this process: those of its parent are not there after a fork."""
    return ThreadPoolExecutor(threads)


@kernel
def _spread(batch: Any, layout: Any, scale: Any, dense: Any, rows: Any) -> Any:
    """Write occupation probabilities to their columns, times the scale of the utterance, and zeros elsewhere."""
    for n in rows:
        graph = layout.graphs[batch.graph_of[n]]
        count = graph[LABELS]
        columns = layout.labels[graph[LABELS_AT] : graph[LABELS_AT] + count]
        for t in range(dense.shape[1]):
            frame = dense[n, t]
            frame[:] = np.float32(0)
            if t < batch.lengths[n]:
                start = batch.starts[n] + t * count
                for i in range(count):
                    frame[columns[i]] = scale[n] * batch.occupied[start + i]
