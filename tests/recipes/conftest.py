"""Lets the tests of this folder import `dry_run`."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
