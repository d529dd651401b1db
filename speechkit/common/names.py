"""Names: the nearest known one for a message about an unknown one."""

import difflib
from collections.abc import Iterable


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return `", did you mean 'x'?"` for the choice most like `name`, or an empty string."""
    matches = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.5)
    return f", did you mean '{matches[0]}'?" if matches else ""
