"""`--sweep` of the recipe shell, and the sweeps that ship: they name options and keys that exist."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from speechkit.config.load import load_config
from speechkit.report.sweep import SweepConfig, as_words
from speechkit.tasks.code_bert import CodeBertConfig
from speechkit.tasks.pretrain import PretrainConfig
from speechkit.tasks.recognizer import CtcConfig
from speechkit.tasks.sweep import Launcher, Sweep
from speechkit.tasks.wav2vec_u import Wav2VecUConfig

ROOT = Path(__file__).parents[2]
SWEEPS = sorted(ROOT.glob("egs/*/conf/sweeps/*.yaml"))
RUN_SH = """#!/usr/bin/env bash
# A recipe of numbers.
. "$(dirname -- "${BASH_SOURCE[0]}")/../../utils/recipe.sh"
labels=100
option labels int:1..100 "percent"
begin "$@"
stage 0 "collect"
step data/fbank --files "${corpus:-none}" -- job data/fbank 0 collect
stage 4 "pre-training"
step "$pretrained" --needs data/fbank --keep -- job "$pretrained" "$seed" "${pretrain_overrides[@]}"
stage 6 "training"
step "$exp" --needs data/fbank --needs "$pretrained" --keep -- job "$exp" "$((labels + seed))" "${overrides[@]}"
stage 8 "scoring"
always --needs "$exp" -- job report 0 "$results"
finish
"""
JOB = """#!/usr/bin/env bash
# job OUT NUMBER WORDS...: make OUT/figure.json
echo "$*" >>calls
mkdir -p -- "$1"
echo "{\\"figure\\": $2}" >"$1/figure.json"
"""
SWEEP = """
title: Numbers
grid:
  labels: [10, 20]
seeds: [0, 2]
pretraining_ignores: [labels]
metrics:
  - {name: figure, file: exp/figure.json, key: figure}
  - {name: start, file: pretrained/figure.json, key: figure}
"""


def executable(path: Path, text: str) -> None:
    """Write a program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def environment(folder: Path) -> dict[str, str]:
    """One in which `speechkit` is this source tree's, wherever the recipe looks for it."""
    executable(folder / "bin/speechkit", f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m speechkit "$@"\n')
    path = os.pathsep.join([str(folder / "bin"), os.environ["PATH"]])
    return {"PATH": path, "HOME": str(folder), "SPEECHKIT_VENV": str(folder)}


def test_a_sweep_of_a_recipe_from_elsewhere(tmp_path: Path) -> None:
    """Called from the folder above, with its paths meant from there."""
    project = tmp_path / "my prøject"
    recipe = project / "egs" / "numbers"
    shutil.copytree(ROOT / "utils", project / "utils")
    executable(recipe / "run.sh", RUN_SH)
    (recipe / "cmd.sh").write_text("nj=2\n")
    (recipe / "path.sh").write_text("")
    (recipe / "conf/sweeps").mkdir(parents=True)
    (recipe / "conf/sweeps/numbers.yaml").write_text(SWEEP)
    (project / "egs/sound").mkdir()
    (project / "egs/sound/a.wav").write_text("sound")
    variables = environment(tmp_path)
    executable(tmp_path / "bin/job", JOB)

    def call(*options: str) -> subprocess.CompletedProcess[str]:
        words = ["numbers/run.sh", "--sweep", "numbers/conf/sweeps/numbers.yaml", "--corpus", "sound", *options]
        return subprocess.run(words, cwd=project / "egs", env=variables, capture_output=True, text=True, check=False)

    result = call("--set", "train.x=1")
    assert result.returncode == 0, result.stderr
    assert "| 10 | 11 ± 1.4 | 1 ± 1.4 | 2 |\n| 20 | 21 ± 1.4 | 1 ± 1.4 | 2 |" in result.stdout
    table = (recipe / "exp/sweeps/numbers/table.md").read_text()
    assert "`egs/numbers/run.sh --sweep numbers/conf/sweeps/numbers.yaml --corpus sound --set train.x=1`" in table
    calls = (recipe / "calls").read_text().splitlines()
    of = "exp/sweeps/numbers"
    assert sorted(calls) == sorted(
        [
            "data/fbank 0 collect",
            *(f"{of}/pretrained/all/seed-{seed}/pretrained {seed}" for seed in (0, 2)),
            *(
                f"{of}/labels={labels}/seed-{seed}/exp {labels + seed} --set train.x=1"
                for labels in (10, 20)
                for seed in (0, 2)
            ),
            *(f"report 0 {of}/labels={labels}/seed-{seed}/RESULTS.md" for labels in (10, 20) for seed in (0, 2)),
        ]
    )
    assert call("--set", "train.x=1").returncode == 0
    assert (recipe / "calls").read_text().splitlines() == calls
    changed = call("--set", "train.x=2")
    assert changed.returncode == 1
    assert "was made with something else: --set was train.x=1, is now train.x=2" in changed.stderr


def test_options_of_the_system_that_the_file_names_are_known() -> None:
    """The recipe alone would take its default system, and refuse them."""
    words = ["./run.sh", "--sweep", "conf/sweeps/bert-asr.yaml", "--dry-run", "--ssl", "exp/hubert", "--ssl-layer", "3"]
    result = subprocess.run(words, cwd=ROOT / "egs" / "aishell", capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    runs = result.stdout.splitlines()
    assert runs
    assert all("--system bert-asr" in run and "--ssl exp/hubert --ssl-layer 3" in run for run in runs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--clusters", "50"], "--clusters is for --system hubert or wav2vec-u, not for fbank"),
        (["--stage", "6"], "--sweep takes no --stage, --stop-stage or --force: its file names the stages"),
        (["--force"], "--sweep takes no --stage"),
        (["--seed", "3"], "'seed' cannot be given: the sweep sets --seed itself; see seeds"),
        (["--labels", "30"], "--labels 30: 'labels' is what the sweep varies"),
        (["--set", "train.max_udpates=3"], "unknown configuration key 'train.max_udpates', did you mean"),
    ],
)
def test_what_does_not_go_with_a_sweep_is_refused(options: list[str], message: str, tmp_path: Path) -> None:
    recipe = ROOT / "egs" / "timit"
    (tmp_path / "s.yaml").write_text(SWEEP)
    words = [recipe / "run.sh", "--sweep", tmp_path / "s.yaml", "--dry-run", *options]
    result = subprocess.run(words, env=environment(tmp_path), capture_output=True, text=True, check=False)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_shipped_sweep_names_options_and_keys_that_exist(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recipe reads its options, the schemas its keys (as the recipe lets them, in a process for each)."""
    config = load_config(SweepConfig, path)
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.setenv("SPEECHKIT_VENV", str(tmp_path))
    monkeypatch.chdir(path.parents[2])
    Sweep(config, tmp_path / "out", Launcher("./run.sh", 1, [{}, {}])).check()
    system = config.options["system"]
    schemas: dict[str, tuple[type, str]] = {
        "set": (Wav2VecUConfig if system == "wav2vec-u" else CtcConfig, f"conf/{system}.yaml"),
        "set-pretrain": (PretrainConfig, f"conf/{system}_pretrain.yaml"),
        "set-bert": (CodeBertConfig, "conf/code-bert.yaml"),
    }
    for choices in config.combinations:
        settings = [*config.options.items(), *(each for choice in choices for each in choice.settings)]
        for setter, (schema, file) in schemas.items():
            values = as_words((key, value) for key, value in settings if key.startswith(f"{setter} "))[1::2]
            if values:
                load_config(schema, Path(file), values)
