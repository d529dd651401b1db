"""Weighted acceptors as flat arrays of arcs, alone and in ragged batches.

State 0 starts and the last state is the only final one. Arcs into the final state, and only they, have label -1 and
consume no frame; every other arc consumes one frame, whose log-probability of the arc's label it adds to its own score.
There are no epsilons. These are k2's conventions, so a graph here is a graph there.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
FINAL_LABEL = -1
NO_AUX = 0


@dataclass(frozen=True)
class Graph:
    """One acceptor of `A` arcs, sorted by source state.

    Attributes:
        source: state each arc leaves, `(A,)`.
        destination: state each arc enters, `(A,)`.
        label: column of the log-probabilities, or -1 for arcs into the final state, `(A,)`.
        score: natural-log weight, `(A,)`.
        num_states: number of states, the final one included; 0 for a graph without any path.
        aux: further labels of each arc by name, such as "word" or "token", 0 for none, each `(A,)`.
    """

    source: Ints
    destination: Ints
    label: Ints
    score: Floats
    num_states: int
    aux: Mapping[str, Ints] = field(default_factory=dict)

    @property
    def num_arcs(self) -> int:
        """Number of arcs."""
        return len(self.source)

    @classmethod
    def from_arcs(
        cls,
        arcs: Iterable[tuple[int, int, int, float]] | npt.NDArray[Any],
        num_states: int,
        aux: Mapping[str, Sequence[int] | Ints] | None = None,
    ) -> "Graph":
        """Build from (source, destination, label, score) rows in any order.

        Raises:
            ValueError: an arc leaves the final state, consumes a frame into it, or names a state that is not there.
        """
        rows = list(arcs)
        columns = np.array(rows, dtype=np.float64).reshape(len(rows), 4)
        source, destination, label = (columns[:, i].astype(np.int32) for i in range(3))
        order = np.argsort(source, kind="stable")
        extra = {name: np.asarray(values, dtype=np.int32)[order] for name, values in (aux or {}).items()}
        graph = cls(
            source[order], destination[order], label[order], columns[order, 3].astype(np.float32), num_states, extra
        )
        graph.check()
        return graph

    def check(self) -> None:
        """Raise `ValueError` unless the arrays keep the conventions of this module."""
        final = self.num_states - 1
        sizes = {len(values) for values in (self.destination, self.label, self.score, *self.aux.values())}
        if sizes - {self.num_arcs}:
            raise ValueError("the arrays of a graph differ in length")
        if self.num_arcs == 0:
            return
        ends = np.concatenate([self.source, self.destination])
        if ends.min() < 0 or ends.max() > final:
            raise ValueError(f"an arc names state {ends.min() if ends.min() < 0 else ends.max()} of {self.num_states}")
        if (self.source == final).any():
            raise ValueError("an arc leaves the final state")
        if ((self.destination == final) != (self.label == FINAL_LABEL)).any() or self.label.min() < FINAL_LABEL:
            raise ValueError("arcs into the final state, and only they, have label -1")
        if (np.diff(self.source) < 0).any():
            raise ValueError("arcs are not sorted by source state")


@dataclass(frozen=True)
class GraphBatch:
    """Graphs laid end to end, and which of them each of `N` utterances uses; arcs name states within their graph.

    A denominator that all utterances share is there once, with an `index` of zeros.

    Attributes:
        source, destination, label: int32, one entry per arc of all graphs together.
        score: float32 natural-log weights of the arcs; gradients flow to it where it requires them.
        arc_splits, state_splits: int64 `(G + 1,)`, where each graph's arcs and states begin.
        index: int64 `(N,)`, the graph of each utterance.
        aux: further int32 labels by name; graphs that lack a name have zeros.
    """

    source: Tensor
    destination: Tensor
    label: Tensor
    score: Tensor
    arc_splits: Tensor
    state_splits: Tensor
    index: Tensor
    aux: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def num_graphs(self) -> int:
        """Number of different graphs."""
        return len(self.arc_splits) - 1

    @property
    def num_utterances(self) -> int:
        """Number of utterances, `N`."""
        return len(self.index)

    @property
    def device(self) -> torch.device:
        """Where the arrays lie."""
        return self.score.device

    @classmethod
    def from_graphs(cls, graphs: Sequence[Graph], index: Sequence[int] | None = None) -> "GraphBatch":
        """Lay graphs end to end; utterance n uses graph `index[n]`, graph n without an index."""
        names = sorted({name for graph in graphs for name in graph.aux})
        return cls(
            source=_joined([graph.source for graph in graphs], np.int32),
            destination=_joined([graph.destination for graph in graphs], np.int32),
            label=_joined([graph.label for graph in graphs], np.int32),
            score=_joined([graph.score for graph in graphs], np.float32),
            arc_splits=_splits([graph.num_arcs for graph in graphs]),
            state_splits=_splits([graph.num_states for graph in graphs]),
            index=torch.tensor(range(len(graphs)) if index is None else index, dtype=torch.int64),
            aux={
                name: _joined([graph.aux.get(name, np.zeros(graph.num_arcs)) for graph in graphs], np.int32)
                for name in names
            },
        )

    @classmethod
    def shared(cls, graph: Graph, num_utterances: int) -> "GraphBatch":
        """One graph for all utterances."""
        return cls.from_graphs([graph], [0] * num_utterances)

    def graph(self, number: int) -> Graph:
        """Copy one graph out of the batch."""
        arcs = slice(int(self.arc_splits[number]), int(self.arc_splits[number + 1]))
        source, destination, label = (each[arcs].cpu().numpy() for each in (self.source, self.destination, self.label))
        aux = {name: values[arcs].cpu().numpy() for name, values in self.aux.items()}
        num_states = int(self.state_splits[number + 1] - self.state_splits[number])
        return Graph(source, destination, label, self.score[arcs].detach().cpu().numpy(), num_states, aux)

    def to(self, device: torch.device) -> "GraphBatch":
        """Copy to a device."""
        return replace(
            self,
            **{
                name: getattr(self, name).to(device)
                for name in ("source", "destination", "label", "score", "arc_splits", "state_splits", "index")
            },
            aux={name: values.to(device) for name, values in self.aux.items()},
        )


def _joined(arrays: Sequence[npt.NDArray[Any]], dtype: type) -> Tensor:
    return torch.from_numpy(np.concatenate([np.zeros(0, dtype), *arrays]).astype(dtype))


def _splits(sizes: Sequence[int]) -> Tensor:
    return torch.tensor([0, *np.cumsum(sizes, dtype=np.int64).tolist()], dtype=torch.int64)
