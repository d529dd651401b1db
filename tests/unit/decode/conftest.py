"""Lets the tests of this folder import the cases of decoding graphs, which pytest's importlib mode does not do."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "fsa"))
