"""Sentences for a BERT over characters, in memory: `[CLS] y_1 ... y_T`, and all their prefixes."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from speechkit.lm.token_file import SentenceBatch

Numbers = npt.NDArray[np.int64]


class CharacterText:
    """Sentences as token numbers, each with [CLS] before it; what `SentenceBatches` takes.

    Args:
        sentences: the numbers of the characters of each, at least one.
        cls: the number of [CLS].

    Attributes:
        ends: `(S,)`, number of characters up to the end of each sentence.
    """

    def __init__(self, sentences: Iterable[Sequence[int]], cls: int) -> None:
        parts = [np.asarray(each, np.int32) for each in sentences]
        self.cls, self.tokens = cls, np.concatenate(parts)
        self.ends = np.cumsum([len(each) for each in parts], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.ends)

    def lengths(self, start: int = 0, stop: int | None = None) -> Numbers:
        """Numbers of tokens of the sentences from `start` to `stop`, [CLS] included."""
        return np.diff(self.ends[start:stop], prepend=self._start(start)) + 1

    def batch(self, numbers: Sequence[int], longest: int | None = None) -> SentenceBatch:
        """Some sentences, no more than `longest` tokens of each."""
        found = [self.beginning(each, int(self.ends[each]) - self._start(each))[:longest] for each in numbers]
        return SentenceBatch.of(found, [each + 1 for each in numbers])

    def beginning(self, number: int, count: int) -> npt.NDArray[Any]:
        """[CLS] and the first `count` characters of a sentence."""
        start = self._start(number)
        return np.concatenate([[self.cls], self.tokens[start : start + count]])

    def _start(self, number: int) -> int:
        return int(self.ends[number - 1]) if number else 0


class Prefixes:
    """The samples `[CLS] y_1 ... y_t` of every sentence and every t, of which y_t is to be told from what is before it.

    There are as many as the text has characters; sample i ends with the i-th of them. Nothing is stored: AISHELL-1 has
    1.7 million (Huang et al. 2021, "Speech recognition by simply fine-tuning BERT", eqs 2-3).
    """

    def __init__(self, text: CharacterText) -> None:
        self.text = text

    def __len__(self) -> int:
        return len(self.text.tokens)

    def places(self, numbers: npt.ArrayLike) -> tuple[Numbers, Numbers]:
        """For each sample its sentence, from 0, and the place t of its last character, from 1."""
        samples, ends = np.asarray(numbers, np.int64), self.text.ends
        sentences = np.searchsorted(ends, samples, side="right")
        starts = np.where(sentences > 0, ends[sentences - 1], 0)
        return sentences, samples - starts + 1

    def lengths(self, start: int = 0, stop: int | None = None) -> Numbers:
        """Numbers of tokens of the samples from `start` to `stop`, [CLS] included."""
        return self.places(np.arange(*slice(start, stop).indices(len(self))))[1] + 1

    def batch(self, numbers: Sequence[int], longest: int | None = None) -> SentenceBatch:
        """Some samples; `lines` are those of their sentences.

        Raises:
            ValueError: one has more than `longest` tokens: cut off, it would have another target.
        """
        sentences, counts = self.places(numbers)
        if longest is not None and counts.max(initial=0) >= longest:
            raise ValueError(f"a prefix of {counts.max() + 1} tokens is longer than {longest}")
        pairs = list(zip(sentences.tolist(), counts.tolist(), strict=True))
        return SentenceBatch.of([self.text.beginning(*pair) for pair in pairs], [number + 1 for number, _ in pairs])


def last_places(lengths: Tensor, width: int) -> Tensor:
    """`(N, width)`, True on the last token of each of N sequences."""
    mask = lengths.new_zeros(len(lengths), width).bool()
    return mask.scatter(1, lengths[:, None] - 1, True)
