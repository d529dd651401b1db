"""Sweeps of a stand-in for a recipe that counts its runs: what runs, what is skipped, failures, kills."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from in_folder import run

ROOT = Path(__file__).parents[3]
SWEEP = """
title: Stand-in
options: {decode: greedy}
grid:
  set-pretrain width: [1, 2]
  labels: [10, 30]
seeds: [0, 1]
metrics: [{name: PER, file: exp/result.json, key: rate}]
"""
# Notes each call in `calls`. Stages 0 to 3 make data; 4 and 5 pretrained/model, 6 to 8 exp/result.json, unless there.
RECIPE = """#!/usr/bin/env bash
set -eu
declare -A o=([labels]=0)
dry= value= call=$*
while (($# > 0)); do
    case $1 in
        --dry-run) dry=1; shift ;;
        --set | --set-pretrain) value=${2#*=}; shift 2 ;;
        --stage | --stop-stage | --exp | --pretrained | --results | --seed | --labels | --decode | --nj | --corpus)
            o[${1#--}]=$2; shift 2 ;;
        *) echo "run.sh: unknown option '$1'" >&2; exit 2 ;;
    esac
done
in_range() { ((o[stage] <= $1 && $1 <= o[stop-stage])); }
if [[ $dry ]]; then
    if in_range 1; then
        if [[ $(cat data.txt) == "${DATA_OF-${o[labels]}}"* ]]; then s="up to date"; else s="would run (labels)"; fi
        printf '  data.txt: %s\\n      output  data.txt\\n' "$s"
    fi
    if in_range 4; then
        if [[ -e ${o[pretrained]}/model-${PRETRAINED_OF-} ]]; then s="up to date"; else s="would run (new)"; fi
        printf '  x: %s\\n      input   data.txt\\n      output  %s\\n' "$s" "${WRITES-${o[pretrained]}}"
    fi
    if in_range 6; then
        printf '  x: would run\\n      input   data.txt\\n      input   %s\\n' "${o[pretrained]}"
        printf '      output  %s\\n' "${o[exp]}"
    fi
    exit 0
fi
echo "$call" >>calls
echo "threads ${OMP_NUM_THREADS-} launcher ${LAUNCHER-}"
if in_range 0; then
    echo "shared ${o[labels]}" >>work
    if [[ ! -e data.txt ]]; then echo "${DATA_OF-${o[labels]}}" >data.txt; fi
fi
if in_range 4 && [[ ! -e ${o[pretrained]}/model- ]]; then
    echo "pretrain $value ${o[seed]}" >>work
    mkdir -p "${o[pretrained]}"
    echo "$value" >"${o[pretrained]}/model-"
fi
if in_range 6 && [[ ! -e ${o[exp]}/result.json ]]; then
    echo "train $value ${o[labels]} ${o[seed]}" >>work
    if [[ "$value ${o[labels]} ${o[seed]}" == "${BLOCK_AT-}" ]]; then echo >started; read -r _ <gate; fi
    if [[ "$value ${o[labels]}" == "${FAIL_AT-}" ]]; then echo "the sky fell" >&2; exit 3; fi
    mkdir -p "${o[exp]}"
    rate=$(($(cat "${o[pretrained]}/model-") * o[labels] + 2 * o[seed]))
    echo "{\\"rate\\": $rate}" >"${o[exp]}/result.json"
fi
"""
ALL = [f"train {width} {labels} {seed}" for width in (1, 2) for labels in (10, 30) for seed in (0, 1)]
PRETRAINED = [f"pretrain {width} {seed}" for width in (1, 2) for seed in (0, 1)]


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "my récipe"
    folder.mkdir()
    (folder / "run.sh").write_text(RECIPE)
    (folder / "run.sh").chmod(0o755)
    (folder / "s.yaml").write_text(SWEEP)
    monkeypatch.setenv("DATA_OF", "all")
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # pictures take their time
    return folder


def sweep(folder: Path, *options: str) -> int:
    return run(folder, "sweep", "--config", "s.yaml", *options)


def work(folder: Path) -> list[str]:
    """What was done since the last call of this."""
    lines = (folder / "work").read_text().splitlines()
    (folder / "work").write_text("")
    return lines


def table(folder: Path) -> list[str]:
    text = (folder / "exp/sweeps/s/table.md").read_text().split("## Runs")[0]
    return [line for line in text.splitlines() if line.startswith("|")][2:]


MEANS = [
    "| 1 | 10 | 11 ± 1.4 | 2 |",
    "| 1 | 30 | 31 ± 1.4 | 2 |",
    "| 2 | 10 | 21 ± 1.4 | 2 |",
    "| 2 | 30 | 61 ± 1.4 | 2 |",
]


def test_every_point_runs_once_and_not_again(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep(recipe, "--nj", "4", "--jobs", "2", "--given=--corpus", "--given=/timit") == 0
    done = work(recipe)
    assert done[:2] == ["shared 10", "shared 30"]
    assert sorted(each for each in done if each.startswith("train")) == ALL
    assert len(done) == 2 + 8 + 8
    assert table(recipe) == MEANS
    said = capsys.readouterr()
    assert "| 2 | 30 | 61 ± 1.4 | 2 |" in said.out
    assert "no picture without matplotlib; run: " in said.err
    calls = (recipe / "calls").read_text().splitlines()
    point = "exp/sweeps/s/width=2,labels=30/seed-1"
    assert (
        "--stage 4 --stop-stage 8 --decode greedy --corpus /timit --set-pretrain width=2 --labels 30 --seed 1 --exp "
        f"{point}/exp --pretrained {point}/pretrained --results {point}/RESULTS.md --nj 2"
    ) in calls
    assert "threads 2" in (recipe / point / "run.log").read_text()
    assert sweep(recipe, "--nj", "1", "--given=--corpus", "--given=/timit") == 0
    assert work(recipe) == ["shared 10", "shared 30"]  # stages 0 to 3 look for themselves what is up to date


def test_points_run_again_when_their_inputs_or_options_change(recipe: Path) -> None:
    assert sweep(recipe) == 0
    work(recipe)
    for result in recipe.glob("exp/sweeps/s/*/*/exp/result.json"):
        result.unlink()
    (recipe / "data.txt").write_text("all \n")
    assert sweep(recipe) == 0
    assert sorted(work(recipe))[2:] == ALL
    (recipe / "s.yaml").write_text(SWEEP.replace("[10, 30]", "[10, 30, 50]"))
    assert sweep(recipe) == 0
    assert [each for each in work(recipe) if each.startswith("train")] == [
        "train 1 50 0", "train 1 50 1", "train 2 50 0", "train 2 50 1",
    ]  # fmt: skip


def test_a_failing_point_is_told_with_its_log_and_the_others_go_on(
    recipe: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIL_AT", "1 30")
    assert sweep(recipe) == 1
    assert sorted(each for each in work(recipe) if each.startswith("train")) == ALL
    said = capsys.readouterr().err
    assert (
        "width=1, labels=30, seed 1: failed with code 3; last lines of exp/sweeps/s/width=1,labels=30/seed-1/run"
        in said
    )
    assert "    the sky fell" in said
    assert said.splitlines()[-1].endswith(
        "2 of 8 points have no result; failed: width=1, labels=30, seed 0; width=1, labels=30, seed 1; once that is "
        "mended, the same command goes on from here"
    )
    assert table(recipe) == [MEANS[0], "| 1 | 30 | - | 0 of 2 |", *MEANS[2:]]
    monkeypatch.delenv("FAIL_AT")
    assert sweep(recipe) == 0
    assert work(recipe)[2:] == ["train 1 30 0", "train 1 30 1"]
    assert table(recipe) == MEANS


def test_a_point_without_its_figure_has_failed(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (recipe / "s.yaml").write_text(SWEEP.replace("key: rate", "key: rat"))
    assert sweep(recipe) == 1
    assert "result.json has no 'rat', did you mean 'rate'?; correct metrics.key" in capsys.readouterr().err


def test_a_killed_sweep_goes_on_and_waits_for_the_run_that_outlived_it(recipe: Path) -> None:
    for name in ("started", "gate"):
        os.mkfifo(recipe / name)
    command = [sys.executable, "-m", "speechkit", "sweep", "--config", "s.yaml", "--jobs", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    blocked = environment | {"BLOCK_AT": "1 30 0"}
    killed = subprocess.Popen(command, cwd=recipe, env=blocked, stderr=subprocess.DEVNULL)
    (recipe / "started").read_text()  # the third point is at work
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    again = subprocess.Popen(command, cwd=recipe, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    (recipe / "gate").write_text("go on\n")
    assert again.wait() == 0
    assert sorted(each for each in work(recipe) if each.startswith("train")) == ALL  # none of them twice
    assert table(recipe) == MEANS


def test_one_pretraining_for_points_that_it_does_not_depend_on(recipe: Path) -> None:
    (recipe / "s.yaml").write_text(SWEEP + "pretraining_ignores: [labels]\n")
    assert sweep(recipe, "--nj", "2") == 0
    done = work(recipe)
    assert sorted(done[2:6]) == PRETRAINED
    assert sorted(done[6:]) == ALL
    assert table(recipe) == MEANS
    assert sweep(recipe, "--nj", "2") == 0
    assert work(recipe) == ["shared 10", "shared 30"]


def test_a_pretraining_that_does_depend_on_them_is_refused(
    recipe: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRETRAINED_OF", "labels")
    (recipe / "s.yaml").write_text(SWEEP + "pretraining_ignores: [labels]\n")
    assert sweep(recipe) == 1
    assert "makes another pre-training: take it out of pretraining_ignores" in capsys.readouterr().err
    assert not [each for each in work(recipe) if each.startswith("train")]


def test_points_that_need_other_data_in_one_place_are_refused(
    recipe: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATA_OF")
    assert sweep(recipe) == 1
    assert "stages 0 to 3 --labels 30: data.txt is not up to date after all were run" in capsys.readouterr().err
    assert work(recipe) == ["shared 10", "shared 30"]


def test_points_that_write_outside_of_their_folders_are_refused(
    recipe: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WRITES", "data/codes")
    assert sweep(recipe) == 1
    assert "stages 4 to 8 make data/codes, which is not below exp/sweeps/s" in capsys.readouterr().err
    assert "train" not in " ".join(work(recipe))


def test_options_that_the_recipe_does_not_know_are_refused_before_anything_runs(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (recipe / "s.yaml").write_text(SWEEP.replace("labels:", "lables:"))
    assert sweep(recipe) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("--lables 10: run.sh: unknown option '--lables'")
    assert not (recipe / "calls").exists()
    assert not (recipe / "exp").exists()


def test_a_dry_run_lists_the_calls_and_runs_nothing(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep(recipe, "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 8
    assert lines[2].startswith("width=1, labels=10, seed 0: ./run.sh --stage 4 --stop-stage 8 --decode greedy")
    assert sorted(each.name for each in recipe.iterdir()) == ["run.sh", "s.yaml"]


def test_a_launcher_stands_before_each_call(recipe: Path) -> None:
    (recipe / "srun").write_text('#!/usr/bin/env bash\nexport LAUNCHER=$1\nexec "${@:2}"\n')
    (recipe / "srun").chmod(0o755)
    assert sweep(recipe, "--nj", "3", "--launch=./srun", "--launch=--gpus=1") == 0
    assert sorted(each for each in work(recipe) if each.startswith("train")) == ALL
    said = (recipe / "exp/sweeps/s/width=1,labels=10/seed-0/run.log").read_text()
    assert "launcher --gpus=1" in said
    assert all(" --nj 3" in call for call in (recipe / "calls").read_text().splitlines())
