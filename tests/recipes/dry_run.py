"""What `--dry-run` of a recipe shows, for the tests of this folder."""

import shlex
import subprocess
from pathlib import Path

EGS = Path(__file__).parents[2] / "egs"


def dry_run(recipe: str, *options: str) -> "subprocess.CompletedProcess[str]":
    """The finished call."""
    command = ["bash", str(EGS / recipe / "run.sh"), "--dry-run", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def commands(recipe: str, *options: str) -> list[list[str]]:
    """The commands that would run."""
    result = dry_run(recipe, *options)
    assert result.returncode == 0, result.stderr
    lines = [line.split(None, 1) for line in result.stdout.splitlines()]
    return [shlex.split(parts[1]) for parts in lines if len(parts) == 2 and parts[0] == "command"]


def of(found: list[list[str]], name: str) -> list[list[str]]:
    """Those of one `speechkit` command."""
    return [command for command in found if command[1] == name]


def value(command: list[str], option: str) -> str:
    """What stands behind an option."""
    return command[command.index(option) + 1]
