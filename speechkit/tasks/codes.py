"""Frame labels by the codes of vq-wav2vec: a label for each tuple of codes that the training set has (section 4).

The training set's codes wait in a file while they are counted; memory holds the counts and a few utterances.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np
import numpy.typing as npt
import torch

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import write_json
from speechkit.data.alignments import read_spoken
from speechkit.data.labels import KIND, UNKNOWN, LabelWriter
from speechkit.nn.quantise import perplexity
from speechkit.tasks.frame_stream import Waveforms, map_waveforms
from speechkit.tasks.sources import FrameCodes

log = logging.getLogger(__name__)
MOST_NAMES = int(np.iinfo(KIND).max) + 1
Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Usage:
    """How a set uses the codes.

    Attributes:
        frames: how many it has.
        tuples: different tuples of codes.
        unknown: share of the frames whose tuple has no label of its own.
        perplexity: of the codes of each group, between 1 and its number of entries.
    """

    frames: int
    tuples: int
    unknown: float
    perplexity: list[float]

    def __str__(self) -> str:
        groups = ", ".join(f"{each:.1f}" for each in self.perplexity)
        return (
            f"{self.tuples} different tuples in {self.frames} frames, {100 * self.unknown:.2f} % of these unknown; "
            f"perplexity of the groups {groups}"
        )


class Vocabulary:
    """Labels of tuples of codes: 0 is unknown, the others follow by frequency, of equally frequent ones by codes.

    Args:
        counts: frames of each tuple, whose number is that of its codes as digits.
        entries: of a group, the base of these numbers.
        groups: digits.
    """

    def __init__(self, counts: Counter[int], entries: int, groups: int) -> None:
        ranked = sorted(counts, key=lambda number: (-counts[number], number))
        kept, rare = ranked[: MOST_NAMES - 1], ranked[MOST_NAMES - 1 :]
        if rare:
            log.warning(
                "%d tuples are more than labels have room for: the %d rarest, in %d frames, become %s",
                *(len(ranked), len(rare), sum(counts[number] for number in rare), UNKNOWN),
            )
        self.names = [UNKNOWN, *("-".join(map(str, digits(number, entries, groups))) for number in kept)]
        order = np.argsort(kept)
        self._numbers, self._labels = np.array(kept, dtype=np.int64)[order], order + 1

    def labels(self, numbers: Codes) -> Codes:
        """The label of each tuple of `numbers (T,)`."""
        if not len(self._numbers):
            return np.zeros_like(numbers)
        places = np.minimum(np.searchsorted(self._numbers, numbers), len(self._numbers) - 1)
        return np.where(self._numbers[places] == numbers, self._labels[places], 0)


def digits(number: int, entries: int, groups: int) -> list[int]:
    """The codes of a tuple, first group first."""
    return [number // entries**place % entries for place in reversed(range(groups))]


def make_codes(source: FrameCodes, data: Path, out: Path, nj: int, sets: Sequence[str]) -> dict[str, Usage]:
    """Write the codes of `sets`, train among them, as label files to `out`.

    Returns:
        How each set uses them; also written to `usage.json`.

    Raises:
        SpeechkitError: there is no training set.
    """
    if "train" not in sets:
        raise SpeechkitError(f"{data} has no cuts_train.jsonl.gz, whose codes are the vocabulary; correct --data")
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=out) as store:
        counts, lengths = _stored(_numbers(source, data, "train", nj), store)
        vocabulary = Vocabulary(counts, source.codebook[1], source.codebook[0])
        store.seek(0)
        usages = {"train": _write(source, vocabulary, data, out, "train", _restored(store, lengths))}
    for name in sets:
        if name != "train":
            usages[name] = _write(source, vocabulary, data, out, name, _numbers(source, data, name, nj))
    write_json(out / "usage.json", {name: asdict(usage) for name, usage in usages.items()})
    return usages


def _numbers(source: FrameCodes, data: Path, name: str, nj: int) -> Iterator[Codes]:
    """The tuples `(T,)` of each cut of a set, as numbers."""
    manifest = data / f"cuts_{name}.jsonl.gz"
    count = sum(1 for _ in read_spoken(manifest))
    return map_waveforms(partial(_numbers_of, source), source, read_spoken(manifest), nj, count, f"codes of {name}")


def _numbers_of(source: FrameCodes, waveforms: Waveforms) -> list[Codes]:
    groups, entries = source.codebook
    weights = torch.tensor([entries**place for place in reversed(range(groups))], device=source.device)
    return [(codes * weights).sum(1).cpu().numpy() for codes in source([torch.from_numpy(each) for each in waveforms])]


def _stored(utterances: Iterator[Codes], store: IO[bytes]) -> tuple[Counter[int], list[int]]:
    """Write tuples one after the other; how often each is there, and the lengths of the utterances."""
    counts: Counter[int] = Counter()
    lengths = []
    for numbers in utterances:
        counts.update(numbers.tolist())
        lengths.append(len(numbers))
        store.write(numbers.tobytes())
    return counts, lengths


def _restored(store: IO[bytes], lengths: Sequence[int]) -> Iterator[Codes]:
    for length in lengths:
        yield np.frombuffer(store.read(8 * length), np.int64)


def _write(
    source: FrameCodes, vocabulary: Vocabulary, data: Path, out: Path, name: str, utterances: Iterator[Codes]
) -> Usage:
    """Write the labels of one set."""
    counts: Counter[int] = Counter()
    unknown = 0
    with LabelWriter(out, name, source.frame_rate, vocabulary.names, source.origin) as writer:
        for cut, numbers in zip(read_spoken(data / f"cuts_{name}.jsonl.gz"), utterances, strict=True):
            labels = vocabulary.labels(numbers)
            writer.add(cut.id, labels)
            unknown += int((labels == 0).sum())
            counts.update(numbers.tolist())
    return _usage(counts, unknown, *source.codebook)


def _usage(counts: Counter[int], unknown: int, groups: int, entries: int) -> Usage:
    frames = counts.total()
    shares = np.zeros((groups, entries))
    for number, count in counts.items():
        shares[np.arange(groups), digits(number, entries, groups)] += count / frames
    perplexities = [float(perplexity(torch.from_numpy(row[None]))) for row in shares]
    return Usage(frames, len(counts), unknown / max(1, frames), perplexities)
