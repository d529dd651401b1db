"""The topology composed with a decoding graph, for decoders that read one label a frame from the graph itself."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from speechkit.fsa.wfst.graph import Topology
from speechkit.fsa.wfst.openfst import EPSILON, Fst, Longs

BLANK_LABEL = 1
Doubles = npt.NDArray[np.float64]


def weighted(fst: Fst, scale: float, word: float) -> Fst:
    """Scores multiplied by `scale`, and `word` added for each word."""
    cost = fst.cost * np.float32(scale) - np.where(fst.olabel > 0, np.float32(word), np.float32(0))
    with np.errstate(invalid="ignore"):
        final = np.where(np.isfinite(fst.final), fst.final * np.float32(scale), np.float32(np.inf))
    return replace(fst, cost=cost.astype(np.float32), final=final.astype(np.float32))


@dataclass(frozen=True)
class _Rows:
    """Arcs of the composed graph, column by column; sources and destinations are keys of pairs."""

    source: Longs
    destination: Longs
    ilabel: Longs
    olabel: Longs
    cost: Doubles


def with_topology(fst: Fst, topology: Topology) -> Fst:
    """H o LG: every arc but epsilons reads one frame, with input label token + 1.

    A state of the result is a state of `fst` together with the token that it was entered with, or with 0 after a blank
    (and at the start). The same as composing with the transducer of the topology in OpenFst, which for standard CTC is
    quadratic in the tokens; here none is needed.
    """
    size = fst.num_states
    reading = fst.ilabel != EPSILON
    entered = np.append(fst.ilabel[reading].astype(np.int64) * size + fst.destination[reading], fst.start)
    pairs = _closed(np.unique(entered), fst, ~reading)
    if topology.has_blank:
        pairs = np.unique(np.concatenate([pairs, np.arange(size)]))
    rows = [*_moves(pairs, fst, topology), *_stays(pairs, size, topology)]
    columns = [np.concatenate([getattr(each, name) for each in rows]) for name in _Rows.__dataclass_fields__]
    source, destination = (np.searchsorted(pairs, keys) for keys in columns[:2])
    final = fst.final[pairs % size] - np.where(pairs >= size, topology.forward, 0)
    start = int(np.searchsorted(pairs, fst.start))
    return Fst.from_arcs(start, source, (columns[2], columns[3], destination, columns[4]), final)


def _closed(pairs: Longs, fst: Fst, is_epsilon: npt.NDArray[np.bool_]) -> Longs:
    """The pairs with all that epsilons lead to: the token stays."""
    size = fst.num_states
    source, destination = fst.source[is_epsilon], fst.destination[is_epsilon]
    splits = np.searchsorted(source, np.arange(size + 1))
    new = pairs
    while len(new):
        which, arc = _expanded(new % size, splits)
        reached = new[which] // size * size + destination[arc]
        new = np.setdiff1d(reached, pairs)
        pairs = np.union1d(pairs, new)
    return pairs


def _expanded(states: Longs, splits: Longs) -> tuple[Longs, Longs]:
    """For each of `states` its arcs: the place in `states` and the arc, once for each arc."""
    counts = splits[states + 1] - splits[states]
    which = np.repeat(np.arange(len(states)), counts)
    first = np.repeat(splits[states] - np.cumsum(counts) + counts, counts)
    return which, first + np.arange(len(which))


def _moves(pairs: Longs, fst: Fst, topology: Topology) -> list[_Rows]:
    """Arcs of `fst` from each pair: those that read a token leave the one before, epsilons keep it."""
    size = fst.num_states
    which, arc = _expanded(pairs % size, fst.arc_splits)
    source, before, label = pairs[which], pairs[which] // size, fst.ilabel[arc].astype(np.int64)
    is_epsilon = label == EPSILON
    kept = is_epsilon | (not topology.parts_equal) | (label != before)
    after = np.where(is_epsilon, before, label)
    cost = fst.cost[arc] - np.where(is_epsilon | (before == 0), 0, topology.forward)
    columns = (source, after * size + fst.destination[arc], label, fst.olabel[arc].astype(np.int64), cost)
    return [_Rows(*(column[kept] for column in columns))]


def _stays(pairs: Longs, size: int, topology: Topology) -> list[_Rows]:
    """Further frames of the same token, and blanks after it."""

    def rows(source: Longs, destination: Longs, label: Longs, score: float = 0.0) -> _Rows:
        return _Rows(source, destination, label, np.zeros_like(source), np.full(len(source), -score))

    inside = pairs[pairs >= size]
    found = [rows(inside, inside, inside // size, topology.loop)]
    if topology.has_blank:
        resting, blank = pairs[pairs < size], np.int64(BLANK_LABEL)
        found.append(rows(inside, inside % size, np.full_like(inside, blank)))
        found.append(rows(resting, resting, np.full_like(resting, blank)))
    return found
