"""Label files as sequences of codes for a model of them: utterances, or equal parts of long ones."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from speechkit.common.errors import SpeechkitError
from speechkit.data.labels import LabelFile
from speechkit.lm.token_file import SentenceBatch


def even_parts(length: int, longest: int) -> list[slice]:
    """The fewest consecutive parts of at most `longest` whose lengths differ by one at most."""
    count = -(-length // longest)
    return [slice(number * length // count, (number + 1) * length // count) for number in range(count)]


class CodePieces:
    """The codes of a label file in pieces of at most `longest`: what `SentenceBatches` takes for sentences."""

    def __init__(self, labels: LabelFile, longest: int) -> None:
        self._labels = labels
        parts = [(name, part) for name, codes in labels.items() for part in even_parts(len(codes), longest)]
        self._parts = parts
        self._lengths = np.array([part.stop - part.start for _, part in parts], np.int64)

    def __len__(self) -> int:
        return len(self._parts)

    def lengths(self, start: int = 0, stop: int | None = None) -> npt.NDArray[np.int64]:
        """Numbers of codes of the pieces from `start` to `stop`."""
        return self._lengths[start:stop]

    def batch(self, numbers: Sequence[int], longest: int | None = None) -> SentenceBatch:
        """Some pieces, no more than `longest` codes of each."""
        found = [self._labels[name][part][:longest] for name, part in map(self._parts.__getitem__, numbers)]
        return SentenceBatch.of(found, [each + 1 for each in numbers])

    def utterances(self, batch: SentenceBatch) -> list[str]:
        """Where the pieces of a batch come from."""
        return [self._parts[line - 1][0] for line in batch.lines]


def count_codes(labels: LabelFile) -> npt.NDArray[np.int64]:
    """How often each code stands in a label file, `(number of names,)`; a code without a name is a `SpeechkitError`."""
    counts = np.zeros(len(labels.names), np.int64)
    for name, codes in labels.items():
        found = np.bincount(codes, minlength=len(counts))
        if len(found) > len(counts):
            raise SpeechkitError(
                f"{name} has label {len(found) - 1}, but there are {len(counts)} names; make the labels again"
            )
        counts += found
    return counts
