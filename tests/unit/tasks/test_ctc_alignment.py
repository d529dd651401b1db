"""Alignment by a model that reads waveforms. (One of features is in test_alignment.py.)"""

from pathlib import Path

import pytest
import torch
from sounds import write_sounds

from speechkit.cli import main
from speechkit.config.load import from_dict
from speechkit.data.labels import LabelFile
from speechkit.data.manifests import read_lines
from speechkit.features.cmvn import Cmvn
from speechkit.tasks.recognizer import CtcConfig, Recognizer
from speechkit.text.lang import make_lang

ENCODER = {
    "extractor": {"dim": 16},
    "transformer": {
        "dim": 24, "layers": 1, "heads": 2, "feed_forward": 32, "position_kernel": 8, "position_groups": 4,
    },
}  # fmt: skip


def test_times_are_those_of_the_frames_of_the_model(tmp_path: Path) -> None:
    """20 ms apart, each 25 ms wide; there are no features and no statistics."""
    torch.manual_seed(0)
    data = write_sounds(tmp_path, train=1)
    recognizer = Recognizer(from_dict(CtcConfig, {"encoder": ENCODER}, "test"), make_lang("char", ["a"]), Cmvn())
    recognizer.save(tmp_path / "model", recognizer.module.state_dict())
    cuts = ["--cuts", str(data / "cuts_dev.jsonl.gz"), "--checkpoint", str(tmp_path / "model")]
    assert (
        main(["align", *cuts, "--out", str(tmp_path / "ali"), "--format", "ctm,labels", "--fsa-engine", "torch"]) == 0
    )
    labels = LabelFile(tmp_path / "ali", "labels_dev_50hz")
    assert labels.frame_rate == 50
    rows = [line.split() for line in (tmp_path / "ali/token_dev.ctm").read_text().splitlines()]
    assert len(rows) == 6  # `a |` of three cuts
    durations = {row["id"]: row["duration"] for row in read_lines(data / "cuts_dev.jsonl.gz")}
    for name, _, start, seconds, *_ in rows:
        assert len(labels[name]) == (round(durations[name] * 16000) - 400) // 320 + 1
        for time in (float(start), float(start) + float(seconds)):
            if 0 < time < durations[name] - 1e-3:
                assert (time - 0.0025) / 0.02 == pytest.approx(round((time - 0.0025) / 0.02), abs=0.06)
