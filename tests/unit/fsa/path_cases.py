"""Cases for everything that sums over or searches paths: k2's stored numbers, random graphs, and plain enumeration."""

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from speechkit.fsa.graph import FINAL_LABEL, Graph, GraphBatch


@dataclass(frozen=True)
class Case:
    """A batch and, from an independent program in float64, its totals, gradients, and from k2 its best paths."""

    key: str
    log_probs: Tensor
    lengths: Tensor
    graphs: GraphBatch
    totals: Tensor
    label_counts: Tensor
    arc_counts: Tensor
    best: Tensor
    best_labels: list[list[int]]


def reference_cases() -> list[Case]:
    """The cases of k2_reference.npz, with utterances in another order than there; skips the test where it is absent."""
    folder = Path(os.environ.get("SPEECHKIT_REFERENCE", Path(__file__).parents[4] / "shared" / "reference"))
    if not (folder / "k2_reference.npz").exists():
        pytest.skip("set SPEECHKIT_REFERENCE to a folder with k2_reference.npz")
    with np.load(folder / "k2_reference.npz") as arrays:
        stored = dict(arrays)
    return [_case(stored, entry["key"]) for entry in json.loads(str(stored["manifest_json"]))]


def _case(stored: dict[str, Any], key: str) -> Case:
    lengths = stored[f"{key}/lens"].astype(np.int64)
    order = np.random.default_rng(0).permutation(len(lengths))
    prefixes = [f"{key}/g{row}" for row in order]
    label_counts = np.zeros(stored[f"{key}/logp"].shape)
    for row, prefix in enumerate(prefixes):
        counts = stored[f"{prefix}/f64_grad_logp"]
        label_counts[row, : len(counts)] = counts
    graphs = [
        Graph(*stored[f"{p}/arcs"].T.copy(), stored[f"{p}/scores"], int(stored[f"{p}/num_states"])) for p in prefixes
    ]
    return Case(
        key=key,
        log_probs=torch.from_numpy(stored[f"{key}/logp"][order]),
        lengths=torch.from_numpy(lengths[order]),
        graphs=GraphBatch.from_graphs(graphs),
        totals=torch.tensor([float(stored[f"{p}/f64_tot"]) for p in prefixes], dtype=torch.float64),
        label_counts=torch.from_numpy(label_counts),
        arc_counts=torch.from_numpy(np.concatenate([stored[f"{p}/f64_grad_arcs"] for p in prefixes])),
        best=torch.from_numpy(stored[f"{key}/k2_max"][order]),
        best_labels=[stored[f"{p}/k2_best_path"].tolist() for p in prefixes],
    )


def random_graph(rng: np.random.Generator, num_labels: int, *, cyclic: bool = True) -> Graph:
    """A graph of 3 to 6 states with parallel arcs, dead ends and arcs of score -inf."""
    num_states = int(rng.integers(3, 7))
    arcs: list[tuple[int, int, int, float]] = []
    for _ in range(int(rng.integers(3, 4 * num_states))):
        source, destination = (int(state) for state in rng.integers(0, num_states - 1, 2))
        if not cyclic:
            source, destination = min(source, destination), max(source, destination) + 1
            destination = min(destination, num_states - 2)
        score = -math.inf if rng.random() < 0.05 else float(rng.normal())
        if cyclic or source < destination:
            arcs.append((source, destination, int(rng.integers(0, num_labels)), score))
    for source in rng.choice(num_states - 1, 2):
        arcs.append((int(source), num_states - 1, FINAL_LABEL, float(rng.normal())))
    return Graph.from_arcs(arcs, num_states)


def paths(graph: Graph, log_probs: Tensor) -> Iterator[tuple[float, tuple[int, ...]]]:
    """Score and arcs of every path that consumes all of `log_probs (T, V)`, the final arc included."""
    leaving = [np.flatnonzero(graph.source == state).tolist() for state in range(graph.num_states)]

    def extend(state: int, frame: int, score: float, arcs: tuple[int, ...]) -> Iterator[tuple[float, tuple[int, ...]]]:
        for arc in leaving[state]:
            label, total = int(graph.label[arc]), score + float(graph.score[arc])
            if total == -math.inf:
                continue
            if label == FINAL_LABEL and frame == len(log_probs):
                yield total, (*arcs, arc)
            elif label != FINAL_LABEL and frame < len(log_probs):
                log_prob = float(log_probs[frame, label])
                if log_prob > -math.inf:
                    yield from extend(int(graph.destination[arc]), frame + 1, total + log_prob, (*arcs, arc))

    if graph.num_states > 1:
        yield from extend(0, 0, 0.0, ())


def log_sum(scores: list[float]) -> float:
    """Log of the summed exponentials, -inf for none."""
    top = max(scores, default=-math.inf)
    return top if top == -math.inf else top + math.log(math.fsum(math.exp(score - top) for score in scores))


def dense_bigram(rng: np.random.Generator, num_tokens: int) -> Graph:
    """CTC composed with a bigram over tokens 1..`num_tokens`: states for each token and for blanks after it."""
    end, arcs = 2 * num_tokens + 1, []
    for before in range(num_tokens + 1):
        after_blank = num_tokens + before if before else 0
        weights = np.log(rng.dirichlet(np.ones(num_tokens + 1)))
        arcs += [(after_blank, after_blank, 0, 0.0), (after_blank, end, FINAL_LABEL, weights[0])]
        if before:
            arcs += [(before, before, before, 0.0), (before, after_blank, 0, 0.0)]
            arcs += [(before, end, FINAL_LABEL, weights[0])]
        for token in range(1, num_tokens + 1):
            arcs.append((after_blank, token, token, weights[token]))
            if before and token != before:
                arcs.append((before, token, token, weights[token]))
    return Graph.from_arcs(arcs, end + 1)


def chain_with_returns(size: int) -> Graph:
    """From left to right with loops and skips, and back from some states: diagonals on both sides."""
    arcs: list[tuple[int, int, int, float]] = []
    for state in range(size):
        targets = [state, state + 1, state + 2] + [state - 7] * (state % 10 == 9)
        arcs += [(state, target, target % 5, -0.1 * target) for target in targets if 0 <= target < size]
    return Graph.from_arcs([*arcs, (size - 1, size, FINAL_LABEL, 0.0), (3, size, FINAL_LABEL, -2.0)], size + 1)
