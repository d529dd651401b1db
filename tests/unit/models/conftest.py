"""Lets the tests of this folder import `small_models`, and data from the folders of those that own them."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path += [str(HERE), str(HERE.parent / "data"), str(HERE.parent / "tasks")]
