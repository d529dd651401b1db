"""Labels of frames: one number per frame, all utterances in one file of fixed width that is read through memory maps.

`NAME.bin` holds the labels of all utterances end to end as little-endian uint16; `NAME.jsonl` says in its first line
how many frames a second there are, what the labels are called and where they come from, and in each further one where
an utterance's are.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, TextIO

import numpy as np
import numpy.typing as npt

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import atomic_path
from speechkit.data.manifests import read_lines

KIND = np.dtype("<u2")
UNKNOWN = "<unk>"  # the name of what the training set did not have
Labels = npt.NDArray[np.integer]


def label_files(folder: Path, name: str) -> tuple[Path, Path]:
    """The file of labels and its index."""
    return folder / f"{name}.bin", folder / f"{name}.jsonl"


class LabelWriter:
    """Writes the labels of one set; both files appear together when the context ends without an error."""

    def __init__(
        self,
        folder: Path,
        name: str,
        frame_rate: float,
        names: Sequence[str],
        origin: Mapping[str, object] | None = None,
    ) -> None:
        if len(names) > np.iinfo(KIND).max + 1:
            raise SpeechkitError(f"{len(names)} different labels do not fit into 16 bits; use fewer units")
        self._paths, self._files = label_files(folder, name), ExitStack()
        self._head = {"frame_rate": frame_rate, "dtype": KIND.str, "names": list(names), "origin": dict(origin or {})}
        self._frames = 0

    def __enter__(self) -> "LabelWriter":
        binary, index = (self._files.enter_context(atomic_path(path)) for path in self._paths)
        self._binary: BinaryIO = self._files.enter_context(binary.open("wb"))
        self._index: TextIO = self._files.enter_context(index.open("w", encoding="utf-8"))
        self._index.write(json.dumps(self._head, ensure_ascii=False) + "\n")
        return self

    def __exit__(self, *error: object) -> None:
        self._files.__exit__(*error)  # type: ignore[arg-type]

    def add(self, utterance: str, labels: Labels) -> None:
        """Append the labels of one utterance, `(T,)`."""
        self._binary.write(labels.astype(KIND).tobytes())
        row = {"id": utterance, "start": self._frames, "frames": len(labels)}
        self._index.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._frames += len(labels)


class LabelFile(Mapping[str, Labels]):
    """Labels by utterance, read when asked for.

    Attributes:
        frame_rate: frames a second.
        names: what each label is called.
        origin: what the labels were made from: features or model with its hash and layer, number of clusters.

    Raises:
        SpeechkitError: a file is missing or damaged, or the two do not belong together.
    """

    def __init__(self, folder: Path, name: str) -> None:
        binary, index = label_files(folder, name)
        head, *rows = read_lines(index)
        self.frame_rate, self.names = float(head["frame_rate"]), list(head["names"])
        self.origin: dict[str, object] = head.get("origin", {})
        self._places = {row["id"]: (row["start"], row["frames"]) for row in rows}
        frames = sum(count for _, count in self._places.values())
        if not binary.exists() or binary.stat().st_size != frames * KIND.itemsize:
            raise SpeechkitError(f"{binary} does not hold the {frames} labels that {index} lists; write both again")
        self._labels = np.memmap(binary, KIND, "r") if frames else np.zeros(0, KIND)

    def __getitem__(self, utterance: str) -> Labels:
        start, count = self._places[utterance]
        return self._labels[start : start + count]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def every(labels: Labels, factor: int) -> Labels:
    """Labels at a lower rate: of each `factor` frames the middle one's, the earlier of two (window i begins at frame
    i * factor). With a factor of 2, labels of 10 ms frames become those of the 20 ms frames of wav2vec 2.0 and HuBERT,
    whose windows have the same middles."""
    return labels[(factor - 1) // 2 :: factor]
