"""What `--rescore transformer` adds to recipes, as `--dry-run` shows it."""

import subprocess
from pathlib import Path

import pytest
from dry_run import EGS, commands, value

RECIPES = sorted(path.parent.name for path in EGS.glob("*/run.sh"))


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_trains_the_model_on_the_text_of_the_ngram(recipe: str) -> None:
    found = commands(recipe, "--rescore", "transformer", "--stage", "2", "--stop-stage", "2")
    (neural,) = (command for command in found if command[1] == "lm")
    (ngram,) = (command for command in found if command[1] == "ngram")
    assert value(neural, "--text") == value(ngram, "--text")
    assert Path(value(neural, "--dev-cuts")).name == "cuts_dev.jsonl.gz"
    assert (EGS / recipe / value(neural, "--config")).exists()
    assert not any(command[1] == "lm" for command in commands(recipe, "--stage", "2", "--stop-stage", "2"))


@pytest.mark.parametrize("decode", ["both", "beam"])
def test_weights_go_from_dev_to_test(decode: str) -> None:
    options = ["--decode", decode, "--stage", "7", "--stop-stage", "7"]
    plain, found = (commands("timit", *options, *more) for more in ([], ["--rescore", "transformer"]))
    assert found[: len(plain)] == plain
    dev, test = found[len(plain) :]
    searched = next(command for command in plain if "--sweep" in command)
    assert ("cuts_dev" in value(dev, "--cuts"), "--sweep" in dev) == (True, True)
    assert value(dev, "--weights") == f"{value(searched, '--out')}/weights.json"
    assert ("cuts_test" in value(test, "--cuts"), "--sweep" in test) == (True, False)
    assert value(test, "--weights") == f"{value(dev, '--out')}/weights.json"
    assert value(dev, "--rescore-lm") == value(test, "--rescore-lm") == "data/lang/lm_transformer/final"


def test_greedy_decoding_has_nothing_to_rescore() -> None:
    command = ["bash", str(EGS / "timit/run.sh"), "--rescore", "transformer", "--decode", "greedy"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "take --decode beam, wfst or both" in result.stderr
