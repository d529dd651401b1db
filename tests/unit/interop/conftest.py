"""Lets the tests of this folder import `foreign`, which pytest's importlib mode does not do by itself."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
