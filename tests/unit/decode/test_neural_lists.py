"""Rescoring of n-best lists with a neural language model, by hand."""

import numpy as np
import pytest

from speechkit.decode.beam import Hypothesis, Weights
from speechkit.decode.rescore import neural_lists
from speechkit.decode.sweep import SweepPoint, at_edge, sweep_lists

LISTS = [
    [Hypothesis(["a", "b"], -10.0, -1.5), Hypothesis(["a", "c"], -11.0, -1.5)],
    [Hypothesis(["a", "c"], -7.0, -1.0), Hypothesis([], -9.0, -0.5)],
]
NEURAL = {("a", "b"): -8.0, ("a", "c"): -3.0, (): -6.0}


def test_each_word_sequence_is_scored_once() -> None:
    calls = []

    def log_probs(sentences: list[tuple[str, ...]]) -> list[float]:
        calls.append(sentences)
        return [NEURAL[words] for words in sentences]

    found = neural_lists(LISTS, log_probs)
    assert calls == [[("a", "b"), ("a", "c"), ()]]
    assert [[each.neural for each in hypotheses] for hypotheses in found] == [[-8.0, -3.0], [-3.0, -6.0]]
    assert [[each.words for each in hypotheses] for hypotheses in found] == [
        [["a", "b"], ["a", "c"]],
        [["a", "c"], []],
    ]


def test_scores_are_added_up() -> None:
    ab, ac = neural_lists(LISTS, lambda sentences: [NEURAL[words] for words in sentences])[0]
    weights = Weights(lm=2.0, word=0.5, neural=0.25)
    assert ab.score(weights) == pytest.approx(-10 - 3 - 2 + 1)
    assert ac.score(weights) == pytest.approx(-11 - 3 - 0.75 + 1)  # the neural model turns them round
    assert ab.score(Weights(lm=1.0)) == pytest.approx(-11.5)
    assert Weights(lm=1.0).values() == {"lm": 1.0, "word": 0.0}
    assert weights.values() == {"lm": 2.0, "word": 0.5, "neural": 0.25}


def test_every_point_counts_the_errors_of_its_best() -> None:
    lists = neural_lists(LISTS, lambda sentences: [NEURAL[words] for words in sentences])
    errors = [np.array([1, 0]), np.array([2, 0])]  # references: a c, and silence
    points = sweep_lists(lists, errors, 2)
    assert len(points) == len({point.weights for point in points}) == 7 * 12 * 8
    for point in points:
        wrong = 0
        for hypotheses, each in zip(lists, errors, strict=True):
            scores = [one.score(point.weights) for one in hypotheses]
            wrong += each[scores.index(max(scores))]
        assert point.error_rate == 100 * wrong / 2
    rates = [point.error_rate for point in points]
    assert rates == sorted(rates)
    # "a c" wins over "a b" if 5 neural > 1, and silence over "a c" if 2 word < -2 + 0.5 lm - 3 neural.
    assert points[0].error_rate == 0
    assert points[0].weights == Weights(lm=0.0, word=-2.0, neural=0.25)


def test_weights_at_the_end_of_their_grid_are_told() -> None:
    others = [SweepPoint(Weights(word=word), 9.0) for word in (-3.0, 8.0)]
    assert at_edge([SweepPoint(Weights(neural=2.0), 5.0), *others]) == ["neural"]
    assert at_edge([SweepPoint(Weights(word=8.0), 5.0), *others]) == ["word"]
    assert at_edge([SweepPoint(Weights(word=4.0), 5.0), *others]) == []
