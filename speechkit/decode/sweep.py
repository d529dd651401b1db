"""Tuning of LM weights and word score on the development set."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from speechkit.decode.beam import BeamSearch, Hypothesis, Weights

LM_WEIGHTS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
WORD_SCORES = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0)
NEURAL_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
RESCORED_WORD_SCORES = (*WORD_SCORES, 5.0, 6.0, 7.0, 8.0)  # make up for the costs of words in two models


@dataclass(frozen=True)
class SweepPoint:
    """Error rate in percent with some weights."""

    weights: Weights
    error_rate: float


def searches(neural: bool = False) -> list[Weights]:
    """The weights of an n-gram, or of a neural LM in the first pass, without a word score."""
    return (
        [Weights(lm=0.0, neural=each) for each in NEURAL_WEIGHTS]
        if neural
        else [Weights(lm=each) for each in LM_WEIGHTS]
    )


def grid() -> list[Weights]:
    """All points of an n-gram."""
    return [replace(weights, word=word) for weights in searches() for word in WORD_SCORES]


def sweep_utterance(search: BeamSearch, log_probs: npt.NDArray[np.float32]) -> dict[Weights, list[str]]:
    """Words of one utterance at every point of the grid: one search per LM weight, ranked by each word score."""
    return sweep_hypotheses(lambda weights: search.search(log_probs, weights), search.is_neural)


def sweep_hypotheses(
    hypotheses: Callable[[Weights], list[Hypothesis]], neural: bool = False
) -> dict[Weights, list[str]]:
    """Words at every point of the grid: the best by each word score of what is found with an LM weight."""
    words: dict[Weights, list[str]] = {}
    for search in searches(neural):
        found = hypotheses(search) or [Hypothesis([], 0.0, 0.0)]
        for word in WORD_SCORES:
            weights = replace(search, word=word)
            words[weights] = max(found, key=lambda each: each.score(weights)).words  # noqa: B023
    return words


def rank(
    results: Iterable[dict[Weights, list[str]]], errors: Callable[[Weights, Sequence[list[str]]], float]
) -> list[SweepPoint]:
    """Every grid point with its error rate, best first; of equals the one nearest to no LM and no word score."""
    collected = list(results)
    points = [SweepPoint(weights, errors(weights, [each[weights] for each in collected])) for weights in collected[0]]
    return _best_first(points)


def sweep_lists(
    lists: Sequence[Sequence[Hypothesis]], errors: Sequence[npt.NDArray[np.int64]], num_words: int
) -> list[SweepPoint]:
    """Every pair of LM weights with every word score on lists that were rescored with a neural LM, best first.

    The grid has a neural weight of 0, the n-gram alone, and an LM weight of 0, where the neural LM replaces the n-gram.

    Args:
        lists: of each utterance the hypotheses, in any order; of equally good ones the first is taken.
        errors: of each utterance the errors of each hypothesis.
        num_words: in all references.
    """
    triples = itertools.product(LM_WEIGHTS, RESCORED_WORD_SCORES, NEURAL_WEIGHTS)
    points = [Weights(lm=lm, word=word, neural=neural) for lm, word, neural in triples]
    factors = np.array([[1.0, weights.lm, weights.neural, weights.word] for weights in points])
    totals = np.zeros(len(points), dtype=np.int64)
    for hypotheses, wrong in zip(lists, errors, strict=True):
        parts = np.array([[each.acoustic, each.lm, each.neural, len(each.words)] for each in hypotheses])
        totals += wrong[(factors @ parts.T).argmax(axis=1)]
    rates = (100 * totals / max(1, num_words)).tolist()
    return _best_first([SweepPoint(weights, rate) for weights, rate in zip(points, rates, strict=True)])


def _best_first(points: Sequence[SweepPoint]) -> list[SweepPoint]:
    return sorted(
        points,
        key=lambda point: (point.error_rate, point.weights.neural, point.weights.lm, abs(point.weights.word)),
    )


def at_edge(points: Sequence[SweepPoint]) -> list[str]:
    """Names of the best weights that lie at the end of their grid, where a better value may lie beyond."""
    best, words = points[0].weights, [point.weights.word for point in points]
    edges = {"lm": LM_WEIGHTS[-1:], "word": (min(words), max(words)), "neural": NEURAL_WEIGHTS[-1:]}
    return [name for name, values in edges.items() if getattr(best, name) in values]


def table(points: Sequence[SweepPoint]) -> list[dict[str, Any]]:
    """The points as JSON-able rows."""
    return [{**point.weights.values(), "error_rate": point.error_rate} for point in points]
