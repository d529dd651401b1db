"""Every recipe that ships: its options and its stages, without running them."""

import os
import subprocess
from pathlib import Path

import pytest
from dry_run import commands, dry_run, value

ROOT = Path(__file__).parents[2]
RECIPES = sorted(ROOT.glob("egs/*/run.sh"))


def call(recipe: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = ["env", f"PATH={os.defpath}", str(recipe), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(params=RECIPES, ids=lambda path: path.parent.name)
def recipe(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_help_has_the_common_options_and_stages(recipe: Path) -> None:
    result = call(recipe, "--help")
    assert result.returncode == 0, result.stderr
    for option in ("--stage N", "--stop-stage N", "--corpus DIR", "--system {", "--set KEY=VALUE", "--dry-run"):
        assert f"  {option}" in result.stdout
    for number in (0, 1, 2, 6, 7, 8):
        assert f"\n  {number}  " in result.stdout


def test_unknown_option_stops_it(recipe: Path) -> None:
    result = call(recipe, "--stop-stag", "3")
    assert result.returncode == 2
    assert "did you mean '--stop-stage'?" in result.stderr


def test_dry_run_of_a_fresh_experiment_lists_training_and_decoding(recipe: Path, tmp_path: Path) -> None:
    result = call(recipe, "--dry-run", "--exp", str(tmp_path / "exp"))
    assert result.returncode == 0, result.stderr
    assert f"      output  {tmp_path / 'exp'}" in result.stdout
    assert f"      output  {tmp_path / 'exp' / 'decode_test_wfst'}" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_it_is_short_and_executable(recipe: Path) -> None:
    assert os.access(recipe, os.X_OK)
    assert len(recipe.read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("system", ["wav2vec2", "hubert"])
def test_fine_tuning_on_little_data_uses_one_pretraining(system: str) -> None:
    """Every amount of labels has its own experiment, on what was pre-trained once."""
    recipe = ROOT / "egs" / "librispeech" / "run.sh"
    plans = [call(recipe, "--dry-run", "--system", system, "--labels", labels) for labels in ("10min", "1h")]
    for plan, part in zip(plans, ("10min-0", "1h"), strict=True):
        assert plan.returncode == 0, plan.stderr
        assert f"--train-sets {part} " in plan.stdout
        assert f"output  exp/{system}/{part}-dev-clean-test-clean\n" in plan.stdout
        assert f"--init exp/{system}-pretrained/train-clean-100-dev-clean/" in plan.stdout


def test_iterations_of_hubert_follow_from_the_numbers_of_clusters() -> None:
    plan = call(ROOT / "egs" / "timit" / "run.sh", "--dry-run", "--system", "hubert", "--clusters", "50,100,500")
    assert plan.returncode == 0, plan.stderr
    for iteration, clusters in ((1, 50), (2, 100), (3, 500)):
        assert f"labels-{iteration} --set kmeans.clusters={clusters}" in plan.stdout
    assert "--checkpoint exp/hubert-pretrained/iteration-2/final --layer 3" in plan.stdout
    assert "--init exp/hubert-pretrained/iteration-3/final" in plan.stdout


def test_labels_and_training_sets_exclude_each_other() -> None:
    recipe = ROOT / "egs" / "librispeech" / "run.sh"
    result = call(recipe, "--dry-run", "--labels", "1h", "--train-sets", "train-clean-100")
    assert result.returncode == 2
    assert "--labels and --train-sets choose the same" in result.stderr


def test_features_of_codes_and_of_contexts_stay_apart() -> None:
    """vq-wav2vec is pre-trained once; what the acoustic model reads has folders of its own, as has what comes of it."""
    recipe, words = ROOT / "egs" / "timit" / "run.sh", ("--dry-run", "--system", "vq-wav2vec", "--labels", "10")
    trained = "exp/vq-wav2vec-pretrained"
    plan = call(recipe, *words, "--set-bert", "mask.length=5")
    assert plan.returncode == 0, plan.stderr
    assert f"speechkit codes --checkpoint {trained}/model/final" in plan.stdout
    assert f"--set mask.length=5 --labels {trained}/codes --out {trained}/bert" in plan.stdout
    assert f"--checkpoint {trained}/bert/final --layer 4 --codes {trained}/codes" in plan.stdout
    assert f"--config conf/vq-wav2vec.yaml --data {trained}/of-codes/labelled-10 " in plan.stdout
    plan = call(recipe, *words, "--code-features", "context")
    assert plan.returncode == 0, plan.stderr
    assert f"--checkpoint {trained}/model/final --layer 3" in plan.stdout
    assert "bert" not in plan.stdout
    assert f"--config conf/vq-wav2vec_context.yaml --data {trained}/labelled-10 " in plan.stdout
    assert "output  exp/vq-wav2vec-context-10\n" in plan.stdout


def test_wav2vec_trains_on_context_vectors() -> None:
    plan = call(ROOT / "egs" / "timit" / "run.sh", "--dry-run", "--system", "wav2vec")
    assert plan.returncode == 0, plan.stderr
    assert "--checkpoint exp/wav2vec-pretrained/model/final --layer 2" in plan.stdout
    assert "--config conf/wav2vec.yaml --data exp/wav2vec-pretrained/features " in plan.stdout
    assert "--cuts exp/wav2vec-pretrained/features/cuts_test.jsonl.gz" in plan.stdout


@pytest.mark.parametrize("name", ["aishell", "digits", "librispeech", "timit", "wsj"])
def test_seeds_share_the_data_and_nothing_else(name: str) -> None:
    shared = [commands(name, "--stop-stage", "3", "--seed", seed) for seed in ("0", "2")]
    assert shared[0] == shared[1]
    trained = commands(name, "--system", "wav2vec2", "--stage", "4", "--stop-stage", "6", "--seed", "2")
    assert [each[1] for each in trained] == ["pretrain", "train"]
    assert all("-seed2" in value(each, "--out") for each in trained)


@pytest.mark.parametrize(
    ("name", "options", "complaint"),
    [
        ("timit", ["--clusters", "50"], "--clusters is for --system hubert or wav2vec-u, not for fbank"),
        ("timit", ["--text", "matched"], "--text is for --system wav2vec-u, not for fbank"),
        (
            "aishell",
            ["--system", "hubert", "--encoder", "average"],
            "--encoder is for --system bert-asr, not for hubert",
        ),
        ("aishell", ["--system", "bert-asr", "--decode", "beam"], "--decode is not for --system bert-asr"),
        ("timit", ["--system", "wav2vec-u", "--rescore", "transformer"], "--rescore is not for --system wav2vec-u"),
    ],
)
def test_options_that_the_system_does_not_read_are_refused(name: str, options: list[str], complaint: str) -> None:
    result = dry_run(name, *options)
    assert result.returncode == 2
    assert complaint in result.stderr
    assert result.stdout == ""
