"""`python -m speechkit` is the same as the console script `speechkit`."""

import sys

from speechkit.cli import main

if __name__ == "__main__":
    sys.exit(main())
