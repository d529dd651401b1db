"""A share of a training set: nested, reproducible, and the other sets whole."""

from pathlib import Path

import pytest
from lhotse import CutSet, MonoCut, SupervisionSegment

from speechkit.cli import main
from speechkit.data.manifests import read_cuts


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for split, count in (("train", 200), ("dev", 3)):
        cuts = [
            MonoCut(f"{split}{i}", 0, 1 + i % 5, 0, supervisions=[SupervisionSegment(f"{split}{i}", "r", 0, 1 + i % 5)])
            for i in range(count)
        ]
        CutSet.from_cuts(cuts).to_file(folder / f"cuts_{split}.jsonl.gz")
    (folder / "cmvn.safetensors").write_bytes(b"statistics")
    return folder


def subset(data: Path, percent: str, seed: int = 0) -> dict[str, float]:
    out = data.parent / f"{percent}-{seed}"
    assert main(["subset", "--in", str(data), "--out", str(out), "--percent", percent, "--seed", str(seed)]) == 0
    assert (out / "cmvn.safetensors").read_bytes() == b"statistics"
    assert (out / "cuts_dev.jsonl.gz").read_bytes() == (data / "cuts_dev.jsonl.gz").read_bytes()
    assert not (out / "cuts_test.jsonl.gz").exists()
    return {cut.id: cut.duration for cut in read_cuts(out / "cuts_train.jsonl.gz")}


def test_shares_are_of_the_duration_nested_and_in_order(data: Path) -> None:
    ten, thirty, whole = (subset(data, percent) for percent in ("10", "30", "100"))
    assert 60 <= sum(ten.values()) < 65  # of 600 s: the last one drawn goes beyond
    assert 180 <= sum(thirty.values()) < 185
    assert set(ten) < set(thirty) < set(whole)
    assert list(whole) == [f"train{i}" for i in range(200)]
    assert list(thirty) == [name for name in whole if name in thirty]


def test_the_seed_chooses(data: Path) -> None:
    first, second = subset(data, "10"), subset(data, "10", seed=1)
    assert set(first) != set(second)
    assert first == subset(data, "10")


@pytest.mark.parametrize("percent", ["0", "101", "-3"])
def test_impossible_shares_are_refused(data: Path, percent: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["subset", "--in", str(data), "--out", str(data.parent / "x"), "--percent", percent]) == 2
    assert "--percent must be greater than 0" in capsys.readouterr().err


def test_a_folder_without_training_set_is_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "cuts_train.jsonl.gz").unlink()
    assert main(["subset", "--in", str(data), "--out", str(data.parent / "x"), "--percent", "10"]) == 1
    assert "cuts_train.jsonl.gz does not exist" in capsys.readouterr().err
