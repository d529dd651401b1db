"""Token n-grams against the ARPA model of the same counts and against counting by hand."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from speechkit.common.errors import SpeechkitError
from speechkit.fsa.graph import Graph
from speechkit.lm.arpa import read_arpa
from speechkit.lm.counts import count_ngrams
from speechkit.lm.kneser_ney import estimate
from speechkit.lm.token_ngram import counted, smoothed


def transcripts(num_tokens: int = 6, size: int = 60, seed: int = 0) -> list[list[int]]:
    """Sequences in which a token prefers the next number."""
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(size):
        sequence = [int(generator.integers(1, num_tokens))]
        for _ in range(int(generator.integers(0, 9))):
            step = sequence[-1] % (num_tokens - 1) + 1
            sequence.append(step if generator.random() < 0.6 else int(generator.integers(1, num_tokens)))
        found.append(sequence)
    return found


def log_prob(graph: Graph, tokens: list[int]) -> float:
    """Score of a token sequence; the acceptor has to be deterministic."""
    arcs = list(zip(graph.source.tolist(), graph.label.tolist(), strict=True))
    assert len(set(arcs)) == len(arcs)
    state, total = 0, 0.0
    for token in (*tokens, -1):
        if (state, token) not in arcs:
            return -math.inf
        arc = arcs.index((state, token))
        state, total = int(graph.destination[arc]), total + float(graph.score[arc])
    return total


def sums(graph: Graph) -> np.ndarray:
    """Total probability of what leaves each state but the final one."""
    return np.bincount(graph.source, np.exp(graph.score.astype(np.float64)), minlength=graph.num_states)[:-1]


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("num_tokens", [6, 9])
def test_probabilities_sum_to_one(order: int, num_tokens: int) -> None:
    sequences = transcripts()
    for graph in (smoothed(sequences, order, num_tokens), counted(sequences, order, num_tokens, extra_states=10)):
        np.testing.assert_allclose(sums(graph), 1, atol=1e-6)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_smoothed_is_the_arpa_model_written_out(tmp_path: Path, order: int) -> None:
    sequences = transcripts()
    estimate(count_ngrams([[str(token) for token in sequence] for sequence in sequences], order)).write(tmp_path / "a")
    arpa = read_arpa(tmp_path / "a")
    graph = smoothed(sequences, order, 7)  # token 6 is never seen: it stands for <unk>
    for tokens in ([1, 2, 3], [5, 5, 5, 5], [3], [6, 1, 6], [], sequences[0]):
        words = ["<s>", *("<unk>" if token == 6 else str(token) for token in tokens), "</s>"]
        expected = sum(arpa.log10_prob(word, words[:place]) for place, word in enumerate(words) if place)
        assert log_prob(graph, tokens) == pytest.approx(expected * math.log(10), abs=1e-5)


def test_smoothed_shares_the_unknown_among_the_unseen() -> None:
    sequences = transcripts()
    one, three = smoothed(sequences, 2, 7), smoothed(sequences, 2, 9)
    share = log_prob(one, [6, 1]) - math.log(3)
    assert [log_prob(three, [token, 1]) for token in (6, 7, 8)] == pytest.approx([share] * 3, abs=1e-5)
    none = smoothed(sequences, 2, 6)
    assert set(none.label.tolist()) == {-1, 1, 2, 3, 4, 5}
    assert log_prob(none, [1]) > log_prob(one, [1])


def test_counted_are_relative_frequencies() -> None:
    sequences = transcripts()
    graph = counted(sequences, 2, 6)
    pairs = Counter((a, b) for tokens in sequences for a, b in zip([0, *tokens], [*tokens, -1], strict=True))
    histories = Counter(a for a, _ in pairs.elements())
    for tokens in sequences[:10]:
        steps = zip([0, *tokens], [*tokens, -1], strict=True)
        expected = sum(math.log(pairs[step] / histories[step[0]]) for step in steps)
        assert log_prob(graph, tokens) == pytest.approx(expected, abs=1e-5)
    assert graph.num_states == 7
    assert graph.num_arcs == len(pairs)


def test_counted_limits_the_long_histories_and_loses_little_at_first() -> None:
    sequences = transcripts(size=200)
    full = counted(sequences, 4, 6, extra_states=10**6)
    base = counted(sequences, 3, 6)
    assert counted(sequences, 4, 6, extra_states=0).num_states <= base.num_states
    likelihoods = []
    for extra in (10**6, 60, 30, 10, 0):
        graph = counted(sequences, 4, 6, extra_states=extra)
        assert graph.num_states <= base.num_states + extra
        likelihoods.append(sum(log_prob(graph, tokens) for tokens in sequences))
        assert math.isfinite(likelihoods[-1])
    assert likelihoods == sorted(likelihoods, reverse=True)
    assert likelihoods[0] == pytest.approx(sum(log_prob(full, tokens) for tokens in sequences))
    assert likelihoods[-1] == pytest.approx(sum(log_prob(base, tokens) for tokens in sequences), rel=1e-5)


def test_counted_prunes_histories_of_several_lengths() -> None:
    sequences = transcripts(size=100)
    sizes = [counted(sequences, 5, 6, unpruned_order=2, extra_states=extra).num_states for extra in (10**6, 100, 20, 0)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] <= counted(sequences, 2, 6).num_states
    assert sizes[1] <= counted(sequences, 2, 6).num_states + 100


@pytest.mark.parametrize("estimator", [smoothed, counted])
def test_bad_tokens_are_named(estimator) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SpeechkitError, match="hold no tokens"):
        estimator([[], []], 2, 5)
    with pytest.raises(SpeechkitError, match="token 5; the model has 1 to 4"):
        estimator([[1, 5]], 2, 5)
    with pytest.raises(SpeechkitError, match="token 0"):
        estimator([[1, 0]], 2, 5)
