"""wav2vec-U as its commands run it: what it learns, what it never reads, resume, collapse, and what decodes it."""

import gzip
import json
import shutil
from pathlib import Path

import pytest
import torch
from unpaired_phones import PHONES, SILENCE, make_data

from speechkit.cli import main
from speechkit.train.checkpoint import load_tensors
from speechkit.train.trainer import Trainer

CONFIG = """
gan:
  generator: {in_dim: 32, kernel: 1}
  discriminator: {dim: 48}
  penalty_weight: 0.5
  smoothness_weight: 0.5
  diversity_weight: 4.0
batch_size: 32
discriminator: {betas: [0.5, 0.98], eps: 1.0e-6, weight_decay: 1.0e-4, schedule: {peak: 5.0e-3, warmup: 0, hold: 1}}
watch: {start: 400}
train:
  max_updates: 2400
  validate_every: 100
  save_every: 100
  log_every: 50
  average_best: 1
  clip_norm: 5.0
  betas: [0.5, 0.98]
  eps: 1.0e-6
  weight_decay: 0.0
  precision: fp32
  schedule: {peak: 1.0e-2, warmup: 0, hold: 1}
"""
SHORT = ("--set", "train.max_updates=12", "--set", "train.validate_every=4", "--set", "train.save_every=3")
# Few updates say little: `start` is behind their end.
QUIET = ("--set", "watch.start=100000")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpaired")
    make_data(folder)
    (folder / "gan.yaml").write_text(CONFIG)
    return folder


@pytest.fixture(autouse=True)
def inside(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data)


def gan(out: str, *more: str, pooled: str = "pooled", seed: int = 0) -> list[str]:
    return ["gan", "--config", "gan.yaml", "--data", pooled, "--text", "text", "--lm", "lm.arpa", "--out", out,
            "--seed", str(seed), *more]  # fmt: skip


def selection(out: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(Path(out, "selection.json").read_text())
    return found


def test_perfect_features_give_the_phones_from_unpaired_text(capsys: pytest.CaptureFixture[str]) -> None:
    """Less than 5 % of phones wrong, chosen without a transcript; the transcripts of dev only measure it."""
    assert main(gan("learned", "--report-errors")) == 0
    found = selection("learned")
    assert found["state"] == "trained"
    assert found["usage"] == 1.0
    assert isinstance(found["error_rate"], float)
    assert found["error_rate"] < 5
    assert "not used" in capsys.readouterr().out
    decode = ["decode", "--checkpoint", "learned/final", "--cuts", "pooled/cuts_dev.jsonl.gz"]
    assert main([*decode, "--method", "greedy", "--out", "decoded"]) == 0
    hypotheses, references = (
        [line.split() for line in Path("decoded", name).read_text().splitlines()] for name in ("hyp.txt", "ref.txt")
    )
    assert {phone for line in hypotheses for phone in line[1:]} == set(PHONES)
    right = sum(a == b for a, b in zip(hypotheses, references, strict=True))
    assert right > len(references) / 3
