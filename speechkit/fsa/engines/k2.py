"""The k2 engine: exact intersection of dense log-probs with graphs by k2, on CPU or CUDA.

Written for k2 1.23.4 and newer through its public Python interface. What k2 wants and what the interface promises
differ in three ways, which are bridged here: k2 takes utterances by falling length, one graph for each of them, and at
least one frame of each.
"""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from speechkit.common.errors import SpeechkitError
from speechkit.common.k2_wheels import advice, installed_torch
from speechkit.fsa.graph import FINAL_LABEL, GraphBatch
from speechkit.fsa.paths import BestPaths

# Beyond any score, so that the intersection keeps every path.
EXACT_BEAM = 1e8
# Arcs that one intersection may hold, frames times arcs of the graph: k2 takes about 80 bytes for each.
LATTICE_ARCS = 50_000_000
# k2 counts with 32 bits.
MOST_ARCS = 2**31 - 2**20


def load() -> Any:
    """The module `k2`.

    Raises:
        SpeechkitError: it is not installed or does not import; says which pip command adds it.
    """
    try:
        return importlib.import_module("k2")
    except (ImportError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SpeechkitError(
            f"k2 does not import ({reason}): use --fsa-engine torch, or install it: {advice(installed_torch())}"
        ) from error


def total_scores(log_probs: Tensor, lengths: Tensor, graphs: GraphBatch) -> Tensor:
    """Log of the summed weight of all paths; see `speechkit.fsa.intersect.total_scores`."""
    # The empty sums tie the result to its inputs even where k2 sees none of the utterances.
    totals = _scores_without_frames(lengths, graphs) + log_probs[:0].sum() + graphs.score[:0].sum()
    spoilt = _spoilt(log_probs, lengths, graphs)
    for row in spoilt:
        # A sum of all that it reads, so that their gradients are NaN too.
        scores, weights = _read(log_probs, lengths, graphs, row)
        tainted = torch.nan * (scores.double().sum() + weights.double().sum())
        totals = totals.index_put((torch.tensor([row], device=totals.device),), tainted)
    for rows in _portions(lengths, graphs, spoilt):
        lattice = _intersect(log_probs, lengths, graphs, rows)
        scores = lattice.fsa.get_tot_scores(use_double_scores=True, log_semiring=True)
        totals = totals.index_copy(0, lattice.rows, scores)
    return totals


@torch.no_grad()
def best_path(log_probs: Tensor, lengths: Tensor, graphs: GraphBatch) -> BestPaths:
    """The best path of each utterance; see `speechkit.fsa.intersect.best_path`."""
    k2 = load()
    shape, device = log_probs.shape[:2], log_probs.device
    scores, final_arcs = _best_without_frames(lengths, graphs)
    arcs = torch.full(shape, -1, dtype=torch.int64, device=device)
    arc_scores = torch.zeros(shape, dtype=torch.float32, device=device)
    spoilt = _spoilt(log_probs, lengths, graphs)
    scores[spoilt], final_arcs[spoilt] = torch.nan, -1
    for rows in _portions(lengths, graphs, spoilt):
        lattice = _intersect(log_probs, lengths, graphs, rows)
        scores[lattice.rows] = lattice.fsa.get_tot_scores(use_double_scores=True, log_semiring=False)
        best = k2.shortest_path(lattice.fsa, use_double_scores=True)
        row, frame, arc = lattice.rows[_owners(best)], best.frame.long(), best.arc.long()
        emits = best.labels != FINAL_LABEL
        arcs[row[emits], frame[emits]] = arc[emits]
        arc_scores[row[emits], frame[emits]] = best.scores[emits]
        final_arcs[row[~emits]] = arc[~emits]
    return BestPaths(scores, arcs, arc_scores, final_arcs)


@torch.no_grad()
def arc_posteriors(log_probs: Tensor, lengths: Tensor, graphs: GraphBatch) -> list[Tensor]:
    """Occupation probabilities of arcs by frame; see `speechkit.fsa.intersect.arc_posteriors`."""
    sizes = graphs.arc_splits.diff()[graphs.index]
    posteriors = [
        torch.zeros(frames, arcs, device=log_probs.device)
        for frames, arcs in zip(lengths.tolist(), sizes.tolist(), strict=True)
    ]
    spoilt = _spoilt(log_probs, lengths, graphs)
    for row in spoilt:
        labels = graphs.label[_ranges(graphs.arc_splits, graphs.index[row : row + 1])]
        posteriors[row][:, labels != FINAL_LABEL] = torch.nan
    for rows in _portions(lengths, graphs, spoilt):
        lattice = _intersect(log_probs, lengths, graphs, rows)
        occupied = lattice.fsa.get_arc_post(use_double_scores=True, log_semiring=True).exp().float()
        # Arcs of one utterance lie together.
        splits = torch.bincount(_owners(lattice.fsa), minlength=len(rows)).cumsum(0).tolist()
        for row, first, last in zip(lattice.rows.tolist(), [0, *splits[:-1]], splits, strict=True):
            emits = torch.nonzero(lattice.fsa.labels[first:last] != FINAL_LABEL)[:, 0] + first
            frame, arc = lattice.fsa.frame[emits].long(), lattice.fsa.arc[emits].long()
            arc = arc - graphs.arc_splits[graphs.index[row]]
            posteriors[row].index_put_((frame, arc), occupied[emits], accumulate=True)
    return posteriors


@dataclass(frozen=True)
class _Lattice:
    """An intersection and the utterances in it.

    `fsa` is an FsaVec of k2 with, for each arc, its `frame` and the `arc` of the flat arrays of the `GraphBatch`;
    `rows` is the utterance of each of its FSAs.
    """

    fsa: Any
    rows: Tensor


def _intersect(log_probs: Tensor, lengths: Tensor, graphs: GraphBatch, rows: Tensor) -> _Lattice:
    """Intersect the utterances `rows`, sorted by falling length, with their graphs."""
    k2 = load()
    segments = torch.stack([rows, torch.zeros_like(rows), lengths.cpu()[rows]], 1).int()
    dense = k2.DenseFsaVec(log_probs.float().contiguous(), segments)
    fsas = _fsa_vec(k2, graphs, rows.to(graphs.device))
    lattice = k2.intersect_dense(
        fsas, dense, output_beam=EXACT_BEAM, max_states=MOST_ARCS, max_arcs=MOST_ARCS, frame_idx_name="frame"
    )
    return _Lattice(lattice, rows.to(log_probs.device))


def _fsa_vec(k2: Any, graphs: GraphBatch, rows: Tensor) -> Any:
    """The graphs of utterances `rows` as an FsaVec, copied where they share one, with `arc` for each of its arcs."""
    chosen = graphs.index[rows]
    arcs = _ranges(graphs.arc_splits, chosen)
    state_splits, arc_splits = _splits(graphs.state_splits, chosen), _splits(graphs.arc_splits, chosen)
    owner = torch.bucketize(torch.arange(len(arcs), device=arcs.device), arc_splits[1:], right=True)
    state = graphs.source[arcs] + state_splits[owner]
    # k2 wants arcs sorted by label within each state, with -1 last: it compares labels as unsigned numbers.
    width = int(graphs.label.max()) + 2
    arcs = arcs[torch.argsort(state * width + graphs.label[arcs].long() % width)]
    scores = graphs.score[arcs].float()
    names = [graphs.source[arcs], graphs.destination[arcs], graphs.label[arcs]]
    content = torch.stack([*names, scores.detach().view(torch.int32)], 1)
    # What k2 reads as a vector of FSAs: their number, a 0, where the states and the arcs of each begin, the arcs.
    head = torch.tensor([len(rows), 0], device=rows.device)
    fsas = k2.Fsa(torch.cat([head, state_splits, arc_splits, content.flatten()]).int())
    fsas.scores = scores
    fsas.arc = arcs.int()
    return fsas


def _spoilt(log_probs: Tensor, lengths: Tensor, graphs: GraphBatch) -> list[int]:
    """Utterances that read a NaN or +inf, which k2 would pass over: their results are NaN."""
    values = (log_probs.detach(), graphs.score.detach())
    if all(bool(each.max() < torch.inf) for each in values if each.numel()):
        return []
    reads = (_read(values[0], lengths, graphs, row) for row in range(len(lengths)))
    return [row for row, read in enumerate(reads) if not all(bool((each < torch.inf).all()) for each in read)]


def _read(log_probs: Tensor, lengths: Tensor, graphs: GraphBatch, row: int) -> tuple[Tensor, Tensor]:
    """Log-probs and arc scores that an utterance may read."""
    arcs = _ranges(graphs.arc_splits, graphs.index[row : row + 1])
    labels = torch.unique(graphs.label[arcs])
    return log_probs[row, : int(lengths[row]), labels[labels >= 0].long()], graphs.score[arcs]


def _portions(lengths: Tensor, graphs: GraphBatch, spoilt: list[int]) -> Iterator[Tensor]:
    """Utterances that k2 can take, by falling length, in portions of bounded size.

    Not among them: the spoilt ones, and those without frames or arcs.
    """
    lengths, sizes = lengths.cpu(), graphs.arc_splits.diff()[graphs.index].cpu()
    rows = torch.argsort(lengths, descending=True, stable=True)
    portion: list[int] = []
    held = 0
    taken = (lengths > 0) & (sizes > 0)
    taken[spoilt] = False
    for row in rows[taken[rows]].tolist():
        size = int((lengths[row] + 1) * sizes[row])
        if size > MOST_ARCS:
            raise SpeechkitError(
                f"{int(lengths[row])} frames on a graph of {int(sizes[row])} arcs are too much for k2, which counts to "
                f"{MOST_ARCS}: use --fsa-engine torch, or cut the recording"
            )
        if portion and held + size > LATTICE_ARCS:
            yield torch.tensor(portion)
            portion, held = [], 0
        portion.append(row)
        held += size
    if portion:
        yield torch.tensor(portion)


def _scores_without_frames(lengths: Tensor, graphs: GraphBatch) -> Tensor:
    """Total scores `(N,)` of utterances of no frames, which go straight from start to end; -inf for all others."""
    device = graphs.device
    totals = torch.full((len(lengths),), -torch.inf, dtype=torch.float64, device=device)
    for row in torch.nonzero(lengths == 0)[:, 0].tolist():
        scores = graphs.score[_straight_arcs(graphs, row)]
        if len(scores):
            totals = totals.index_put((torch.tensor([row], device=device),), scores.double().logsumexp(0))
    return totals


def _best_without_frames(lengths: Tensor, graphs: GraphBatch) -> tuple[Tensor, Tensor]:
    """Best scores `(N,)` and final arcs `(N,)` of utterances of no frames; -inf and -1 for all others."""
    scores = torch.full((len(lengths),), -torch.inf, dtype=torch.float64, device=graphs.device)
    final_arcs = torch.full((len(lengths),), -1, dtype=torch.int64, device=graphs.device)
    for row in torch.nonzero(lengths == 0)[:, 0].tolist():
        arcs = _straight_arcs(graphs, row)
        if len(arcs):
            final_arcs[row] = arcs[graphs.score[arcs].argmax()]
            scores[row] = graphs.score[final_arcs[row]]
    return scores, final_arcs


def _straight_arcs(graphs: GraphBatch, row: int) -> Tensor:
    """Arcs of finite score from the start of an utterance's graph to its end."""
    arcs = _ranges(graphs.arc_splits, graphs.index[row : row + 1])
    straight = (graphs.source[arcs] == 0) & (graphs.label[arcs] == FINAL_LABEL) & (graphs.score[arcs] > -torch.inf)
    return arcs[straight]


def _splits(splits: Tensor, chosen: Tensor) -> Tensor:
    """Where the rows `chosen` of a ragged array begin, laid one after the other, and the end."""
    sizes = splits.diff()[chosen]
    return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])


def _ranges(splits: Tensor, chosen: Tensor) -> Tensor:
    """Indices of the rows `chosen` of a ragged array, one after the other."""
    ends = _splits(splits, chosen)
    shift = torch.repeat_interleave(splits[chosen] - ends[:-1], ends.diff())
    return torch.arange(len(shift), device=splits.device) + shift


def _owners(fsas: Any) -> Tensor:
    """Which FSA of an FsaVec each arc belongs to, int64."""
    shape = fsas.arcs.shape()
    owners: Tensor = shape.row_ids(1)[shape.row_ids(2).long()].long()
    return owners
