"""The same sums and searches in tensor operations: for any device and precision, a few small operations per frame.

Everything is float64 in the log domain, and sums run over sorted segments, so that results do not depend on the order
in which a device happens to add.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from speechkit.fsa.graph import FINAL_LABEL, GraphBatch
from speechkit.fsa.paths import BestPaths


@dataclass(frozen=True)
class _Segments:
    """Items sorted into segments, of which `count` items belong to each; `owner` is the segment of a sorted item."""

    order: Tensor
    owner: Tensor
    count: Tensor

    @classmethod
    def of(cls, owner: Tensor, num_segments: int) -> "_Segments":
        """Items by the segment that each belongs to."""
        order = torch.argsort(owner, stable=True)
        return cls(order, owner[order], torch.bincount(owner, minlength=num_segments))

    def sum(self, values: Tensor) -> Tensor:
        """Sums of the segments."""
        return self._reduced("sum", values[self.order], 0.0)

    def max(self, values: Tensor) -> Tensor:
        """Largest values of the segments, -inf for an empty one."""
        return self._reduced("max", values[self.order], -torch.inf)

    def logsumexp(self, values: Tensor) -> Tensor:
        """Log of the summed exponentials of the segments, -inf for an empty one."""
        top = self.max(values)
        top = torch.where(top == -torch.inf, torch.zeros_like(top), top)
        scaled = (values[self.order] - top[self.owner]).exp()
        return self._reduced("sum", scaled, 0.0).log() + top

    def _reduced(self, how: str, values: Tensor, initial: float) -> Tensor:
        if not len(values):  # Which torch 1.13 refuses.
            return values.new_full(self.count.shape, initial)
        return torch.segment_reduce(values, how, lengths=self.count, unsafe=True, initial=initial)


@dataclass(frozen=True)
class _Copies:
    """A copy of its graph for every utterance, states and arcs numbered through.

    Attributes:
        first_state: of each utterance, `(N,)`; one without a path has a state, too.
        utterance: of each state, `(S,)`.
        arcs: index into the flat arrays of the `GraphBatch` of every arc that consumes a frame.
        owner, source, destination, label, score: of these arcs; score is float64.
        final_arcs, final_source, final_score: of the arcs into final states.
    """

    first_state: Tensor
    utterance: Tensor
    arcs: Tensor
    owner: Tensor
    source: Tensor
    destination: Tensor
    label: Tensor
    score: Tensor
    final_arcs: Tensor
    final_source: Tensor
    final_score: Tensor

    @classmethod
    def of(cls, graphs: GraphBatch) -> "_Copies":
        """Copy the graphs."""
        index, device = graphs.index, graphs.device
        sizes = graphs.state_splits.diff()[index].clamp(min=1)
        first_state = sizes.cumsum(0) - sizes
        num_arcs = graphs.arc_splits.diff()[index]
        owner = torch.repeat_interleave(torch.arange(len(index), device=device), num_arcs)
        shift = graphs.arc_splits[index] - (num_arcs.cumsum(0) - num_arcs)
        arcs = torch.arange(len(owner), device=device) + shift[owner]
        emits = graphs.label[arcs] != FINAL_LABEL
        source = graphs.source[arcs] + first_state[owner]
        destination = graphs.destination[arcs] + first_state[owner]
        score = graphs.score.detach()[arcs].double()
        return cls(
            first_state=first_state,
            utterance=torch.repeat_interleave(torch.arange(len(index), device=device), sizes),
            arcs=arcs[emits],
            owner=owner[emits],
            source=source[emits],
            destination=destination[emits],
            label=graphs.label[arcs][emits].long(),
            score=score[emits],
            final_arcs=arcs[~emits],
            final_source=source[~emits],
            final_score=score[~emits],
        )

    @property
    def num_states(self) -> int:
        """States of all copies."""
        return len(self.utterance)

    def start(self) -> Tensor:
        """Scores of states before the first frame."""
        scores = torch.full((self.num_states,), -torch.inf, dtype=torch.float64, device=self.first_state.device)
        scores[self.first_state] = 0.0
        return scores


@dataclass(frozen=True)
class Sums:
    """Total scores, and expected counts `(N, T, V)` of labels and `(N,)` lists of arcs, as `cpu.Sums` has them."""

    total: Tensor
    labels: Tensor
    arcs: Tensor
    owner: Tensor
    counts: Tensor

    def totals(self) -> Tensor:
        """Total scores `(N,)`, float64."""
        return self.total

    def gradient(self, scale: Tensor) -> Tensor:
        """Occupation probabilities `(N, T, V)`, those of each utterance times its `scale` `(N,)`."""
        return self.labels * scale.to(self.labels.dtype)[:, None, None]

    def arc_gradient(self, scale: Tensor, arc_splits: Tensor) -> Tensor:
        """Expected counts of all arcs of the batch of graphs, summed over utterances with weights `scale` `(N,)`."""
        return _Segments.of(self.arcs, int(arc_splits[-1])).sum(self.counts * scale.double()[self.owner])


def sum_paths(log_probs: Tensor, lengths: Tensor, graphs: GraphBatch, *, gradients: bool) -> Sums:
    """Sum over all paths of each utterance."""
    copies = _Copies.of(graphs)
    labels = torch.zeros_like(log_probs if gradients else log_probs[:0])
    counts = torch.zeros(len(copies.arcs), dtype=torch.float64, device=log_probs.device)
    alphas = _forward(log_probs, lengths, copies)
    ends = _Segments.of(copies.utterance[copies.final_source], len(lengths))
    finals = alphas[-1][copies.final_source] + copies.final_score
    total = ends.logsumexp(finals)
    if gradients:
        num_columns = log_probs.shape[2]
        cells, members = torch.unique(copies.owner * num_columns + copies.label, return_inverse=True)
        by_cell = _Segments.of(members, len(cells))
        for t, posterior in _backward(log_probs, lengths, copies, alphas, total):
            counts += posterior
            labels[cells // num_columns, t, cells % num_columns] = by_cell.sum(posterior).to(labels.dtype)
    reached = total[copies.utterance[copies.final_source]]
    final_counts = torch.where(reached == -torch.inf, torch.zeros_like(reached), (finals - reached).exp())
    return Sums(
        total,
        labels,
        torch.cat([copies.arcs, copies.final_arcs]),
        torch.cat([copies.owner, copies.utterance[copies.final_source]]),
        torch.cat([counts, final_counts]),
    )


@torch.no_grad()
def arc_posteriors(log_probs: Tensor, lengths: Tensor, graphs: GraphBatch) -> list[Tensor]:
    """Occupation probabilities of arcs by frame; see `speechkit.fsa.intersect.arc_posteriors`."""
    copies = _Copies.of(graphs)
    sizes = graphs.arc_splits.diff()[graphs.index]
    starts = sizes.cumsum(0) - sizes
    place = starts[copies.owner] + copies.arcs - graphs.arc_splits[graphs.index][copies.owner]
    frames = torch.zeros(log_probs.shape[1], int(sizes.sum()), device=log_probs.device)
    alphas = _forward(log_probs, lengths, copies)
    total = sum_paths(log_probs, lengths, graphs, gradients=False).total
    for t, posterior in _backward(log_probs, lengths, copies, alphas, total):
        frames[t, place] = posterior.float()
    parts = zip(lengths.tolist(), starts.tolist(), sizes.tolist(), strict=True)
    return [frames[:length, start : start + size].clone() for length, start, size in parts]


@torch.no_grad()
def best_path(log_probs: Tensor, lengths: Tensor, graphs: GraphBatch) -> BestPaths:
    """The best path of each utterance; see `speechkit.fsa.intersect.best_path`."""
    copies, device = _Copies.of(graphs), log_probs.device
    by_destination = _Segments.of(copies.destination, copies.num_states)
    values = [copies.start()]
    for t in range(log_probs.shape[1]):
        scores = values[-1][copies.source] + _arc_scores(log_probs, t, copies)
        running = (t < lengths)[copies.utterance]
        values.append(torch.where(running, by_destination.max(scores), values[-1]))
    finals = values[-1][copies.final_source] + copies.final_score
    final_owner = _Segments.of(copies.utterance[copies.final_source], len(lengths))
    totals, final = _best_of(final_owner, torch.arange(len(lengths), device=device), finals)
    alive = totals > -torch.inf
    if not len(copies.arcs):
        alive = alive & (lengths == 0)
    nothing = torch.full_like(lengths, -1)
    final_arcs = torch.where(alive, copies.final_arcs[final], nothing) if len(finals) else nothing
    states = torch.where(alive, copies.final_source[final], copies.first_state) if len(finals) else copies.first_state
    arcs = torch.full(log_probs.shape[:2], -1, dtype=torch.int64, device=device)
    arc_scores = torch.zeros(log_probs.shape[:2], device=device)
    for t in range(log_probs.shape[1] - 1, -1, -1):
        weights = _arc_scores(log_probs, t, copies)
        _, taken = _best_of(by_destination, states, values[t][copies.source] + weights)
        moving = alive & (t < lengths)
        arcs[moving, t] = copies.arcs[taken[moving]]
        arc_scores[moving, t] = weights[taken[moving]].float()
        states = states.clone()
        states[moving] = copies.source[taken[moving]]
    return BestPaths(totals, arcs, arc_scores, final_arcs)


def _best_of(segments: _Segments, chosen: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """The best value of each of some segments, -inf for empty ones, and the item that has it."""
    widest = max(1, int(segments.count.max())) if len(segments.count) else 1
    offset = torch.arange(widest, device=values.device)
    first = (segments.count.cumsum(0) - segments.count)[chosen]
    inside = offset < segments.count[chosen][:, None]
    if not len(values):
        return values.new_full((len(chosen),), -torch.inf), torch.zeros_like(chosen)
    items = segments.order[(first[:, None] + offset).clamp(max=len(values) - 1)]
    best, place = torch.where(inside, values[items], -torch.inf).max(1)
    return best, items.gather(1, place[:, None])[:, 0]


def _arc_scores(log_probs: Tensor, t: int, copies: _Copies) -> Tensor:
    """Log-probability plus score of every arc at a frame, float64."""
    return log_probs.detach()[copies.owner, t, copies.label].double() + copies.score


def _forward(log_probs: Tensor, lengths: Tensor, copies: _Copies) -> Tensor:
    """Forward scores of all states at all times, `(T + 1, S)`; an utterance keeps its last ones."""
    segments = _Segments.of(copies.destination, copies.num_states)
    alphas = copies.start().new_empty(log_probs.shape[1] + 1, copies.num_states)
    alphas[0] = copies.start()
    for t in range(log_probs.shape[1]):
        entering = alphas[t][copies.source] + _arc_scores(log_probs, t, copies)
        running = (t < lengths)[copies.utterance]
        alphas[t + 1] = torch.where(running, segments.logsumexp(entering), alphas[t])
    return alphas


def _backward(
    log_probs: Tensor, lengths: Tensor, copies: _Copies, alphas: Tensor, total: Tensor
) -> Iterator[tuple[int, Tensor]]:
    """Posteriors of all arcs, frame by frame from the last one; zeros behind the end and where there is no path."""
    segments = _Segments.of(copies.source, copies.num_states)
    betas = _Segments.of(copies.final_source, copies.num_states).logsumexp(copies.final_score)
    reached = torch.where(total == -torch.inf, torch.full_like(total, torch.inf), total)[copies.owner]
    for t in range(log_probs.shape[1] - 1, -1, -1):
        leaving = betas[copies.destination] + _arc_scores(log_probs, t, copies)
        running = t < lengths
        posterior = (alphas[t][copies.source] + leaving - reached).exp()
        yield t, torch.where(running[copies.owner], posterior, torch.zeros_like(posterior))
        betas = torch.where(running[copies.utterance], segments.logsumexp(leaving), betas)
