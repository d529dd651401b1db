"""utils/recipe.sh through a small recipe of its own: options, stages, marks, failures."""

import fcntl
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORPUS = ("--corpus", "the cörpus")
STEPS = ["data/text", "data/feats", "exp/fbank", "exp/fbank/decode"]
SCORING = ["exp/fbank/score", "report"]
RUN_SH = """#!/usr/bin/env bash
# A recipe of copies.
. "$(dirname -- "${BASH_SOURCE[0]}")/../../utils/recipe.sh"
times=1
option times int:1..9 "how often"
begin "$@"

stage 0 "collect"
step data/text --files "${corpus:-none}" -- job data/text words --in "$corpus" --times "$times"
stage 1 "features"
step data/feats --needs data/text --needs conf/feats.yaml -- job data/feats words --in data/text --nj "$nj"
system_stages
stage 7 "decoding"
step "$exp/decode" --needs "$exp/final" --needs data/feats -- job "$exp/decode" hyp --from "$exp"
stage 8 "scoring"
always --needs "$exp/decode" -- job "$exp/score" score
always -- job report table
finish
"""
SYSTEM_SH = """
stage 6 "training"
step "$exp" --needs data/feats --keep -- job "$exp" final --seed "$seed" "${overrides[@]}"
"""
JOB = """#!/usr/bin/env bash
# job OUT FILE WORDS...: make OUT/FILE and note the call; $FAIL_IN names an output to fail at, with code $FAIL_CODE.
echo "$*" >>calls
mkdir -p -- "$1"
echo "log of $1" >>"$SPEECHKIT_LOG"
if [[ $1 == "${FAIL_IN-}" ]]; then
    echo "job: $1 is bad" >&2
    exit "${FAIL_CODE-1}"
fi
echo "$*" >"$1/$2"
if [[ $2 == score ]]; then echo "%PER 12.00 [ 3 / 25, 1 ins, 1 del, 1 sub ] $1"; fi
"""


SPEECHKIT = f"""#!/bin/sh
PYTHONPATH="{ROOT}" exec "{sys.executable}" -m speechkit "$@"
"""


@dataclass
class Recipe:
    """The recipe's folder, and how to call it."""

    folder: Path
    environment: dict[str, str]
    calls_seen: int = field(default=0)

    def __call__(self, *options: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.folder / "run.sh"), *options],
            cwd=cwd or self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def new_calls(self) -> list[str]:
        """Outputs of the jobs since the last call of this."""
        calls = self.folder / "calls"
        lines = calls.read_text(encoding="utf-8").splitlines() if calls.exists() else []
        new, self.calls_seen = lines[self.calls_seen :], len(lines)
        return [line.split(" ")[0] for line in new]


def executable(path: Path, text: str) -> None:
    """Write a program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """A recipe below a path with a space and non-ASCII letters, with its corpus beside it."""
    project = tmp_path / "my prøject ünï"
    folder = project / "egs" / "cøpy cat"
    shutil.copytree(ROOT / "utils", project / "utils")
    (project / "utils" / "systems" / "fbank.sh").write_text(SYSTEM_SH, encoding="utf-8")
    executable(folder / "run.sh", RUN_SH)
    executable(project / "bin" / "job", JOB)
    executable(project / "bin" / "speechkit", SPEECHKIT)
    (folder / "path.sh").write_text("echo environment >>environment\n", encoding="utf-8")
    (folder / "cmd.sh").write_text("nj=1\n", encoding="utf-8")
    (folder / "conf").mkdir()
    (folder / "conf" / "feats.yaml").write_text("num_bins: 80\n", encoding="utf-8")
    (folder / "the cörpus").mkdir()
    (folder / "the cörpus" / "ä b.wav").write_text("sound", encoding="utf-8")
    path = os.pathsep.join([str(project / "bin"), os.environ["PATH"]])
    return Recipe(folder, {"PATH": path, "HOME": str(tmp_path)})


@pytest.fixture
def finished(recipe: Recipe) -> Recipe:
    """The recipe after a full run."""
    result = recipe(*CORPUS)
    assert result.returncode == 0, result.stderr
    assert recipe.new_calls() == STEPS + SCORING
    return recipe


def test_bad_input_leaves_the_older_output_as_it_was(finished: Recipe) -> None:
    failed = finished(*CORPUS, "--times", "2", FAIL_IN="data/text", FAIL_CODE="1")
    assert failed.returncode == 1
    assert finished.new_calls() == ["data/text"]
    again = finished(*CORPUS)
    assert again.returncode == 0, again.stderr
    assert finished.new_calls() == SCORING


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--stgae", "3"], "unknown option '--stgae', did you mean '--stage'?"),
        (["--stgae=3"], "unknown option '--stgae', did you mean '--stage'?"),
        (["-x"], "unknown option '-x'"),
        (["--$(touch bad)", "1"], "unknown option '--$(touch bad)'"),
        (["--stage"], "option --stage needs a value"),
        (["--stage", "--force"], "option --stage needs a value"),
        (["--seed="], "option --seed needs a value"),
        (["--force=yes"], "option --force takes no value"),
        (["--stage", "9"], "--stage: '9' is not a whole number from 0 to 8"),
        (["--stage", "3x"], "--stage: '3x' is not a whole number"),
        (["--stage", "1+1"], "--stage: '1+1' is not a whole number"),
        (["--seed", "-1"], "--seed: '-1' is not a whole number of at least 0"),
        (["--nj", "0"], "--nj: '0' is not a whole number of at least 1"),
        (["--stage", "3", "--stop-stage", "2"], "--stop-stage 2 lies before --stage 3"),
        (["--system", "fbnak"], "--system: unknown 'fbnak', did you mean 'fbank'?"),
        (["--decode", "greedy,beam"], "--decode: unknown 'greedy,beam'"),
        (["--corpus", "nowhere"], "--corpus: there is no folder nowhere"),
        (["--config", "conf"], "--config: there is no file conf"),
        (["--set", "rate"], "--set takes key=value, not 'rate'"),
        (["3"], "unexpected argument '3'"),
        (["--"], "unexpected argument '--'"),
        (["--times", "10"], "--times: '10' is not a whole number from 1 to 9"),
    ],
)
def test_bad_option_is_one_line_and_code_2_before_anything_is_done(
    recipe: Recipe, options: list[str], message: str
) -> None:
    before = sorted(recipe.folder.iterdir())
    result = recipe(*options)
    assert result.returncode == 2
    assert result.stderr.startswith(f"run.sh: {message}")
    assert result.stderr.count("\n") == 1
    assert sorted(recipe.folder.iterdir()) == before


def test_help_tells_options_with_defaults_and_stages_at_once(recipe: Recipe) -> None:
    result = recipe("--nonsense", "--help")
    assert result.returncode == 0
    assert "A recipe of copies." in result.stdout
    assert "  --times N                    how often (default 1)" in result.stdout
    assert "  6  training\n  7  decoding\n" in result.stdout
    assert not (recipe.folder / "environment").exists()


def test_values_are_taken_literally(recipe: Recipe) -> None:
    values = ["a=$(touch bad)", "b=`touch bad`;c", 'd="x" y*']
    result = recipe(*CORPUS, "--seed", "007", *(word for value in values for word in ("--set", value)))
    assert result.returncode == 0, result.stderr
    line = (recipe.folder / "exp/fbank-seed7/final").read_text(encoding="utf-8")
    assert line == f"exp/fbank-seed7 final --seed 7 {' '.join(f'--set {value}' for value in values)}\n"
    assert not (recipe.folder / "bad").exists()


def test_second_run_skips_all_but_scoring_and_ends_with_the_error_rate(finished: Recipe) -> None:
    result = finished(*CORPUS)
    assert finished.new_calls() == SCORING
    assert "stage 1: data/feats is up to date" in result.stdout
    assert result.stdout.splitlines()[-1] == "%PER 12.00 [ 3 / 25, 1 ins, 1 del, 1 sub ] exp/fbank/score"


def test_paths_are_meant_from_where_the_user_is(recipe: Recipe, tmp_path: Path) -> None:
    result = recipe(
        "--corpus", str(recipe.folder.relative_to(tmp_path) / "the cörpus"), "--stop-stage", "1", cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert (recipe.folder / "data/feats/words").exists()
    assert recipe.new_calls() == STEPS[:2]
    recipe(*CORPUS, "--stop-stage", "1")
    assert recipe.new_calls() == []


def test_changed_option_runs_again_and_training_says_why_it_does_not(finished: Recipe) -> None:
    result = finished(*CORPUS, "--times", "2")
    assert "making data/text (--times was 1, is now 2)" in result.stdout
    assert finished.new_calls() == ["data/text", "data/feats"]
    assert result.returncode == 1
    assert "stage 6: exp/fbank was made with something else: data/feats has changed" in result.stderr
    assert "--force" in result.stderr
    assert "--exp" in result.stderr


def test_more_processes_change_nothing(finished: Recipe) -> None:
    finished(*CORPUS, "--nj", "2")
    assert finished.new_calls() == SCORING


def test_training_beside_and_training_again(finished: Recipe) -> None:
    changed = (*CORPUS, "--set", "train.x=1")
    assert finished(*changed).returncode == 1
    assert finished(*changed, "--exp", "exp/other values").returncode == 0
    assert finished.new_calls() == ["exp/other", "exp/other", "exp/other", "report"]
    assert finished(*changed, "--stage", "6", "--force").returncode == 0
    assert finished.new_calls() == [*STEPS[2:], *SCORING]


def test_another_seed_trains_beside_on_the_same_data(finished: Recipe) -> None:
    assert finished(*CORPUS, "--seed", "1").returncode == 0
    beside = "exp/fbank-seed1"
    assert finished.new_calls() == [beside, f"{beside}/decode", f"{beside}/score", "report"]
    finished(*CORPUS)
    assert finished.new_calls() == SCORING


def test_changed_file_of_the_corpus_is_noticed(finished: Recipe) -> None:
    (finished.folder / "the cörpus" / "ä b.wav").write_text("", encoding="utf-8")
    finished(*CORPUS, "--stop-stage", "1")
    assert finished.new_calls() == STEPS[:2]


def test_force_redoes_only_the_chosen_stages(finished: Recipe) -> None:
    finished(*CORPUS, "--stage", "1", "--stop-stage", "1", "--force")
    assert finished.new_calls() == ["data/feats"]


def test_stage_7_asked_for_decodes_again_and_nothing_else(finished: Recipe) -> None:
    result = finished("--stage", "7", "--stop-stage", "8")
    assert result.returncode == 0, result.stderr
    assert finished.new_calls() == ["exp/fbank/decode", *SCORING]


@pytest.mark.parametrize(
    ("stage", "missing", "maker"), [("1", "data/text", 0), ("6", "data/feats", 1), ("7", "exp/fbank/final", 6)]
)
def test_stage_before_its_inputs_names_the_stage_that_makes_them(
    recipe: Recipe, stage: str, missing: str, maker: int
) -> None:
    result = recipe("--stage", stage)
    assert result.returncode == 1
    assert (
        result.stderr
        == f"run.sh: stage {stage}: {missing} is missing: run stage {maker} first (./run.sh --stage {maker})\n"
    )
    assert recipe.new_calls() == []


def test_failed_step_satisfies_nobody_and_runs_again(recipe: Recipe) -> None:
    failed = recipe(*CORPUS, FAIL_IN="data/feats", FAIL_CODE="1")
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[0] == "job: data/feats is bad"
    assert "stage 1 failed with code 1: job data/feats" in failed.stderr
    assert "log of" not in failed.stderr
    assert "data/feats is not finished: run stage 1 first" in recipe("--stage", "6").stderr
    recipe.new_calls()
    assert recipe(*CORPUS).returncode == 0
    assert recipe.new_calls() == STEPS[1:] + SCORING


def test_crash_shows_the_log_and_keeps_the_code(recipe: Recipe) -> None:
    result = recipe(*CORPUS, FAIL_IN="data/feats", FAIL_CODE="137")
    assert result.returncode == 137
    assert "log of data/feats" in result.stderr
    assert "perhaps for want of memory" in result.stderr
    assert "(log: data/log/1-feats.log)" in result.stderr


def test_failing_scoring_is_told_once(recipe: Recipe) -> None:
    result = recipe(*CORPUS, FAIL_IN="exp/fbank/score", FAIL_CODE="3")
    assert result.returncode == 3
    assert result.stderr.count("stage 8 failed") == 1


def test_dry_run_lists_and_changes_nothing(recipe: Recipe) -> None:
    before = sorted(recipe.folder.iterdir())
    result = recipe(*CORPUS, "--dry-run")
    assert result.returncode == 0, result.stderr
    assert sorted(recipe.folder.iterdir()) == before
    for line in (
        "== stage 1: features",
        "  data/feats: would run (not made yet)",
        "      input   data/text",
        "      output  data/feats",
    ):
        assert line in result.stdout.splitlines()


def test_dry_run_foresees_what_a_change_leads_to(finished: Recipe) -> None:
    assert "would run" not in finished(*CORPUS, "--dry-run").stdout
    plan = finished(*CORPUS, "--dry-run", "--times", "2").stdout
    assert "data/text: would run (--times was 1, is now 2)" in plan
    assert "data/feats: would run (data/text has changed)" in plan
    assert "exp/fbank: would stop, it is kept although data/feats has changed" in plan
    assert finished.new_calls() == []


def test_dry_run_without_environment(recipe: Recipe) -> None:
    (recipe.folder.parents[1] / "bin" / "speechkit").unlink()
    result = recipe(
        *CORPUS, "--dry-run", PATH=os.pathsep.join([str(recipe.folder.parents[1] / "bin"), "/usr/bin", "/bin"])
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("would run (not made yet)") == 4


def test_output_that_another_run_is_making(recipe: Recipe) -> None:
    (recipe.folder / "data").mkdir()
    with (recipe.folder / "data" / ".text.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = recipe(*CORPUS)
    assert result.returncode == 1
    assert result.stderr == "run.sh: stage 0: another run is making data/text: wait for it or stop it\n"


def test_stages_that_a_system_does_not_have(recipe: Recipe) -> None:
    result = recipe("--stage", "3", "--stop-stage", "5")
    assert (result.returncode, result.stdout) == (0, "system fbank has nothing to do in stages 3 to 5\n")
