"""Every recipe that ships: its options and its stages, without running them."""

import os
import subprocess
from pathlib import Path

import pytest

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
