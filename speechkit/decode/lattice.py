"""Lattices: the likely ways through an utterance, and their n best word sequences."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from speechkit.decode.beam import Hypothesis, Weights

Records = npt.NDArray[Any]
LATTICE_ARC = np.dtype(
    [("source", "i4"), ("destination", "i4"), ("frame", "i4"), ("token", "i4"), ("word", "i4")]
    + [("acoustic", "f4"), ("graph", "f4")]
)
LN10 = math.log(10)
NO_TOKEN, NO_WORD = -1, 0


@dataclass(frozen=True)
class Lattice:
    """An acyclic graph; every arc leads to a node with a higher number, from 0 to the last.

    Attributes:
        arcs: record `(A,)`, sorted by `source`, of `source`, `destination`, `frame` (which the arc reads, or before
            which it lies), `token` (-1 where it reads none), `word` (number in `words`, 0 for none), and the
            natural-log scores `acoustic` and `graph`, without weights and word scores.
        num_nodes: number of nodes.
        words: symbols by number.
    """

    arcs: Records
    num_nodes: int
    words: tuple[str, ...]

    @property
    def num_arcs(self) -> int:
        """Number of arcs."""
        return len(self.arcs)

    def scores(self, weights: Weights) -> npt.NDArray[np.float64]:
        """Weighted score of each arc, in natural logs."""
        graph = self.arcs["graph"].astype(np.float64) * (weights.lm / LN10)
        words = weights.word * (self.arcs["word"] != NO_WORD)
        scores: npt.NDArray[np.float64] = self.arcs["acoustic"] + graph + words
        return scores

    def nbest(self, weights: Weights, size: int) -> list[Hypothesis]:
        """The `size` best different word sequences, best first, each with the scores of its best path."""
        from speechkit.decode.wfst_nbest import best_histories

        names = ("source", "destination", "word", "graph")
        source, destination, word, graph = (np.ascontiguousarray(self.arcs[name]) for name in names)
        totals, graphs, ends, histories = best_histories(
            source, destination, word, self.scores(weights), graph, self.num_nodes, size
        )
        found = []
        for total, score, end in zip(totals.tolist(), graphs.tolist(), ends.tolist(), strict=True):
            words, lm = self._words(histories, end), score / LN10
            found.append(Hypothesis(words, total - weights.lm * lm - weights.word * len(words), lm))
        return found

    def _words(self, histories: npt.NDArray[np.int32], history: int) -> list[str]:
        words = []
        while history > 0:
            history, word = histories[history, :2].tolist()
            words.append(self.words[word])
        return words[::-1]

    def pruned(self, weights: Weights, beam: float) -> "Lattice":
        """What lies on paths within `beam` of the best."""
        scores, last = self.scores(weights), self.num_nodes - 1
        forward, backward = [-math.inf] * self.num_nodes, [-math.inf] * self.num_nodes
        forward[0], backward[last] = 0.0, 0.0
        source, destination = self.arcs["source"], self.arcs["destination"]
        rows = list(zip(source.tolist(), destination.tolist(), scores.tolist(), strict=True))
        for begin, end, score in rows:
            forward[end] = max(forward[end], forward[begin] + score)
        for begin, end, score in reversed(rows):
            backward[begin] = max(backward[begin], backward[end] + score)
        through = np.array(forward)[source] + scores + np.array(backward)[destination]
        rounding = 1e-9 * abs(forward[last])
        kept = self.arcs[through >= forward[last] - beam - rounding]
        nodes, numbers = np.unique(np.concatenate([kept["source"], kept["destination"]]), return_inverse=True)
        kept["source"], kept["destination"] = numbers.reshape(2, -1)
        return Lattice(kept, len(nodes), self.words)

    def lines(self, name: str) -> Iterator[str]:
        """Kaldi's text form: `source destination token+1 word graph-cost,acoustic-cost`, after the utterance's name."""
        yield name
        for source, destination, _, token, word, acoustic, graph in self.arcs.tolist():
            yield f"{source} {destination} {token + 1} {self.words[word]} {-graph:.6g},{-acoustic:.6g}"
        yield f"{self.num_nodes - 1}"
        yield ""

    @classmethod
    def linear(cls, words: Sequence[str], acoustic: float, graph: float, num_frames: int) -> "Lattice":
        """A single path, for an utterance of which no more can be had; its scores are on the first arc."""
        arcs = np.zeros(len(words) + 1, LATTICE_ARC)
        arcs["source"], arcs["destination"] = np.arange(len(arcs)), np.arange(1, len(arcs) + 1)
        arcs["frame"], arcs["token"] = num_frames, NO_TOKEN
        arcs["word"][:-1] = np.arange(1, len(arcs))
        arcs[["acoustic", "graph"]][0] = acoustic, graph
        return cls(arcs, len(arcs) + 1, ("<eps>", *words))
