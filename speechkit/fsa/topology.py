"""Graphs of known shape: linear, CTC of a token sequence, the CTC topology, and HMMs of a transcript.

All are built epsilon-free: what other toolkits reach by composing with epsilon arcs and removing them (optional
silence, pronunciation variants, skipped blanks) are several arcs here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from speechkit.fsa.graph import FINAL_LABEL, NO_AUX, Graph, Ints

Indices = npt.NDArray[np.int64]
BLANK = 0


def linear(labels: Sequence[int], score: float = 0.0) -> Graph:
    """The single path that reads `labels`, one frame each, with `score` on every one of their arcs."""
    symbols = _ids(labels, "label")
    states = np.arange(len(symbols) + 1, dtype=np.int32)
    scores = np.append(np.full(len(symbols), score, np.float32), np.float32(0))
    return Graph(states, states + 1, np.append(symbols, np.int32(FINAL_LABEL)), scores, len(symbols) + 2)


def ctc_graph(tokens: Sequence[int], *, standard: bool = True) -> Graph:
    """All frame sequences that CTC reads as `tokens`: repetitions, with blanks (0) around them (Graves et al. 2006).

    State 2i follows blanks after i tokens, state 2i + 1 is within token i. Aux "token" marks the first frame of each.

    Args:
        tokens: ids from 1; empty for blanks alone.
        standard: equal neighbours need a blank between them; else they need none, as in `k2.ctc_graph(modified=True)`.
    """
    symbols = _ids(tokens, "token", first=BLANK + 1)
    count = len(symbols)
    blanks, inside = 2 * np.arange(count + 1), 2 * np.arange(count) + 1
    may_follow = np.ones(max(count - 1, 0), bool) if not standard else symbols[1:] != symbols[:-1]
    skips, final = inside[:-1][may_follow], 2 * count + 1
    ends = np.array([final - 2, final - 1] if count else [0])
    arcs = _Arcs()
    arcs.add(blanks, blanks, BLANK)
    arcs.add(inside, inside, symbols)
    arcs.add(inside, inside + 1, BLANK)
    arcs.add(blanks[:-1], inside, symbols, token=symbols)
    arcs.add(skips, skips + 2, symbols[1:][may_follow], token=symbols[1:][may_follow])
    arcs.add(ends, final, FINAL_LABEL)
    return arcs.graph(final + 1, ("token",))


def ctc_topology(num_tokens: int, *, standard: bool = True) -> Graph:
    """CTC over any sequence of tokens 1..`num_tokens` - 1 with blank 0; aux "token" marks the first frame of each.

    State i is within token i, state 0 follows blanks. The standard topology has num_tokens x num_tokens arcs; the
    modified one, where equal neighbours need no blank between them, has 4 arcs per token. `k2.ctc_topo` has both.
    """
    if num_tokens < 1:
        raise ValueError(f"a CTC topology needs its blank: num_tokens is {num_tokens}")
    states, tokens = np.arange(num_tokens), np.arange(1, num_tokens)
    arcs = _Arcs()
    if standard:
        source, destination = np.repeat(states, num_tokens), np.tile(states, num_tokens)
        arcs.add(source, destination, destination, token=np.where(source == destination, NO_AUX, destination))
        arcs.add(states, num_tokens, FINAL_LABEL)
    else:
        arcs.add(np.array([0]), 0, BLANK)
        arcs.add(np.zeros_like(tokens), 0, tokens, token=tokens)
        arcs.add(np.zeros_like(tokens), tokens, tokens, token=tokens)
        arcs.add(tokens, tokens, tokens)
        arcs.add(tokens, 0, tokens)
        arcs.add(np.array([0]), num_tokens, FINAL_LABEL)
    return arcs.graph(num_tokens + 1, ("token",))


@dataclass(frozen=True)
class HmmTopology:
    """States and transitions of every unit's hidden Markov model; the first state is entered, the last one left.

    Attributes:
        num_states: 1 to 3, or up to 5 for an ergodic one.
        self_loop: probability of staying in a state (in the last one only, if ergodic); the rest goes to the next.
        ergodic: Kaldi's silence (utils/gen_topo.pl): states but the last go on to any of the others with equal
            probability, except that none goes back to the first state and the first does not reach the last.
    """

    num_states: int = 3
    self_loop: float = 0.75
    ergodic: bool = False

    def __post_init__(self) -> None:
        """Refuse what is no topology."""
        least, most = (3, 5) if self.ergodic else (1, 3)
        if not least <= self.num_states <= most:
            raise ValueError(
                f"an HMM has {least} to {most} states{' if ergodic' * self.ergodic}, not {self.num_states}"
            )
        if not 0 < self.self_loop < 1:
            raise ValueError(f"the self-loop probability is {self.self_loop}; it must lie between 0 and 1")

    def transitions(self) -> npt.NDArray[np.float64]:
        """Probabilities from each state to each and, in the last column, out of the model, `(S, S + 1)`."""
        size, loop = self.num_states, self.self_loop
        matrix = loop * np.eye(size, size + 1) + (1 - loop) * np.eye(size, size + 1, 1)
        if self.ergodic:
            matrix[:-1] = 0
            matrix[0, : size - 1] = matrix[1:-1, 1:size] = 1 / (size - 1)
        return matrix

    def pdf(self, unit: int, state: int) -> int:
        """Column of the log-probabilities for a state of a unit."""
        return unit * self.num_states + state

    def log_transitions(self, self_loop_scale: float) -> npt.NDArray[np.float64]:
        """Log-probabilities `(S, S + 1)`: staying and leaving are scaled, the choice among the other states is not."""
        matrix = self.transitions()
        stay = np.diagonal(matrix)[:, None]
        with np.errstate(divide="ignore"):
            moves = self_loop_scale * np.log(1 - stay) + np.log(matrix / (1 - stay))
        np.fill_diagonal(moves, self_loop_scale * np.log(stay[:, 0]))
        return moves


def hmm_graph(
    alternatives: Sequence[Sequence[Sequence[int]]],
    topology: HmmTopology,
    *,
    silence: int | None = None,
    silence_prob: float = 0.5,
    silence_topology: HmmTopology | None = None,
    self_loop_scale: float = 1.0,
) -> Graph:
    """The HMM of a transcript: words in order, each as any of its pronunciations, with optional silence around them.

    A graph state is an HMM state of one unit at its place; arcs carry the pdf of the state they enter, so that the
    first arc into a unit is its first frame. Pronunciations of a word are equally likely. The scores are
    log-probabilities: over all lengths, the weights of all paths sum to one (with `self_loop_scale` 1).

    Args:
        alternatives: for each word its pronunciations, each a sequence of unit ids from 0.
        topology: of the units; state s of unit u is column u * num_states + s.
        silence: id of the silence unit, which may come before, between and after the words; None for no silence.
        silence_prob: probability of silence at each of these places; 1 makes it obligatory.
        silence_topology: of the silence, in pronunciations too; by default that of the units. Its columns begin at
            silence * topology.num_states: with more states than the units it needs an id above theirs.
        self_loop_scale: Kaldi's scale for the log-probabilities of staying in a state and of leaving it.

    Returns:
        A graph with aux "unit" (unit id + 1 on the first frame of each unit, silence included), "word" (position in
        the transcript + 1 on the first frame of each word) and "entry" (index of the pronunciation + 1, same arc).

    Raises:
        ValueError: a word without pronunciations, an empty pronunciation, or columns of silence and units that clash.
    """
    if not 0 <= silence_prob <= 1:
        raise ValueError(f"silence_prob is {silence_prob}; it must lie between 0 and 1")
    silence_prob = 0.0 if silence is None else silence_prob
    units = _Units.of(alternatives, topology, silence, silence_topology or topology, silence_prob > 0)
    arcs = _Arcs()
    exits = np.zeros(len(units.unit))
    for kind, members in units.by_topology():
        moves = kind.log_transitions(self_loop_scale)
        exits[members] = moves[-1, -1]
        _add_insides(arcs, units, members, moves[:, :-1])
    _add_sequences(arcs, units, exits)
    _add_junctions(arcs, units, exits, silence_prob)
    return arcs.graph(units.final + 1, ("unit", "word", "entry"))


@dataclass(frozen=True)
class _Units:
    """The units of a transcript's HMM in order: for each word, an optional silence, then each pronunciation.

    Attributes:
        unit, first, size: id, first state and number of states of each unit.
        chunk_splits: where the units of each pronunciation or optional silence begin, and the end.
        word, entry: of each chunk, its word's position + 1 (0 for silences) and its index among the alternatives + 1.
        counts: number of pronunciations of each word.
        topologies: of the units, and of the silence.
        is_silence: which units are silence.
    """

    unit: Ints
    first: Indices
    size: Indices
    chunk_splits: Indices
    word: Ints
    entry: Ints
    counts: Indices
    topologies: tuple[HmmTopology, HmmTopology]
    is_silence: npt.NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        alternatives: Sequence[Sequence[Sequence[int]]],
        topology: HmmTopology,
        silence: int | None,
        silence_topology: HmmTopology,
        optional: bool,
    ) -> "_Units":
        """Lay out the units, with optional silences where asked."""
        pause = [((silence,), 0, 0)] if silence is not None and optional else []
        chunks = [
            chunk
            for position, entries in enumerate(alternatives, 1)
            for chunk in (*pause, *((entry, position, number) for number, entry in enumerate(entries, 1)))
        ]
        chunks += pause
        lengths = np.array([len(sequence) for sequence, _, _ in chunks], dtype=np.int64)
        if (lengths == 0).any():
            raise ValueError(f"word {chunks[int(lengths.argmin())][1]} has a pronunciation without units")
        counts = np.array([len(entries) for entries in alternatives], dtype=np.int64)
        if (counts == 0).any():
            raise ValueError(f"word {int(counts.argmin()) + 1} has no pronunciation")
        unit = _ids(list(chain.from_iterable(sequence for sequence, _, _ in chunks)), "unit")
        is_silence = np.zeros(len(unit), bool) if silence is None else unit == silence
        if silence is not None and silence_topology.num_states > topology.num_states and (unit > silence).any():
            raise ValueError(
                f"the states of silence {silence} take columns of unit {unit.max()}: give it the highest id"
            )
        size = np.where(is_silence, silence_topology.num_states, topology.num_states).astype(np.int64)
        return cls(
            unit=unit,
            first=1 + np.cumsum(size) - size,
            size=size,
            chunk_splits=np.append(0, np.cumsum(lengths)),
            word=np.array([word for _, word, _ in chunks], dtype=np.int32),
            entry=np.array([entry for _, _, entry in chunks], dtype=np.int32),
            counts=counts,
            topologies=(topology, silence_topology),
            is_silence=is_silence,
        )

    @property
    def final(self) -> int:
        """The final state."""
        return 1 + int(self.size.sum())

    @property
    def column(self) -> Indices:
        """Column of the log-probabilities of each unit's first state."""
        return self.unit.astype(np.int64) * self.topologies[0].num_states

    @property
    def last(self) -> Indices:
        """Last state of each unit."""
        return self.first + self.size - 1

    def by_topology(self) -> list[tuple[HmmTopology, Indices]]:
        """Each topology with the indices of its units."""
        members = (np.flatnonzero(self.is_silence == silent) for silent in (False, True))
        return list(zip(self.topologies, members, strict=True))


class _Arcs:
    """Arcs gathered in blocks of arrays."""

    def __init__(self) -> None:
        self.blocks: list[dict[str, npt.NDArray[Any]]] = []

    def add(
        self,
        source: npt.ArrayLike,
        destination: npt.ArrayLike,
        label: npt.ArrayLike,
        score: npt.ArrayLike = 0.0,
        **aux: Any,
    ) -> None:
        """Add arcs, given by arrays of one shape or by numbers."""
        columns = {"source": source, "destination": destination, "label": label, "score": score, **aux}
        shaped = np.broadcast_arrays(*columns.values())
        self.blocks.append({name: values.ravel() for name, values in zip(columns, shaped, strict=True)})

    def graph(self, num_states: int, names: Sequence[str]) -> Graph:
        """All arcs, sorted by source state; aux labels not given are 0."""

        def column(name: str, dtype: type) -> npt.NDArray[Any]:
            parts = [block.get(name, np.zeros(len(block["source"]), dtype)) for block in self.blocks]
            return np.concatenate(parts).astype(dtype)[order]

        order = np.argsort(np.concatenate([block["source"] for block in self.blocks]), kind="stable")
        source, destination, label = (column(name, np.int32) for name in ("source", "destination", "label"))
        aux = {name: column(name, np.int32) for name in names}
        graph = Graph(source, destination, label, column("score", np.float32), num_states, aux)
        graph.check()
        return graph


def _add_insides(arcs: _Arcs, units: _Units, members: Indices, moves: npt.NDArray[np.float64]) -> None:
    """Arcs between the states of each of some units, with the `(S, S)` scores of their topology."""
    source, destination = np.nonzero(moves > -np.inf)
    first, column = units.first[members, None], units.column[members, None]
    arcs.add(first + source, first + destination, column + destination, moves[source, destination])


def _add_sequences(arcs: _Arcs, units: _Units, exits: npt.NDArray[np.float64]) -> None:
    """Arcs from each unit to the next of the same pronunciation."""
    follows = np.ones(len(units.unit), bool)
    follows[units.chunk_splits[:-1]] = False
    later = np.flatnonzero(follows)
    arcs.add(
        units.last[later - 1], units.first[later], units.column[later], exits[later - 1], unit=units.unit[later] + 1
    )


def _add_junctions(arcs: _Arcs, units: _Units, exits: npt.NDArray[np.float64], silence_prob: float) -> None:
    """Arcs at the W + 1 places around words: from ends to beginnings, and through the silence between them.

    Ends are the start state, at place 0, and the last states of pronunciations; beginnings are the first units of
    pronunciations, the final state at place W.
    """
    places = np.arange(len(units.counts) + 1)
    spoken, silent = np.flatnonzero(units.word), np.flatnonzero(units.word == 0)
    tails = units.chunk_splits[1:] - 1
    end_state, end_score = np.append(0, units.last[tails[spoken]]), np.append(0, exits[tails[spoken]])
    end_place = np.repeat(places, np.append(1, units.counts))
    begin_place = np.repeat(places, np.append(units.counts, 1))
    begin_score = np.append(-np.log(np.repeat(units.counts, units.counts)), 0)
    heads = units.chunk_splits[:-1]
    begin = {
        "destination": np.append(units.first[heads[spoken]], units.final),
        "label": np.append(units.column[heads[spoken]], FINAL_LABEL),
        "unit": np.append(units.unit[heads[spoken]] + 1, NO_AUX),
        "word": np.append(units.word[spoken], NO_AUX),
        "entry": np.append(units.entry[spoken], NO_AUX),
    }
    if silence_prob < 1:
        ends, begins = _pairs(end_place, begin_place)
        score = end_score[ends] + begin_score[begins] + np.log1p(-silence_prob)
        arcs.add(end_state[ends], score=score, **{name: values[begins] for name, values in begin.items()})
    if silence_prob > 0:
        into, out = heads[silent][end_place], tails[silent][begin_place]
        score = end_score + np.log(silence_prob)
        arcs.add(end_state, units.first[into], units.column[into], score, unit=units.unit[into] + 1)
        arcs.add(units.last[out], score=exits[out] + begin_score, **begin)


def _pairs(left: Indices, right: Indices) -> tuple[Indices, Indices]:
    """Indices of all pairs of equal values in two ascending arrays."""
    low, high = np.searchsorted(right, left, "left"), np.searchsorted(right, left, "right")
    count = high - low
    first = np.repeat(np.arange(len(left)), count)
    return first, np.arange(len(first)) + np.repeat(low - np.cumsum(count) + count, count)


def _ids(values: Sequence[int], what: str, first: int = 0) -> Ints:
    array = np.array(values, dtype=np.int32).reshape(len(values))
    if len(array) and array.min() < first:
        raise ValueError(f"{what} {array.min()}: ids begin at {first}")
    return array
