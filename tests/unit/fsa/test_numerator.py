"""Pronunciations and times of numerators, against enumeration."""

import itertools

import numpy as np
import pytest
import torch

from speechkit.fsa.graph import Graph, GraphBatch
from speechkit.fsa.intersect import total_scores
from speechkit.fsa.ngram_graph import compose
from speechkit.fsa.numerator import token_lattice, within_times
from speechkit.fsa.topology import ctc_topology, linear


def sequences(graph: Graph) -> list[tuple[int, ...]]:
    """The labels of every path."""
    found: list[tuple[int, ...]] = []
    stack: list[tuple[int, tuple[int, ...]]] = [(0, ())]
    while stack:
        state, labels = stack.pop()
        for arc in np.flatnonzero(graph.source == state):
            if graph.label[arc] < 0:
                found.append(labels)
            else:
                stack.append((int(graph.destination[arc]), (*labels, int(graph.label[arc]))))
    return sorted(found)


@pytest.mark.parametrize(
    "words",
    [
        [],
        [[[3]]],
        [[[1, 2], [1]], [[2, 3], [3]]],  # 1 2 3 in two ways
        [[[1], [1, 1]], [[1], [1, 1]], [[2], [2, 2]]],
        [[[1, 2, 3], [1, 2, 4], [1]], [[5, 5]]],
    ],
)
def test_each_sequence_of_a_lattice_has_one_path(words: list[list[list[int]]]) -> None:
    spelled = {tuple(itertools.chain.from_iterable(choice)) for choice in itertools.product(*words)}
    assert sequences(token_lattice(words)) == sorted(spelled)


@pytest.mark.parametrize("words", [[[[1]], []], [[[1]], [[]]]])
def test_a_word_needs_a_pronunciation_with_tokens(words: list[list[list[int]]]) -> None:
    with pytest.raises(ValueError, match="word 2 lacks a pronunciation"):
        token_lattice(words)


def constrained(tokens: list[int], first: list[int], last: list[int], log_probs: torch.Tensor) -> float:
    """By enumeration of all label sequences."""
    scores = []
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        read, token = [], -1
        allowed = True
        for t, (before, label) in enumerate(itertools.pairwise((0, *path))):
            if label and label != before:
                read.append(label)
                token += 1
            if label and token < len(tokens):
                allowed = allowed and first[token] <= t <= last[token]
        if read == tokens and allowed:
            scores.append(sum(float(log_probs[t, label]) for t, label in enumerate(path)))
    return float(torch.tensor(scores, dtype=torch.float64).logsumexp(0))


def unrolled_total(tokens: list[int], first: list[int], last: list[int], log_probs: torch.Tensor) -> float:
    numerator = compose(ctc_topology(log_probs.shape[1]), linear(tokens))
    graph = within_times(numerator, np.array(first), np.array(last), len(log_probs))
    graph.check()
    lengths = torch.tensor([len(log_probs)])
    return float(total_scores(log_probs[None], lengths, GraphBatch.from_graphs([graph]), engine="torch"))


@pytest.mark.parametrize(
    ("tokens", "first", "last"),
    [
        ([1, 2], [0, 3], [2, 5]),
        ([1, 2], [-4, 2], [3, 9]),
        ([1, 1], [0, 2], [3, 5]),
        ([2, 1, 2], [1, 1, 4], [2, 3, 4]),
        ([1], [2], [2]),
    ],
)
def test_tokens_stay_within_their_times(tokens: list[int], first: list[int], last: list[int]) -> None:
    log_probs = torch.randn(6, 3, generator=torch.Generator().manual_seed(3)).log_softmax(-1)
    expected = constrained(tokens, first, last, log_probs)
    assert unrolled_total(tokens, first, last, log_probs) == pytest.approx(expected, rel=1e-6)


def test_wide_times_change_nothing_and_impossible_ones_leave_nothing() -> None:
    log_probs = torch.randn(7, 4, generator=torch.Generator().manual_seed(3)).log_softmax(-1)
    numerator = GraphBatch.from_graphs([compose(ctc_topology(4), linear([3, 1]))])
    free = float(total_scores(log_probs[None], torch.tensor([7]), numerator, engine="torch"))
    assert unrolled_total([3, 1], [-9, -9], [99, 99], log_probs) == pytest.approx(free, rel=1e-6)
    assert unrolled_total([3, 1], [3, 1], [4, 2], log_probs) == -np.inf
    empty = Graph.from_arcs([], 0)
    assert within_times(empty, np.array([0]), np.array([1]), 5) is empty
