"""What recipes hand to LF-MMI training, without running it."""

import os
import subprocess
from pathlib import Path

import pytest

RECIPES = sorted((Path(__file__).parents[2] / "egs").glob("*/run.sh"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.parent.name)
@pytest.mark.parametrize("numerator", ["transcript", "alignment"])
def test_numerators_from_alignments_take_those_of_stage_3(recipe: Path, numerator: str, tmp_path: Path) -> None:
    options = ["--dry-run", "--exp", str(tmp_path / "exp"), "--set", "loss=lfmmi"]
    command = ["env", f"PATH={os.defpath}", str(recipe), *options, "--set", f"lfmmi.numerator={numerator}"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    training = next(line for line in result.stdout.splitlines() if "speechkit train" in line)
    assert f"--set loss=lfmmi --set lfmmi.numerator={numerator}" in training
    assert "--fsa-engine auto" in training
    assert ("/ali/cuts_train_ali.jsonl.gz" in training) == (numerator == "alignment")
