"""The convolutional models by the commands: CTC and LF-MMI learn ten utterances by heart, decoding rebuilds them."""

import json
from pathlib import Path

import pytest
import yaml
from in_folder import run
from ten_utterances import CONFIG, make_data, train_command

CONV = {
    "prelu": {"in_dim": 8, "channels": [32, 32], "kernels": [5, 5], "strides": [1, 2], "dropout": 0.0},
    "glu": {
        "in_dim": 8, "channels": [24, 24, 32], "kernels": [5, 4, 1], "strides": [1, 2, 1], "activation": "glu",
        "weight_norm": True, "dropout": 0.0,
    },
}  # fmt: skip


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    make_data(tmp_path / "data")
    lang = ["lang", "--cuts", "data/cuts_train.jsonl.gz", "--unit", "char", "--out", "lang"]
    assert run(tmp_path, *lang) == 0
    return tmp_path


def configure(folder: Path, activation: str, loss: str) -> None:
    config = {**yaml.safe_load(CONFIG), "conv": CONV[activation], "loss": loss}
    config["train"]["schedule"]["peak"] = 1e-2
    (folder / "fbank.yaml").write_text(yaml.safe_dump(config))


@pytest.mark.parametrize(("activation", "loss"), [("prelu", "ctc"), ("glu", "ctc"), ("glu", "lfmmi")])
def test_ten_utterances_are_learnt_by_heart(
    recipe: Path, activation: str, loss: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(recipe, activation, loss)
    assert run(recipe, *train_command("exp")) == 0
    origin = json.loads((recipe / "exp/run.json").read_text())
    assert origin["system"] == ("fbank conv" if loss == "ctc" else "fbank conv lfmmi")
    decode = ["decode", "--checkpoint", "exp/final", "--cuts", "data/cuts_test.jsonl.gz", "--out", "exp/greedy"]
    assert run(recipe, *decode) == 0
    assert run(recipe, "score", "--dir", "exp/greedy", "--lang", "lang") == 0
    assert "%WER 0.00 [ 0 / 30," in capsys.readouterr().out


def test_features_of_another_width_are_refused(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configure(recipe, "prelu", "ctc")
    assert run(recipe, *train_command("exp", "--set", "conv.in_dim=512")) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.endswith("the features have 8 columns, the model reads 512; set conv.in_dim=8")
    assert not (recipe / "exp").exists()
