"""Tuning of LM weight and word score on the development set."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from speechkit.decode.beam import BeamSearch, Hypothesis, Weights

LM_WEIGHTS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
WORD_SCORES = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0)


@dataclass(frozen=True)
class SweepPoint:
    """Error rate in percent at one pair of weights."""

    weights: Weights
    error_rate: float


def grid() -> list[Weights]:
    """All points."""
    return [Weights(lm=lm, word=word) for lm in LM_WEIGHTS for word in WORD_SCORES]


def sweep_utterance(search: BeamSearch, log_probs: npt.NDArray[np.float32]) -> dict[Weights, list[str]]:
    """Words of one utterance at every point of the grid: one search per LM weight, ranked by each word score."""
    return sweep_hypotheses(lambda lm: search.search(log_probs, Weights(lm=lm)))


def sweep_hypotheses(hypotheses: Callable[[float], list[Hypothesis]]) -> dict[Weights, list[str]]:
    """Words at every point of the grid: the best by each word score of what is found with an LM weight."""
    words: dict[Weights, list[str]] = {}
    for lm in LM_WEIGHTS:
        found = hypotheses(lm) or [Hypothesis([], 0.0, 0.0)]
        for word in WORD_SCORES:
            weights = Weights(lm=lm, word=word)
            words[weights] = max(found, key=lambda each: each.score(weights)).words  # noqa: B023
    return words


def rank(
    results: Iterable[dict[Weights, list[str]]], errors: Callable[[Weights, Sequence[list[str]]], float]
) -> list[SweepPoint]:
    """Every grid point with its error rate, best first; of equals the one nearest to no LM and no word score."""
    collected = list(results)
    points = [SweepPoint(weights, errors(weights, [each[weights] for each in collected])) for weights in collected[0]]
    return sorted(points, key=lambda point: (point.error_rate, point.weights.lm, abs(point.weights.word)))


def at_edge(weights: Weights) -> list[str]:
    """Names of the weights that lie at the end of their grid, where a better value may lie beyond."""
    edges = {"lm": LM_WEIGHTS[-1:], "word": (WORD_SCORES[0], WORD_SCORES[-1])}
    return [name for name, values in edges.items() if getattr(weights, name) in values]


def table(points: Sequence[SweepPoint]) -> list[dict[str, Any]]:
    """The points as JSON-able rows."""
    return [{**asdict(point.weights), "error_rate": point.error_rate} for point in points]
