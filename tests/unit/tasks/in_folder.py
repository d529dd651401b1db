"""Commands as a user gives them in the folder of a recipe."""

import os
from pathlib import Path

from speechkit.cli import main


def run(folder: Path, *arguments: str) -> int:
    """Run a command in a folder; the return code."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        return main(list(arguments))
    finally:
        os.chdir(before)
