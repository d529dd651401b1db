"""A made-up language for the decoding bench: words, text, and the log-probabilities a weak CTC model would give.

Everything follows from one seed. Words are pronounceable and short where frequent; sentences come from a word-level
source of second order, so that a 4-gram knows more than a bigram; the "model" fires one or two frames per letter with
blanks between them, and mishears letters as their look-alikes, so that most words have a wrong letter while the right
one stays among the likely ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LETTERS = "abcdefghijklmnopqrstuvwxyz'"
TOKENS = ("<blk>", "|", *LETTERS)
ONSETS = ("", "b", "c", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "st", "tr", "pl", "qu")
NUCLEI = ("a", "e", "i", "o", "u", "y", "ea", "ou", "ai")
CODAS = ("", "", "", "n", "r", "s", "t", "l", "ck", "nd", "x", "z", "m", "'s", "j")


@dataclass(frozen=True)
class Utterance:
    """Words said and the log-probabilities `(T, V)` of the simulated model."""

    words: list[str]
    log_probs: npt.NDArray[np.float32]


def make_words(count: int, rng: np.random.Generator) -> list[str]:
    """Different pronounceable words, the first (most frequent) ones of one syllable."""
    words: dict[str, None] = {}
    while len(words) < count:
        syllables = 1 + rng.binomial(2, min(0.6, 0.1 + len(words) / 6000))
        parts = [rng.choice(ONSETS) + rng.choice(NUCLEI) + rng.choice(CODAS) for _ in range(syllables)]
        words.setdefault("".join(parts))
    return list(words)


class Source:
    """Word source: the next word follows from the last two, from the last one, or from frequency alone."""

    def __init__(self, words: list[str], rng: np.random.Generator, contexts: int = 40_000) -> None:
        self.words, self.rng = words, rng
        frequency = 1 / np.arange(1, len(words) + 1)
        self.cumulative = np.cumsum(frequency / frequency.sum())
        self.after_one = self._frequent((len(words), 12))
        self.after_two = self._frequent((contexts, 4))

    def _frequent(self, shape: tuple[int, int]) -> npt.NDArray[np.int64]:
        return np.searchsorted(self.cumulative, self.rng.random(shape))

    def sentences(self, count: int) -> Iterator[list[str]]:
        """Sentences of 4 to 11 words."""
        for length in self.rng.integers(4, 12, size=count):
            draws, ranks = self.rng.random((2, length))
            fresh = self._frequent((length, 1))[:, 0]
            sentence: list[int] = [0, 0]
            for draw, rank, new in zip(draws.tolist(), ranks.tolist(), fresh.tolist(), strict=True):
                before, last = sentence[-2:]
                if draw < 0.5:
                    row = self.after_two[(before * 7919 + last * 104729) % len(self.after_two)]
                elif draw < 0.85:
                    row = self.after_one[last]
                else:
                    row = np.array([new])
                sentence.append(int(row[int(rank * rank * len(row))]))
            yield [self.words[index] for index in sentence[2:]]


class WeakModel:
    """Log-probabilities as a peaky CTC model with poor hearing would give them."""

    def __init__(self, rng: np.random.Generator, misheard: float = 0.1) -> None:
        self.rng, self.misheard = rng, misheard
        self.alike = np.array([rng.permutation(np.delete(np.arange(1, len(TOKENS)), token - 1))[:5] for token in
                               range(1, len(TOKENS))])  # fmt: skip

    def utterance(self, words: list[str]) -> Utterance:
        """Simulate one reading of `words`."""
        rows = [self._blanks(int(self.rng.integers(1, 5)))]
        for letter in "|".join(words) + "|":
            rows += [self._letter(TOKENS.index(letter)), self._blanks(int(self.rng.integers(1, 4)))]
        logits = np.concatenate(rows)
        peak = logits.max(axis=1, keepdims=True)
        log_probs = logits - peak - np.log(np.exp(logits - peak).sum(axis=1, keepdims=True))
        return Utterance(words, log_probs.astype(np.float32))

    def _noise(self, frames: int) -> npt.NDArray[np.float64]:
        return self.rng.normal(0, 1.2, size=(frames, len(TOKENS)))

    def _blanks(self, frames: int) -> npt.NDArray[np.float64]:
        logits = self._noise(frames)
        logits[:, 0] += self.rng.uniform(7, 14, size=frames)
        return logits

    def _letter(self, token: int) -> npt.NDArray[np.float64]:
        logits = self._noise(int(self.rng.integers(1, 3)))
        alike = self.alike[token - 1]
        logits[:, alike] += self.rng.uniform(1, 4, size=len(alike))
        logits[:, 0] += 3
        logits[:, token] += self.rng.uniform(6, 10)
        if self.rng.random() < self.misheard:
            other = alike[self.rng.integers(len(alike))] if self.rng.random() < 0.8 else 0
            logits[:, other] += self.rng.uniform(4, 9)
        return logits
