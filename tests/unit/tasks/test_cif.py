"""Training of the boundary predictor by the command: it learns to count, and refuses what it cannot read."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from in_folder import run
from safetensors.torch import load_file
from spoken_characters import CHARACTERS, Said, write_recognizer, write_set

from speechkit.data.segments import read_segments, write_segments

CONFIG = """
model: {in_dim: 6, dim: 16, strides: [2], dilations: [1, 2], kernel: 3, dropout: 0.0}
batches: {max_duration: 7, workers: 0, buckets: 2, normalisation: global}
train: {max_updates: 100, validate_every: 50, log_every: 50, average_best: 1, schedule: {peak: 1.0e-2, hold: 0.3}}
"""
FRAMES = (8, 10, 12, 15)  # of each character


def babble(count: int, seed: int) -> dict[str, Said]:
    """Utterances of 2 to 8 characters, each another than the one before and of a length of its own, and pauses."""
    rng = np.random.default_rng(seed)
    utterances: dict[str, Said] = {}
    for number in range(count):
        said = [("sil", int(rng.integers(3, 9)))]
        for _ in range(rng.integers(2, 9)):
            others = [place for place, each in enumerate(CHARACTERS) if each != said[-1][0]]
            place = int(rng.choice(others))
            said.append((CHARACTERS[place], FRAMES[place]))
            if rng.random() < 0.2:
                said.append(("sil", int(rng.integers(4, 12))))
        if said[-1][0] != "sil":
            said.append(("sil", int(rng.integers(3, 9))))
        utterances[f"{seed}-{number}"] = said
    return utterances


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets with their segments, and a model in cif."""
    folder = tmp_path_factory.mktemp("récipe f")
    (folder / "cif.yaml").write_text(CONFIG)
    cuts = [str(write_set(folder / "data", name, babble(*of), noise=0.3)) for name, of in SETS.items()]
    assert run(folder, "segments", "--kind", "oracle", "--cuts", *cuts, "--out", "oracle") == 0
    assert run(folder, *command("cif")) == 0
    return folder


SETS = {"train": (60, 0), "dev": (20, 1)}


def command(out: str, *more: str, segments: str = "oracle", data: str = "data") -> list[str]:
    return ["cif", "--config", "cif.yaml", "--data", data, "--segments", segments, "--out", out, *more]


def use(out: str, *more: str, cuts: str = "data/cuts_dev.jsonl.gz") -> list[str]:
    return ["segments", "--kind", "cif", "--checkpoint", "cif/final", "--cuts", cuts, "--out", out, *more]


def error(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The last line with which a command fails."""
    assert run(folder, *arguments) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert not any(line.startswith("Traceback") for line in lines)
    return lines[-1]


def test_numbers_and_boundaries_of_characters_are_learnt(folder: Path) -> None:
    assert run(folder, *use("segments", "--reference", "oracle")) == 0
    figures = json.loads((folder / "segments/quality.json").read_text())["dev"]
    assert (figures["utterances"], figures["missing"]) == (20, 0)
    assert figures["right_count"] >= 95
    assert figures["count_error"] <= 0.05
    assert figures["boundary_ms"] < 20
    assert figures["f1_50_ms"] > 90
    found = read_segments(folder / "segments/segments_dev.jsonl.gz")
    for each in found.values():
        assert (np.diff(each.ravel()) >= 0).all()


def test_the_training_prints_and_records_what_it_reached(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, *command("cif")) == 0  # finished before: says so again
    assert capsys.readouterr().out.startswith("dev: ")
    record = json.loads((folder / "cif/run.json").read_text())
    assert (record["num_dropped"], record["system"]) == (0, "cif cif")
    rows = [json.loads(line) for line in (folder / "cif/log.jsonl").read_text().splitlines()]
    last = [row for row in rows if row["kind"] == "dev"][-1]
    assert {"loss", "right_count", "count_error", "boundary_ms"} <= last.keys()


def test_the_same_seed_gives_the_same_weights_and_an_interrupted_training_too(folder: Path) -> None:
    few = ["--set", "train.max_updates=6", "--set", "train.save_every=3"]
    assert run(folder, *command("first", *few)) == 0
    shutil.copytree(folder / "first", folder / "second")
    shutil.rmtree(folder / "second/final")
    shutil.rmtree(folder / "second/checkpoints/update-00000006")
    assert run(folder, *command("second", *few)) == 0
    first, second = (load_file(folder / name / "final/model.safetensors") for name in ("first", "second"))
    assert all(each.equal(second[name]) for name, each in first.items())


def test_utterances_without_segments_are_left_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = read_segments(folder / "oracle/segments_train.jsonl.gz")
    known.pop("0-3")
    known["0-4"] = np.zeros((1000, 2))
    write_segments(folder / "fewer/segments_train.jsonl.gz", known.items())  # type: ignore[arg-type]
    shutil.copy(folder / "oracle/segments_dev.jsonl.gz", folder / "fewer")
    assert run(folder, *command("fewer-exp", "--set", "train.max_updates=1", segments="fewer")) == 0
    said = capsys.readouterr().err
    assert "left out 1 utterances without segments in fewer: 0-3" in said
    assert "left out 1 utterances with more characters than frames: 0-4" in said
    assert json.loads((folder / "fewer-exp/run.json").read_text())["num_dropped"] == 2


def test_bad_input_of_a_training(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def problem(*arguments: str) -> str:
        return error(folder, capsys, *arguments)

    assert "nowhere/segments_train.jsonl.gz does not exist" in problem(*command("no", segments="nowhere"))
    others = folder / "others"
    write_segments(others / "segments_train.jsonl.gz", [("x", [(0.0, 1.0)])])
    shutil.copy(folder / "oracle/segments_dev.jsonl.gz", others)
    assert "segments_train.jsonl.gz has no usable segments of the cuts in data" in problem(
        *command("no", segments="others")
    )
    (folder / "void").mkdir()
    for name in ("train", "dev"):
        (folder / f"void/segments_{name}.jsonl.gz").write_bytes(b"")
    assert "segments_train.jsonl.gz holds no segments" in problem(*command("no", segments="void"))
    wide = ["--set", "model.in_dim=80"]
    assert "features of 6 columns, the model reads 80; pass other cuts, or train with model.in_dim=6" in problem(
        *command("no", *wide)
    )
    assert not (folder / "no").exists()


def test_bad_input_of_its_use(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_recognizer(folder / "ctc")
    arguments = use("no")
    arguments[arguments.index("cif/final")] = "ctc"
    assert "ctc is not a boundary predictor" in error(folder, capsys, *arguments)
    document = json.loads((folder / "cif/final/task.json").read_text())
    shutil.copytree(folder / "cif/final", folder / "slow")
    (folder / "slow/task.json").write_text(json.dumps({**document, "frame_shift": 0.02}))
    arguments[arguments.index("ctc")] = "slow"
    assert "has features every 10 ms, the model reads them every 20 ms" in error(folder, capsys, *arguments)
    (folder / "cuts_none.jsonl.gz").write_bytes(b"")
    shutil.copy(folder / "data/cmvn.safetensors", folder)
    assert "it holds no cut" in error(folder, capsys, *use("no", cuts="cuts_none.jsonl.gz"))
    assert not (folder / "no").exists()
