"""Denominators and numerators against enumeration: every token sequence, every way to spread it over the frames."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from speechkit.common.errors import SpeechkitError
from speechkit.fsa.graph import Graph, GraphBatch
from speechkit.fsa.intersect import total_scores
from speechkit.fsa.ngram_graph import (
    TopologyName,
    chain_topology,
    compose,
    connected,
    denominator_arcs,
    initial_probs,
    leaky,
    token_ngram_graph,
)
from speechkit.fsa.topology import ctc_topology, linear
from speechkit.lm.token_ngram import counted, smoothed

TOPOLOGIES: list[TopologyName] = ["ctc", "ctc-modified", "chain"]


def bigram(num_tokens: int, seed: int = 0) -> Graph:
    """A random dense bigram of tokens 1..num_tokens - 1, state h after token h."""
    probs = np.random.default_rng(seed).dirichlet(np.ones(num_tokens), size=num_tokens)
    arcs = [
        (h, w % num_tokens or num_tokens, w % num_tokens or -1, math.log(probs[h, w - 1]))
        for h in range(num_tokens)
        for w in range(1, num_tokens + (h > 0))
    ]
    return Graph.from_arcs(arcs, num_tokens + 1)


def log_weight(ngram: Graph, tokens: tuple[int, ...]) -> float:
    """The n-gram's own score of a token sequence."""
    arcs = {
        (source, label): (destination, score)
        for source, destination, label, score in zip(
            ngram.source.tolist(), ngram.destination.tolist(), ngram.label.tolist(), ngram.score.tolist(), strict=True
        )
    }
    state, total = 0, 0.0
    for token in (*tokens, -1):
        if (state, token) not in arcs:
            return -math.inf
        state, score = arcs[state, token]
        total += score
    return total


def spreads(tokens: tuple[int, ...], frames: int, topology: TopologyName) -> Iterator[list[int]]:
    """Every sequence of columns in which a topology reads the tokens."""
    if topology == "chain":
        for cuts in itertools.combinations(range(1, frames), len(tokens) - 1):
            lengths = np.diff([0, *cuts, frames]).tolist()
            yield [
                column
                for token, length in zip(tokens, lengths, strict=True)
                for column in [2 * (token - 1)] + [2 * (token - 1) + 1] * (length - 1)
            ]
        return
    least = [0] + [1, 0] * len(tokens)  # frames of blank, token, blank, token ... blank
    if topology == "ctc":
        least[2:-1:2] = [int(a == b) for a, b in itertools.pairwise(tokens)]
    symbols = [0, *itertools.chain.from_iterable((token, 0) for token in tokens)]
    for lengths in parted(frames, least):
        yield [symbol for symbol, length in zip(symbols, lengths, strict=True) for _ in range(length)]


def parted(frames: int, least: list[int]) -> Iterator[list[int]]:
    """Every way to part frames into runs that are at least so long."""
    if len(least) == 1:
        if frames >= least[0]:
            yield [frames]
        return
    for first in range(least[0], frames + 1):
        for rest in parted(frames - first, least[1:]):
            yield [first, *rest]


def enumerated(
    log_probs: torch.Tensor, transcripts: list[tuple[int, ...]], ngram: Graph, topology: TopologyName
) -> float:
    scores = [
        log_weight(ngram, tokens) + sum(float(log_probs[t, column]) for t, column in enumerate(columns))
        for tokens in transcripts
        if log_weight(ngram, tokens) > -math.inf
        for columns in spreads(tokens, len(log_probs), topology)
    ]
    return float(torch.logsumexp(torch.tensor(scores, dtype=torch.float64), 0)) if scores else -math.inf


def total(log_probs: torch.Tensor, graph: Graph) -> float:
    frames = torch.tensor([len(log_probs)])
    return float(total_scores(log_probs[None], frames, GraphBatch.from_graphs([graph]), engine="torch"))


def random_scores(frames: int, columns: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(frames, columns, generator=torch.Generator().manual_seed(seed)) * 2


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_the_denominator_sums_over_all_token_sequences(topology: TopologyName) -> None:
    ngram, log_probs = bigram(3), random_scores(4, 4)
    transcripts = [tokens for length in range(5) for tokens in itertools.product((1, 2), repeat=length)]
    graph = token_ngram_graph(ngram, 3, topology)
    assert total(log_probs, graph) == pytest.approx(enumerated(log_probs, transcripts, ngram, topology), rel=1e-6)


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("tokens", [(1,), (1, 1), (2, 1, 2)])
def test_the_numerator_sums_over_one_of_them(topology: TopologyName, tokens: tuple[int, ...]) -> None:
    ngram, log_probs = bigram(3), random_scores(5, 4)
    numerator = compose(token_ngram_graph(ngram, 3, topology), linear(tokens))
    assert total(log_probs, numerator) == pytest.approx(enumerated(log_probs, [tokens], ngram, topology), rel=1e-6)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_numerators_of_all_transcripts_add_up_to_the_denominator(topology: TopologyName) -> None:
    sequences = [[1, 2, 2], [2, 1], [1, 1, 2, 1]]
    for ngram in (smoothed(sequences, 3, 3), counted(sequences, 4, 3)):
        denominator = token_ngram_graph(ngram, 3, topology)
        log_probs = random_scores(5, 4, seed=4)
        transcripts = [tokens for length in range(6) for tokens in itertools.product((1, 2), repeat=length)]
        numerators = [total(log_probs, compose(denominator, linear(tokens))) for tokens in transcripts]
        assert max(numerators) <= total(log_probs, denominator)
        assert float(torch.tensor(numerators).logsumexp(0)) == pytest.approx(total(log_probs, denominator), rel=1e-5)


def test_a_numerator_is_never_above_its_denominator() -> None:
    generator = np.random.default_rng(5)
    sequences = [generator.integers(1, 9, size=12).tolist() for _ in range(30)]
    denominator = token_ngram_graph(smoothed(sequences, 2, 9), 9)
    chosen = [sequence[:6] for sequence in sequences[:8]]
    numerators = GraphBatch.from_graphs([compose(denominator, linear(tokens)) for tokens in chosen])
    lengths = torch.tensor([30, 29, 25, 20, 18, 15, 13, 12])
    for scale in (0.0, 1.0, 30.0):
        log_probs = (torch.randn(8, 30, 9, generator=torch.Generator().manual_seed(6)) * scale).log_softmax(-1)
        for n, tokens in enumerate(chosen):  # one frame per token: the numerator's own best case
            log_probs[n, :12:2] += scale * torch.eye(9)[tokens]
        num = total_scores(log_probs, lengths, numerators, engine="torch")
        den = total_scores(log_probs, lengths, GraphBatch.shared(denominator, 8), engine="torch")
        assert (num - den).max() <= 1e-6 * den.abs().max()


def test_the_denominator_of_phones_has_the_size_that_k2_gives_it() -> None:
    graph = token_ngram_graph(bigram(43), 43)
    assert (graph.num_states, graph.num_arcs) == (86, 3739)


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("order", [1, 2, 4])
def test_arcs_are_counted_before_they_are_made(topology: TopologyName, order: int) -> None:
    generator = np.random.default_rng(7)
    sequences = [generator.integers(1, 6, size=9).tolist() for _ in range(20)]
    for ngram in (smoothed(sequences, order, 6), counted(sequences, order, 6, unpruned_order=1, extra_states=20)):
        graph = token_ngram_graph(ngram, 6, topology)
        assert denominator_arcs(ngram, 6, topology) == max(graph.num_arcs, 36 * (topology != "ctc-modified"))


def test_a_denominator_too_large_is_refused_with_the_remedies() -> None:
    remedies = r"8 tokens .* 169 arcs .* limit of 100; take the topology ctc-modified.*phones"
    with pytest.raises(SpeechkitError, match=remedies):
        token_ngram_graph(bigram(9), 9, max_arcs=100)
    with pytest.raises(SpeechkitError, match="10,000,000,000 arcs"):
        token_ngram_graph(bigram(3), 100_000, max_arcs=10**6)
    token_ngram_graph(bigram(9), 9, max_arcs=169)


def test_the_chain_topology_has_two_columns_per_token_and_no_blank() -> None:
    graph = chain_topology(4)
    assert sorted(set(graph.label.tolist())) == [-1, 0, 1, 2, 3, 4, 5]
    first = graph.aux["token"] > 0
    assert (graph.label[first] == 2 * (graph.aux["token"][first] - 1)).all()


def test_positions_count_the_tokens_begun() -> None:
    graph = compose(ctc_topology(3), linear([2, 1]))
    for label, token, position in zip(graph.label, graph.aux["token"], graph.aux["position"], strict=True):
        assert token in (0, [0, 2, 1][position])
        assert label in (-1, 0, [0, 2, 1][position])


def test_dead_ends_are_left_out() -> None:
    graph = Graph.from_arcs([(0, 1, 5, 0), (0, 2, 6, -1), (1, 1, 5, 0), (3, 2, 7, 0), (2, 4, -1, 0)], 5)
    kept = connected(graph)
    assert kept.num_states == 3
    assert kept.label.tolist() == [6, -1]
    assert connected(Graph.from_arcs([(0, 0, 5, 0)], 2)).num_states == 0
    assert compose(ctc_topology(3), Graph.from_arcs([], 0)).num_states == 0


def test_initial_probabilities_are_those_of_the_average_frame() -> None:
    graph = token_ngram_graph(bigram(4), 4)
    matrix = np.zeros((graph.num_states, graph.num_states))
    emitting = graph.label >= 0
    np.add.at(matrix, (graph.source[emitting], graph.destination[emitting]), np.exp(graph.score[emitting]))
    matrix[:-1] /= matrix[:-1].sum(axis=1, keepdims=True)
    states = [np.eye(graph.num_states)[0] @ np.linalg.matrix_power(matrix, step) for step in range(100)]
    found = initial_probs(graph)
    np.testing.assert_allclose(found, np.mean(states, axis=0), atol=1e-7)
    assert found.sum() == pytest.approx(1)


def leaky_forward(log_probs: torch.Tensor, graph: Graph, leak: float, initial: np.ndarray) -> float:
    """alpha(t + 1) = alpha'(t) A(t), alpha'(t) = alpha(t) + leak sum(alpha(t)) initial, with dense matrices."""
    size = graph.num_states
    alpha = np.eye(size)[0]
    emitting = graph.label >= 0
    source, destination = graph.source[emitting], graph.destination[emitting]
    for frame in log_probs.double().numpy():
        matrix = np.zeros((size, size))
        np.add.at(matrix, (source, destination), np.exp(graph.score[emitting] + frame[graph.label[emitting]]))
        alpha = alpha @ matrix
        alpha = alpha + leak * alpha.sum() * initial
    return math.log(sum(alpha[graph.source[~emitting]] * np.exp(graph.score[~emitting])))


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("leak", [0.1, 1e-5])
def test_leaking_is_exact(topology: TopologyName, leak: float) -> None:
    graph = token_ngram_graph(smoothed([[1, 2, 3, 1], [2, 2]], 3, 4), 4, topology)
    initial = initial_probs(graph)
    log_probs = random_scores(9, 6)
    found = leaky(graph, leak, initial)
    assert total(log_probs, found) == pytest.approx(leaky_forward(log_probs, graph, leak, initial), rel=1e-6)
    assert total(log_probs, found) > total(log_probs, graph)
    assert found.num_arcs <= 2 * graph.num_arcs + 2 * graph.num_states
    assert found.num_states == graph.num_states + 1
