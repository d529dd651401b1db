"""N-gram counts of a text, as numpy arrays."""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.text.lines import numbered_lines

UNKNOWN, START, END = "<unk>", "<s>", "</s>"
SPECIAL = (UNKNOWN, START, END)
LINES_PER_BLOCK = 1 << 14


@dataclass(frozen=True)
class Level:
    """The n-grams of one length.

    Attributes:
        prefix: for each n-gram the place, one level below, of the n-gram without its last word.
        suffix: the same without its first word.
        word: the last word's number.
        count: how often it was seen.
        from_start: whether it begins with <s>.
    """

    prefix: NDArray[np.int64]
    suffix: NDArray[np.int64]
    word: NDArray[np.int64]
    count: NDArray[np.int64]
    from_start: NDArray[np.bool_]


@dataclass(frozen=True)
class NgramCounts:
    """Words (numbered <unk>, <s>, </s>, then by first appearance) and the n-grams of each length from 1."""

    words: list[str]
    levels: list[Level]

    @property
    def order(self) -> int:
        """Length of the longest n-grams."""
        return len(self.levels)

    def adjusted(self, length: int) -> NDArray[np.int64]:
        """Counts that Kneser-Ney smoothing works on.

        Of the longest n-grams and of those that begin with <s> they are plain counts, of the others the number of
        different words seen before them (Heafield et al. 2013, section 3.3). <unk> and <s> have 0.
        """
        level = self.levels[length - 1]
        adjusted = level.count
        if length < self.order:
            continuations = np.bincount(self.levels[length].suffix, minlength=len(level.word))
            adjusted = np.where(level.from_start, level.count, continuations)
        if length == 1:
            adjusted = np.where(level.from_start, 0, adjusted)
        return adjusted


def read_sentences(path: Path) -> Iterator[list[str]]:
    """Words of each line; spaces, tabs and carriage returns part words, as in lmplz."""
    for _, line in numbered_lines(path, "correct --text, or run `speechkit lang` (stage 2)"):
        plain = line.replace("\t", " ").replace("\r", " ").replace("\0", " ")
        yield [word for word in plain.split(" ") if word]


def count_ngrams(sentences: Iterable[list[str]], order: int) -> NgramCounts:
    """Count all n-grams up to `order` words in sentences between <s> and </s>; an empty sentence counts too.

    Raises:
        UsageError: `order` below 1.
        SpeechkitError: no words at all, or one of <unk>, <s>, </s> among them.
    """
    if order < 1:
        raise UsageError(f"the order of an n-gram model is at least 1, not {order}")
    words, stream, ends = _stream(sentences)
    grams, size = stream, len(words)
    unigrams = np.arange(size)
    none = np.zeros(size, dtype=np.int64)
    levels = [Level(none, none, unigrams, np.bincount(stream, minlength=size), unigrams == SPECIAL.index(START))]
    positions = np.arange(len(stream))
    for length in range(2, order + 1):
        positions = positions[ends[positions] >= positions + length - 1]
        ngrams = grams[positions] * size + stream[positions + length - 1]
        keys, places, count = np.unique(ngrams, return_inverse=True, return_counts=True)
        prefix, word = np.divmod(keys, size)
        suffix = np.empty_like(keys)
        suffix[places] = grams[positions + 1]
        levels.append(Level(prefix, suffix, word, count, levels[-1].from_start[prefix]))
        grams = np.full(len(stream), -1, dtype=np.int64)
        grams[positions] = places
    return NgramCounts(words, levels)


def _stream(sentences: Iterable[list[str]]) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """Words by number, the whole text as numbers, and for each position that of its sentence's </s>."""
    numbers: defaultdict[str, int] = defaultdict(itertools.count().__next__)
    for word in SPECIAL:
        numbers[word]  # noqa: B018 (a look-up adds)
    texts, sizes = [], []
    iterator = iter(sentences)
    while block := list(itertools.islice(iterator, LINES_PER_BLOCK)):
        sizes.append(np.fromiter(map(len, block), np.int64, len(block)))
        texts.append(
            np.fromiter(map(numbers.__getitem__, itertools.chain.from_iterable(block)), np.int64, sizes[-1].sum())
        )
    text, lengths = (np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64) for parts in (texts, sizes))
    if not len(text):
        raise SpeechkitError(
            "the text of the language model holds no words; check the file and the stage that wrote it"
        )
    if text.min() < len(SPECIAL):
        raise SpeechkitError(f"the text of the language model holds the word {SPECIAL[text.min()]}; remove it")
    end_places = np.cumsum(lengths + 2) - 1
    stream = np.full(len(text) + 2 * len(lengths), -1, dtype=np.int64)
    stream[end_places] = SPECIAL.index(END)
    stream[end_places - lengths - 1] = SPECIAL.index(START)
    stream[stream < 0] = text
    return list(numbers), stream, np.repeat(end_places, lengths + 2)
