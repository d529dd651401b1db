"""What recipes hand to LF-MMI training, without running it."""

import os
import subprocess
from pathlib import Path

import pytest
from dry_run import EGS, commands, of

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


@pytest.mark.parametrize(("options", "aligned"), [((), True), (("--set", "lfmmi.numerator=transcript"), False)])
def test_configurations_with_such_numerators_do_too(options: tuple[str, ...], aligned: bool, tmp_path: Path) -> None:
    config = tmp_path / "wider.yaml"
    base = EGS / "aishell" / "conf" / "ctc-segments.yaml"
    config.write_text(f"base: {base}\nmodel: {{kernel: 7}}\n", encoding="utf-8")
    (training,) = of(commands("aishell", "--config", str(config), *options), "train")
    assert ("--alignments" in training) is aligned
