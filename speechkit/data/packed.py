"""Sequences of a whole set end to end in one file, of which a training reads any through a memory map.

`NAME.values` holds the items of all sequences, `NAME.ends` the place after each one's last item as int64, `NAME.json`
what the items are and what they were made of; the last is written last.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import atomic_path, read_json, write_json
from speechkit.data.manifests import read_lines

Array = npt.NDArray[Any]


def origin_of(path: Path) -> list[int]:
    """What tells a file from another: its size in bytes and its time."""
    state = path.stat()
    return [state.st_size, state.st_mtime_ns]


def write_packed(folder: Path, name: str, sequences: Iterable[Array], origin: Any) -> None:
    """Write sequences `(T,)` or `(T, C)` of one type, unless those of this `origin` are there.

    Raises:
        SpeechkitError: no sequences, or of different widths.
    """
    document = folder / f"{name}.json"
    if document.exists() and read_json(document)["origin"] == origin:
        return
    iterator = iter(sequences)
    first = next(iterator, None)
    if first is None:
        raise SpeechkitError(f"there is nothing for {folder / name}; check the step that makes it")
    count, end = 0, 0
    with (
        atomic_path(folder / f"{name}.values") as binary,
        atomic_path(folder / f"{name}.ends") as index,
        binary.open("wb") as values,
        index.open("wb") as ends,
    ):
        for each in itertools.chain([first], iterator):
            if each.shape[1:] != first.shape[1:]:
                raise SpeechkitError(f"{folder / name}: sequence {count + 1} is {each.shape[1:]} wide, not as others")
            values.write(np.ascontiguousarray(each, first.dtype).tobytes())
            count, end = count + 1, end + len(each)
            ends.write(end.to_bytes(8, "little"))
    width = list(first.shape[1:])
    write_json(document, {"origin": origin, "dtype": first.dtype.str, "width": width, "sequences": count, "items": end})


class PackedSequences:
    """What `write_packed` wrote.

    Raises:
        SpeechkitError: a file is missing, or the three do not belong together.
    """

    def __init__(self, folder: Path, name: str) -> None:
        about = read_json(folder / f"{name}.json")
        self.width: list[int] = about["width"]
        shape = (about["items"], *self.width)
        self._values = _mapped(folder / f"{name}.values", np.dtype(about["dtype"]), shape)
        self._ends = _mapped(folder / f"{name}.ends", np.dtype("<i8"), (about["sequences"],))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, number: int) -> Array:
        found: Array = self._values[int(self._ends[number - 1]) if number else 0 : int(self._ends[number])]
        return found

    def __iter__(self) -> Iterator[Array]:
        return (self[number] for number in range(len(self)))

    def lengths(self) -> npt.NDArray[np.int64]:
        """Items of each sequence."""
        return np.diff(self._ends, prepend=0)

    def padded(self, numbers: Sequence[int], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Some sequences `(N, T, ...)`, zero on padding, and their lengths `(N,)`."""
        tensors = [torch.from_numpy(np.array(self[each])).to(dtype) for each in numbers]
        return pad_sequence(tensors, batch_first=True), torch.tensor([len(each) for each in tensors])


def _mapped(path: Path, kind: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    if not path.exists() or path.stat().st_size != kind.itemsize * int(np.prod(shape)):
        raise SpeechkitError(
            f"{path} does not hold the {shape} numbers it should; delete {path.parent}, then run again"
        )
    return np.memmap(path, kind, "r", shape=shape)


def features_without_transcripts(cuts: Path) -> Iterator[tuple[str, Array]]:
    """Ids and stored features `(T, C)` of cuts, whose supervisions are dropped before anything can look at them."""
    from lhotse.serialization import deserialize_item

    from speechkit.data.batches import stored_features

    for row in read_lines(cuts):
        cut = deserialize_item({**row, "supervisions": []})
        (features,) = stored_features([cut])
        yield cut.id, features.numpy().astype(np.float32)
