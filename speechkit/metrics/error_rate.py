"""Error counts, error rates and how sure they are."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechkit.metrics.edit import Items, Pair, edit_counts


@dataclass(frozen=True)
class ErrorCounts:
    """Insertions, deletions and substitutions against `reference` words; can be added."""

    reference: int = 0
    insertions: int = 0
    deletions: int = 0
    substitutions: int = 0

    def __add__(self, other: "ErrorCounts") -> "ErrorCounts":
        return ErrorCounts(
            self.reference + other.reference,
            self.insertions + other.insertions,
            self.deletions + other.deletions,
            self.substitutions + other.substitutions,
        )

    @property
    def errors(self) -> int:
        """All errors."""
        return self.insertions + self.deletions + self.substitutions

    @property
    def rate(self) -> float:
        """Errors in percent of the reference; of an empty reference 0 without errors and infinite with some."""
        if self.reference:
            return 100 * self.errors / self.reference
        return float("inf") if self.errors else 0.0


def count_errors(reference: Items, hypothesis: Items) -> ErrorCounts:
    """Errors of one pair of sequences (a string is a sequence of characters)."""
    return count_each([reference], [hypothesis])[0]


def count_each(references: Sequence[Items], hypotheses: Sequence[Items]) -> list[ErrorCounts]:
    """Errors of each pair, all pairs at once; see `edit_counts` for ties and errors raised."""
    counts = edit_counts(references, hypotheses).tolist()
    return [ErrorCounts(len(reference), *each) for reference, each in zip(references, counts, strict=True)]


def count_corpus(references: Sequence[Items], hypotheses: Sequence[Items]) -> ErrorCounts:
    """Errors of a whole corpus."""
    totals = edit_counts(references, hypotheses).sum(axis=0).tolist()
    return ErrorCounts(sum(map(len, references)), *totals)


def bootstrap_interval(
    counts: Sequence[ErrorCounts], level: float = 0.95, num_samples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Confidence interval of the error rate in percent: percentiles over corpora resampled from the utterances.

    Bisani and Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation" (ICASSP 2004).

    Raises:
        ValueError: no utterances, or none with a reference.
    """
    errors = np.array([each.errors for each in counts], dtype=np.float64)
    lengths = np.array([each.reference for each in counts], dtype=np.float64)
    if not lengths.sum():
        raise ValueError("a confidence interval needs at least one word of reference")
    rng = np.random.default_rng(seed)
    rates: NDArray[np.float64] = np.empty(num_samples)
    for sample in range(num_samples):
        drawn = rng.integers(0, len(lengths), len(lengths))
        total = lengths[drawn].sum()
        rates[sample] = 100 * errors[drawn].sum() / total if total else 0.0
    low, high = np.quantile(rates, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class Confusions:
    """How often what was heard as what: (reference, hypothesis) pairs, inserted and deleted items."""

    substitutions: "Counter[Pair]"
    insertions: "Counter[Any]"
    deletions: "Counter[Any]"


def confusions(aligned: Iterable[Sequence[Pair]]) -> Confusions:
    """Count the errors in alignments as `alignments` returns them."""
    found = Confusions(Counter(), Counter(), Counter())
    for reference, hypothesis in (pair for pairs in aligned for pair in pairs):
        if reference is None:
            found.insertions[hypothesis] += 1
        elif hypothesis is None:
            found.deletions[reference] += 1
        elif reference != hypothesis:
            found.substitutions[reference, hypothesis] += 1
    return found
