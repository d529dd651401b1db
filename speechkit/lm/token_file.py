"""A text as token numbers on disk, and its batches: training reads what it needs of a text larger than memory.

`NAME.tokens` holds the sentences end to end, `NAME.ends` the place after each one's last token as int64, `NAME.json`
counts and the type of the tokens; the last is written last.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import atomic_path, read_json, write_json
from speechkit.common.seeds import derive
from speechkit.lm.units import UNKNOWN_ID, Units

SENTENCES_PER_BLOCK = 1 << 16
Tokens = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class SentenceBatch:
    """Tokens `(N, T)` of sentences with their ends, padded with 0, `lengths (N,)` and `lines`, their numbers from 1."""

    tokens: Tensor
    lengths: Tensor
    lines: list[int]

    @classmethod
    def of(cls, sentences: Sequence[Tokens], lines: Sequence[int]) -> "SentenceBatch":
        """Pad some sentences."""
        tensors = [torch.from_numpy(np.asarray(each, np.int64)) for each in sentences]
        lengths = torch.tensor([len(each) for each in sentences])
        return cls(pad_sequence(tensors, batch_first=True), lengths, list(lines))


def write_tokens(folder: Path, name: str, sentences: Iterable[Sequence[str]], units: Units) -> None:
    """Write the three files of a text, which is read once.

    Raises:
        SpeechkitError: no sentences.
    """
    kind = np.dtype("<u2" if len(units) <= np.iinfo(np.uint16).max else "<u4")
    paths = [folder / f"{name}.{suffix}" for suffix in ("tokens", "ends")]
    counts = {"sentences": 0, "words": 0, "unknown": 0, "tokens": 0}
    with atomic_path(paths[0]) as binary, atomic_path(paths[1]) as index:
        with binary.open("wb") as tokens, index.open("wb") as ends:
            for words in sentences:
                found = np.array(units.encode(words), kind)
                tokens.write(found.tobytes())
                counts["sentences"] += 1
                counts["words"] += len(words)
                counts["unknown"] += int((found == UNKNOWN_ID).sum())
                counts["tokens"] += len(found)
                ends.write(counts["tokens"].to_bytes(8, "little"))
        if not counts["sentences"]:
            raise SpeechkitError(f"there are no sentences for {paths[0]}; check the stage that writes the text")
    write_json(folder / f"{name}.json", {"dtype": kind.str, **counts})


class TokenFile:
    """The sentences of a text as token numbers, read through memory maps.

    Attributes:
        counts: of `sentences`, `words`, `unknown` words and `tokens`, of which every sentence has one for its end.

    Raises:
        SpeechkitError: a file is missing, or the three do not belong together.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.counts: dict[str, Any] = read_json(folder / f"{name}.json")
        kind = np.dtype(self.counts.pop("dtype"))
        self._tokens = _mapped(folder / f"{name}.tokens", kind, self.counts["tokens"])
        self._ends = _mapped(folder / f"{name}.ends", np.dtype("<i8"), self.counts["sentences"])

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, number: int) -> Tokens:
        return self._tokens[int(self._ends[number - 1]) if number else 0 : int(self._ends[number])]

    def lengths(self, start: int = 0, stop: int | None = None) -> npt.NDArray[np.int64]:
        """Numbers of tokens of the sentences from `start` to `stop`."""
        ends = self._ends[start:stop]
        return np.diff(ends, prepend=self._ends[start - 1] if start else 0)

    def batch(self, numbers: Sequence[int], longest: int | None = None) -> SentenceBatch:
        """Some sentences, no more than `longest` tokens of each."""
        return SentenceBatch.of([self[each][:longest] for each in numbers], [each + 1 for each in numbers])


def _mapped(path: Path, kind: np.dtype[Any], count: int) -> npt.NDArray[Any]:
    if not path.exists() or path.stat().st_size != count * kind.itemsize:
        raise SpeechkitError(
            f"{path} does not hold the {count} numbers it should; delete {path.parent}, then run again"
        )
    return np.memmap(path, kind, "r")


def batches_by_length(lengths: npt.NDArray[np.int64], max_tokens: int) -> list[list[int]]:
    """Places of sentences in batches of similar length: at most `max_tokens`, padding included, or one sentence."""
    found: list[list[int]] = []
    for place in np.argsort(lengths, kind="stable").tolist():
        if not found or lengths[place] * (len(found[-1]) + 1) > max_tokens:
            found.append([])
        found[-1].append(place)
    return found


class Sentences(Protocol):
    """Sequences of tokens by their number, as a `TokenFile` has them."""

    def __len__(self) -> int: ...
    def lengths(self, start: int = 0, stop: int | None = None) -> npt.NDArray[np.int64]:
        """Numbers of tokens of the sentences from `start` to `stop`."""
        ...

    def batch(self, numbers: Sequence[int], longest: int | None = None) -> SentenceBatch:
        """Some sentences, no more than `longest` tokens of each."""
        ...


class SentenceBatches:
    """Batches for training, in an order fixed by (seed, epoch); any epoch can be entered in its middle.

    Sentences are shuffled within blocks of consecutive ones, and the blocks among themselves: that reads large files
    in long stretches. Of each block every process gets as many batches.
    """

    def __init__(self, text: Sentences, max_tokens: int, longest: int, seed: int, rank: int = 0, size: int = 1) -> None:
        self.text, self.max_tokens, self.longest, self.seed = text, max_tokens, longest, seed
        self.rank, self.size = rank, size

    def epoch(self, epoch: int, skip: int) -> Iterator[SentenceBatch]:
        """Batches of `epoch` after the first `skip`, of which no tokens are read."""
        starts = np.arange(0, len(self.text), SENTENCES_PER_BLOCK)
        for start in self._generator(epoch).permutation(starts).tolist():
            planned = self._planned(start, epoch)
            for numbers in planned[skip:]:
                yield self.text.batch(numbers, self.longest)
            skip = max(0, skip - len(planned))

    def _planned(self, start: int, epoch: int) -> list[list[int]]:
        """Numbers of the sentences in each of this process's batches of the block that begins at `start`."""
        generator = self._generator(epoch, start)
        lengths = np.minimum(self.text.lengths(start, start + SENTENCES_PER_BLOCK), self.longest)
        order = generator.permutation(len(lengths))
        found = batches_by_length(lengths[order], self.max_tokens)
        chosen = generator.permutation(len(found))[: len(found) // self.size * self.size][self.rank :: self.size]
        return [(order[found[index]] + start).tolist() for index in chosen]

    def _generator(self, *context: object) -> np.random.Generator:
        return np.random.default_rng(derive(self.seed, "order of sentences", *context))
