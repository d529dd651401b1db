"""Interpolated modified Kneser-Ney smoothing, the estimate that lmplz makes, without compiling anything.

Chen and Goodman, "An empirical study of smoothing techniques for language modeling" (TR-10-98, 1998), equations 24
to 26; Heafield et al., "Scalable modified Kneser-Ney language model estimation" (ACL 2013). Unigrams are interpolated
with the uniform distribution over all words and <unk>, so <unk> gets the share of one unseen word.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speechkit.lm.arpa import write_arpa
from speechkit.lm.counts import SPECIAL, START, NgramCounts

log = logging.getLogger(__name__)
FALLBACK = (0.5, 1.0, 1.5)
SMALLEST = 1e-99
Discounts = tuple[float, float, float]


@dataclass(frozen=True)
class NgramModel:
    """Probabilities and backoff weights (log10) of the n-grams in `counts`, one array per length.

    The longest n-grams have no backoff weights.
    """

    counts: NgramCounts
    log_probs: list[NDArray[np.float64]]
    backoffs: list[NDArray[np.float64]]
    discounts: list[Discounts]

    def write(self, path: Path) -> None:
        """Write an ARPA file."""
        write_arpa(path, [len(level.word) for level in self.counts.levels], self._sections())

    def _sections(self) -> Iterator[Iterator[str]]:
        words = self.counts.words
        texts = words
        for length, level in enumerate(self.counts.levels, start=1):
            if length > 1:
                shorter = texts
                pairs = zip(level.prefix.tolist(), level.word.tolist(), strict=True)
                texts = [f"{shorter[prefix]} {words[word]}" for prefix, word in pairs]
            columns = [self.log_probs[length - 1].tolist(), texts]
            if length < self.counts.order:
                yield map("%.7g\t%s\t%.7g\n".__mod__, zip(*columns, self.backoffs[length - 1].tolist(), strict=True))
            else:
                yield map("%.7g\t%s\n".__mod__, zip(*columns, strict=True))


def estimate(counts: NgramCounts, fallback: Discounts = FALLBACK) -> NgramModel:
    """Estimate a model from counts.

    Args:
        counts: of every length from 1 to the order.
        fallback: discounts of adjusted counts 1, 2 and 3 or more for lengths whose own cannot be estimated, because
            some count never occurs or a discount comes out negative or above its count.
    """
    model = NgramModel(counts, [], [], [])
    lower = np.full(1, 1 / (len(counts.words) - 1))
    for length, level in enumerate(counts.levels, start=1):
        adjusted = counts.adjusted(length)
        discounts = estimate_discounts(adjusted)
        if discounts is None:
            log.info("%d-grams: too few to estimate discounts, taking %g, %g and %g", length, *fallback)
            discounts = fallback
        model.discounts.append(discounts)
        discount = np.array([0.0, *discounts])[np.minimum(adjusted, 3)]
        total = np.bincount(level.prefix, adjusted, minlength=len(lower))
        taken = np.bincount(level.prefix, discount, minlength=len(lower))
        weight = np.divide(taken, total, out=np.ones(len(lower)), where=total > 0)
        probs = (adjusted - discount) / total[level.prefix] + weight[level.prefix] * lower[level.suffix]
        if length == 1:
            probs[SPECIAL.index(START)] = 1.0
        else:
            model.backoffs.append(np.log10(np.maximum(weight, SMALLEST)))
        model.log_probs.append(np.log10(np.clip(probs, SMALLEST, 1.0)))
        lower = probs
    return model


def estimate_discounts(adjusted: NDArray[np.int64]) -> Discounts | None:
    """Discounts of adjusted counts 1, 2 and 3 or more (Chen and Goodman, equation 26), or None where undefined."""
    n = np.bincount(np.minimum(adjusted, 5), minlength=6).astype(np.float64)
    if not n[1:4].all():
        return None
    ratio = n[1] / (n[1] + 2 * n[2])
    one, two, three = (float(count - (count + 1) * ratio * n[count + 1] / n[count]) for count in (1, 2, 3))
    if any(not 0 <= discount <= count for count, discount in enumerate((one, two, three), start=1)):
        return None
    return one, two, three
