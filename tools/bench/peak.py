"""Peak memory of this process over what it has now."""

import contextlib
import re
from pathlib import Path


class Peak:
    """Begins to watch when it is made; Linux only."""

    def __init__(self) -> None:
        # Sets the peak back to the present.
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        self.start = self._read("VmRSS")

    def megabytes(self) -> float:
        """Megabytes over the start at the highest."""
        return self._read("VmHWM") - self.start

    def _read(self, name: str) -> float:
        found = re.search(rf"^{name}:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
        assert found
        return int(found[1]) / 1000
