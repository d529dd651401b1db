"""Frame labels in one file."""

from pathlib import Path

import numpy as np
import pytest

from speechkit.common.errors import SpeechkitError
from speechkit.data.labels import LabelFile, LabelWriter, every, label_files


def write(folder: Path) -> None:
    with LabelWriter(folder, "train_100hz", 100.0, ["sil", "ä", "b"]) as writer:
        writer.add("u1", np.array([0, 1, 1, 2], np.int32))
        writer.add("empty", np.array([], np.int32))
        writer.add("u 2", np.array([2, 0], np.int32))


def test_round_trip(tmp_path: Path) -> None:
    write(tmp_path)
    found = LabelFile(tmp_path, "train_100hz")
    assert (found.frame_rate, found.names) == (100.0, ["sil", "ä", "b"])
    assert {name: labels.tolist() for name, labels in found.items()} == {"u1": [0, 1, 1, 2], "empty": [], "u 2": [2, 0]}
    assert isinstance(found["u1"], np.memmap)
    assert (tmp_path / "train_100hz.bin").stat().st_size == 12


def test_nothing_is_there_when_writing_fails(tmp_path: Path) -> None:
    def fail() -> None:
        with LabelWriter(tmp_path, "x", 100.0, ["a"]) as writer:
            writer.add("u", np.zeros(3, np.int32))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    write(tmp_path)
    binary, _ = label_files(tmp_path, "train_100hz")
    binary.write_bytes(binary.read_bytes()[:-1])
    with pytest.raises(SpeechkitError, match="does not hold the 6 labels"):
        LabelFile(tmp_path, "train_100hz")


def test_too_many_labels(tmp_path: Path) -> None:
    with pytest.raises(SpeechkitError, match="do not fit into 16 bits"):
        LabelWriter(tmp_path, "x", 100.0, [str(number) for number in range(70000)])


def test_the_middle_label() -> None:
    labels = np.arange(7)
    assert every(labels, 1).tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert every(labels, 2).tolist() == [0, 2, 4, 6]  # windows 0, 2, ... of 10 ms have the middles of those of 20 ms
    assert every(labels, 3).tolist() == [1, 4]
    samples = 16000 + 37
    assert len(every(np.zeros(1 + (samples - 400) // 160), 2)) == 1 + (samples - 400) // 320
