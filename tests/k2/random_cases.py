"""Random batches of log-probs and graphs of every topology, with the awkward ones among them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from speechkit.fsa.graph import Graph, GraphBatch
from speechkit.fsa.topology import HmmTopology, ctc_graph, ctc_topology, hmm_graph, linear

VOCABULARY = 12
LONGEST = 40


@dataclass(frozen=True)
class Case:
    """One batch: log-probs `(N, T, V)`, lengths `(N,)` in no order, a graph for each utterance or one for all."""

    log_probs: torch.Tensor
    lengths: torch.Tensor
    graphs: GraphBatch


def _tokens(rng: np.random.Generator, most: int = 6) -> list[int]:
    return rng.integers(1, VOCABULARY, rng.integers(0, most)).tolist()


def _words(rng: np.random.Generator, num_states: int, silence: int) -> list[list[list[int]]]:
    units = VOCABULARY // num_states
    ids = [unit for unit in range(units) if unit != silence]
    return [
        [rng.choice(ids, rng.integers(1, 4)).tolist() for _ in range(rng.integers(1, 4))]
        for _ in range(rng.integers(0, 4))
    ]


def _hmm(num_states: int, silence: float = 0.0, ergodic: bool = False) -> Callable[[np.random.Generator], Graph]:
    def make(rng: np.random.Generator) -> Graph:
        last = VOCABULARY // num_states - 1
        pause = HmmTopology(3, ergodic=True) if ergodic else None
        words = _words(rng, num_states, last)
        topology = HmmTopology(num_states, float(rng.uniform(0.2, 0.9)))
        return hmm_graph(words, topology, silence=last, silence_prob=silence, silence_topology=pause)

    return make


def _weighted(make: Callable[[np.random.Generator], Graph]) -> Callable[[np.random.Generator], Graph]:
    """The same graph with random arc scores."""

    def reweighted(rng: np.random.Generator) -> Graph:
        graph = make(rng)
        scores = rng.normal(0, 1, graph.num_arcs).astype(np.float32)
        return Graph(graph.source, graph.destination, graph.label, scores, graph.num_states, graph.aux)

    return reweighted


def _random(cyclic: bool, hopeless: float = 0.0) -> Callable[[np.random.Generator], Graph]:
    """Random arcs, parallel ones included; `hopeless` is the share of arcs into dead ends and of weight zero."""

    def make(rng: np.random.Generator) -> Graph:
        states = int(rng.integers(2, 8))
        rows = []
        for _ in range(int(rng.integers(2, 6)) * states):
            ends = rng.integers(0, states, 2)
            source, destination = ends if cyclic else np.sort(ends)
            if cyclic or source != destination:
                score = -np.inf if rng.random() < hopeless else rng.normal()
                rows.append((source, destination, rng.integers(0, VOCABULARY), score))
        dead = int(rng.integers(0, states)) if hopeless else -1
        rows = [row for row in rows if row[0] != dead]
        rows += [(state, states, -1, rng.normal()) for state in range(states) if rng.random() < 0.5 and state != dead]
        return Graph.from_arcs(rows, states + 1)

    return make


def _no_arcs(rng: np.random.Generator) -> Graph:
    return Graph.from_arcs([], int(rng.integers(0, 2)) * 2)


MAKERS: dict[str, Callable[[np.random.Generator], Graph]] = {
    "linear": lambda rng: linear(_tokens(rng, 12), float(rng.normal())),
    "ctc": lambda rng: ctc_graph(_tokens(rng)),
    "ctc-modified": lambda rng: ctc_graph(_tokens(rng), standard=False),
    "ctc-weighted": _weighted(lambda rng: ctc_graph(_tokens(rng))),
    "ctc-topology": lambda rng: ctc_topology(VOCABULARY),
    "ctc-topology-modified": lambda rng: ctc_topology(VOCABULARY, standard=False),
    "ctc-topology-weighted": _weighted(lambda rng: ctc_topology(VOCABULARY)),
    "hmm-1": _hmm(1),
    "hmm-2": _hmm(2),
    "hmm-3": _hmm(3),
    "hmm-1-silence": _hmm(1, 0.5),
    "hmm-2-silence": _hmm(2, 0.3),
    "hmm-3-silence": _hmm(3, 0.5),
    "hmm-3-obligatory-silence": _hmm(3, 1.0),
    "hmm-3-ergodic-silence": _hmm(3, 0.5, ergodic=True),
    "acyclic": _random(cyclic=False),
    "cyclic": _random(cyclic=True),
    "acyclic-dead-ends": _random(cyclic=False, hopeless=0.3),
    "cyclic-dead-ends": _random(cyclic=True, hopeless=0.3),
    "no-arcs": _no_arcs,
}


def possible_lengths(graph: Graph) -> list[int]:
    """Numbers of frames up to `LONGEST` for which a graph has a path."""
    reached = np.arange(graph.num_states) == 0
    ends = graph.label < 0
    lengths = []
    for length in range(LONGEST + 1):
        if reached[graph.source[ends]].any():
            lengths.append(length)
        after = np.zeros_like(reached)
        after[graph.destination[~ends][reached[graph.source[~ends]]]] = True
        reached = after
    return lengths


def _length(rng: np.random.Generator, graph: Graph) -> int:
    """Mostly one for which there is a path."""
    possible = possible_lengths(graph)
    return int(rng.choice(possible) if possible and rng.random() < 0.8 else rng.integers(0, LONGEST + 1))


def make_case(kind: str, seed: int) -> Case:
    """A batch of a kind; "mixed" draws a kind for each utterance, "shared-..." gives all of them one graph."""
    rng = np.random.default_rng([seed, *kind.encode()])
    size = int(rng.integers(1, 6))
    if kind.startswith("shared-"):
        graphs = GraphBatch.shared(MAKERS[kind.removeprefix("shared-")](rng), size)
    elif kind == "mixed":
        # Some graphs for several utterances, some for none.
        index = rng.integers(0, size + 1, size).tolist()
        graphs = GraphBatch.from_graphs([MAKERS[rng.choice(list(MAKERS))](rng) for _ in range(size + 1)], index)
    else:
        graphs = GraphBatch.from_graphs([MAKERS[kind](rng) for _ in range(size)])
    lengths = np.array([_length(rng, graphs.graph(number)) for number in graphs.index.tolist()])
    log_probs = rng.normal(0, rng.choice([1, 4]), (size, int(lengths.max()) + int(rng.integers(1, 3)), VOCABULARY))
    log_probs -= np.logaddexp.reduce(log_probs, axis=2, keepdims=True)
    if seed % 3 == 0:
        log_probs[rng.random(log_probs.shape) < 0.05] = -np.inf
    return Case(torch.from_numpy(log_probs).float(), torch.from_numpy(lengths), graphs)


KINDS = [*MAKERS, "shared-ctc-topology-weighted", "shared-cyclic", "shared-cyclic-dead-ends", "shared-hmm-3", "mixed"]
SEEDS = range(10)
