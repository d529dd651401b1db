"""Decoding with a graph of lexicon and grammar: Viterbi beam search, lattices and n-best lists.

Weights mean the same as in beam search with an n-gram (`speechkit.decode.beam`): `lm` multiplies log10 probabilities,
`word` is added for each word. A graph keeps the scores of its n-gram apart from everything else (topologies are applied
by the search), so one graph serves all weights: they multiply its arcs as they are read.
"""

import contextlib
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from speechkit.common.errors import SpeechkitError
from speechkit.decode.beam import Weights
from speechkit.decode.lattice import Lattice
from speechkit.fsa.wfst.graph import LABEL, LEVEL_SHIFT, LEVELS, DecodingGraph
from speechkit.fsa.wfst.openfst import EPSILON

if TYPE_CHECKING:
    from speechkit.decode.wfst_records import Options
    from speechkit.decode.wfst_search import Found, Kept

log = logging.getLogger(__name__)
LogProbs = npt.NDArray[np.float32]
LN10 = math.log(10)
BLANK_ID = 0
LADDER = 4


@dataclass(frozen=True, kw_only=True)
class WfstConfig:
    """Settings of a graph search.

    Attributes:
        beam: the largest difference to the best hypothesis of a frame (natural log).
        max_active: about how many hypotheses are kept at most.
        beam_delta: how far the beam of the next frame may exceed the one that `max_active` came to.
        lattice_beam: the largest difference to the best path of what a lattice keeps.
        lattice_arcs: a lattice of more arcs is made again with a narrower beam.
    """

    beam: float = 12.0
    max_active: int = 3000
    beam_delta: float = 0.5
    lattice_beam: float = 8.0
    lattice_arcs: int = 2_000_000

    def __post_init__(self) -> None:
        if not self.beam > 0 or self.max_active < 1:
            raise SpeechkitError(f"a beam of {self.beam} with {self.max_active} hypotheses finds nothing; widen it")


@dataclass(frozen=True)
class Recognised:
    """The best words of an utterance.

    Attributes:
        words: the words.
        frames: the frame in which each was entered (the graph may know a word only some tokens after its first).
        acoustic: natural-log score of the frames.
        graph: weighted score of the graph, word scores included.
        complete: whether the utterance ends where the graph may end; else these are the words of the best beginning.
    """

    words: list[str]
    frames: list[int]
    acoustic: float
    graph: float
    complete: bool = True

    @property
    def total(self) -> float:
        """What decoding maximises."""
        return self.acoustic + self.graph


class GraphSearch(Protocol):
    """A decoder of graphs, built in or from another package."""

    def decode(self, log_probs: LogProbs, weights: Weights) -> Recognised:
        """The best words of `log_probs (T, V)`."""


class WfstSearch:
    """The built-in search; any number of threads may use one at the same time.

    What runs out of memory is tried again with narrower beams, down to the best path alone.
    """

    def __init__(self, graph: DecodingGraph, config: WfstConfig = WfstConfig()) -> None:
        self.graph, self.config = graph, config
        self._bounds = _Bounds.of(graph)
        # Compiles: threads that share this search find it done.
        self.decode(np.zeros((1, len(graph.tokens)), np.float32), Weights())

    def decode(self, log_probs: LogProbs, weights: Weights) -> Recognised:
        """The best words of `log_probs (T, V)`; a `SpeechkitError` if they do not fit the graph or are not finite."""
        log_probs = checked(log_probs, self.graph)
        for config in _ladder(self.config):
            with contextlib.suppress(MemoryError):
                return self._recognised(self._found(log_probs, weights, config, keep=False))
            log.warning("out of memory with a beam of %g; a narrower one follows", config.beam)
        raise SpeechkitError("out of memory even with the narrowest beam; close other programs, or take a smaller --nj")

    def lattice(self, log_probs: LogProbs, weights: Weights) -> Lattice:
        """What lies within the lattice beam of the best path; the best path alone where no more fits."""
        log_probs = checked(log_probs, self.graph)
        for config in _ladder(self.config):
            try:
                found = self._found(log_probs, weights, config, keep=True)
                lattice = self._lattice(found, log_probs, weights, config)
            except MemoryError:
                lattice = None
            if lattice is not None:
                return lattice
            log.warning(
                "the lattice of beam %g is too large or out of memory; a narrower one follows", config.lattice_beam
            )
        best = self.decode(log_probs, weights)
        graph = (best.graph - weights.word * len(best.words)) * (LN10 / weights.lm if weights.lm else 0)
        return Lattice.linear(best.words, best.acoustic, graph, len(log_probs))

    def _found(self, log_probs: LogProbs, weights: Weights, config: WfstConfig, keep: bool) -> "Found":
        from speechkit.decode.wfst_search import search

        return search(self.graph.arcs, self._options(weights, config), log_probs, keep)

    def _recognised(self, found: "Found") -> Recognised:
        words = [self.graph.words[word] for word in found.words.tolist()]
        graph = float(found.graph)
        return Recognised(words, found.frames.tolist(), float(found.total) - graph, graph, bool(found.complete))

    def _lattice(self, found: "Found", log_probs: LogProbs, weights: Weights, config: WfstConfig) -> Lattice | None:
        """The lattice of a search, None if it has too many arcs."""
        from speechkit.decode.wfst_lattice import lattice_arcs

        if not found.total > -math.inf:
            return Lattice.linear((), 0.0, 0.0, len(log_probs))
        best = np.float32(found.total - found.kept.offset[len(log_probs)])
        fits, arcs, frames = lattice_arcs(
            self.graph.arcs, self._options(weights, config), log_probs, found.kept, best,
            found.complete, np.float32(config.lattice_beam), config.lattice_arcs,
        )  # fmt: skip
        return numbered_lattice(arcs, frames, found.kept, self.graph.words) if fits else None

    def _options(self, weights: Weights, config: WfstConfig) -> "Options":
        """Settings, weights and topology as the compiled search takes them."""
        from speechkit.decode.wfst_records import Options

        topology, real = self.graph.topology, np.float32
        scale = weights.lm / LN10
        return Options(
            real(config.beam), real(config.beam_delta), config.max_active, real(scale), real(weights.word),
            real(self._bounds.ahead(scale, weights.word)), self.graph.final_label,
            BLANK_ID if topology.has_blank else -1, topology.parts_equal, real(topology.loop), real(topology.forward),
        )  # fmt: skip


def _ladder(config: WfstConfig) -> Iterator[WfstConfig]:
    """The settings, then narrower and narrower ones."""
    for step in range(LADDER):
        yield replace(
            config, beam=config.beam / 2**step, max_active=max(1, config.max_active >> 2 * step),
            lattice_beam=config.lattice_beam / 2**step,
        )  # fmt: skip


def numbered_lattice(
    arcs: npt.NDArray[Any], frames: npt.NDArray[np.int32], kept: "Kept", words: tuple[str, ...]
) -> Lattice:
    """Give the nodes of `lattice_arcs` numbers in the order of time, those between epsilons after hypotheses."""
    first_step = 2 * len(kept.hypotheses)
    ends = np.concatenate([arcs["source"], arcs["destination"]])
    ends[ends < 0] = first_step + len(frames)
    nodes, places = np.unique(ends, return_inverse=True)
    times = np.searchsorted(kept.splits, nodes // 2, side="right") - 1
    is_step = nodes >= first_step
    times[is_step] = np.append(frames, len(kept.offset))[nodes[is_step] - first_step]
    number = np.empty(len(nodes), np.int32)
    number[np.lexsort((nodes, is_step, times))] = np.arange(len(nodes))
    numbered = arcs.copy()
    numbered["source"], numbered["destination"] = number[places].reshape(2, -1)
    order = np.lexsort((numbered["destination"], numbered["source"]))
    return Lattice(numbered[order], len(nodes), words)


def checked(log_probs: LogProbs, graph: DecodingGraph) -> LogProbs:
    """The log-probabilities as a contiguous array; they have to fit the graph and must not be NaN or +inf."""
    array = np.ascontiguousarray(log_probs, dtype=np.float32)
    if array.ndim != 2 or array.shape[1] != len(graph.tokens):
        raise SpeechkitError(
            f"the model has {array.shape[-1]} tokens and the decoding graph {len(graph.tokens)}; "
            "make the graph from the language folder that the model was trained with"
        )
    if np.isnan(array).any() or (array == np.inf).any():
        raise SpeechkitError("the log-probabilities are not finite; the model or its input is broken")
    return array


@dataclass(frozen=True)
class _Bounds:
    """The largest scores of arcs that read a token and of epsilons, and how many epsilons there may be in a row."""

    reading: float
    epsilon: float
    levels: int
    words_on_epsilons: bool

    @classmethod
    def of(cls, graph: DecodingGraph) -> "_Bounds":
        label, score = graph.arcs["label"], graph.arcs["score"]
        is_epsilon = label & LABEL == EPSILON
        reading = score[~is_epsilon].max(initial=-np.inf)
        levels = (label[is_epsilon] >> LEVEL_SHIFT & LEVELS - 1).max(initial=0)
        words = bool((graph.arcs["word"][is_epsilon] > 0).any())
        return cls(float(reading), float(score[is_epsilon].max(initial=0)), int(levels), words)

    def ahead(self, scale: float, word: float) -> float:
        """At least what arcs can add up to the next token."""
        per_epsilon = max(scale * self.epsilon, 0) + (max(word, 0) if self.words_on_epsilons else 0)
        return max(scale * self.reading, 0) + max(word, 0) + self.levels * per_epsilon
