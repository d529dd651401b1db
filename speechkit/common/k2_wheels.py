"""Which k2 wheel fits a torch: each is built for one torch, CUDA and Python, and listed outside the package index.

`python -m speechkit.common.k2_wheels` prints the pip line for the torch that is installed.
"""

import platform
import re
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass

INDEX = {"cpu": "https://k2-fsa.github.io/k2/cpu.html", "cuda": "https://k2-fsa.github.io/k2/cuda.html"}
BUILT_IN = "the built-in engine will be used (--fsa-engine torch)"

# Torch releases that k2's list has wheels for, on Linux.
FIRST_TORCH, LAST_TORCH = (1, 13, 0), (2, 13, 0)

# Wheels that are known to exist, by torch release and variant: k2's version up to the plus sign.
KNOWN_WHEELS = {
    ("2.11.0", "cuda13.0"): "1.24.4.dev20260423",
    ("2.10.0", "cuda12.8"): "1.24.4.dev20260306",
    ("2.9.1", "cuda12.8"): "1.24.4.dev20260625",
    ("2.8.0", "cuda12.8"): "1.24.4.dev20250807",
    ("2.4.1", "cpu"): "1.24.4.dev20241029",
    ("2.0.1", "cpu"): "1.24.4.dev20231220",
}


@dataclass(frozen=True)
class TorchBuild:
    """A torch as k2's wheel names see it."""

    release: str
    """Such as `2.11.0`, without the local part."""
    cuda: str | None
    """Such as `13.0`; None for a build without CUDA."""

    @property
    def variant(self) -> str:
        """`cpu` or `cuda13.0`."""
        return f"cuda{self.cuda}" if self.cuda else "cpu"

    @property
    def index(self) -> str:
        """Address of k2's list for this variant."""
        return INDEX["cuda" if self.cuda else "cpu"]


def installed_torch() -> TorchBuild | None:
    """The torch of this environment, or None where it does not import."""
    try:
        import torch
    except ImportError:
        return None
    return TorchBuild(torch.__version__.split("+")[0], torch.version.cuda)


def known_line(build: TorchBuild) -> str | None:
    """The pip line for `build` from the table above; None for a build that it does not hold."""
    version = KNOWN_WHEELS.get((build.release, build.variant))
    return _pip_line(version, build) if version else None


def is_covered(build: TorchBuild) -> bool:
    """Whether k2's list has wheels for about this torch release."""
    numbers = re.match(r"(\d+)\.(\d+)\.(\d+)$", build.release)
    return bool(numbers) and FIRST_TORCH <= tuple(map(int, numbers.groups())) <= LAST_TORCH  # type: ignore[union-attr]


def line_from_index(page: str, build: TorchBuild, python: tuple[int, int], machine: str = "x86_64") -> str | None:
    """The pip line of the newest Linux wheel for `build` in `page`, k2's list as HTML; None without one."""
    tag = f"cp{python[0]}{python[1]}"
    pattern = rf"k2-([0-9][0-9a-z.]*)(?:\+|%2B){re.escape(build.variant)}\.torch{re.escape(build.release)}-{tag}-{tag}-"
    pattern += rf"[a-z0-9_.]*linux[a-z0-9_.]*_{re.escape(machine)}\.whl"
    versions = set(re.findall(pattern, page))
    return _pip_line(max(versions, key=_numbers), build) if versions else None


def advice(build: TorchBuild | None) -> str:
    """The command that adds k2 beside `build`, or why there is none; asks no server."""
    if build is None:
        return "no torch, no k2: install torch first"
    if line := known_line(build):
        return line
    if is_covered(build):
        return f"tools/install_k2.sh --for-torch (looks for torch {build.release} {build.variant} in {build.index})"
    return f"no wheel for torch {build.release} {build.variant}: {BUILT_IN}"


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def _pip_line(version: str, build: TorchBuild) -> str:
    return f"pip install k2=={version}+{build.variant}.torch{build.release} -f {build.index}"


def _look_up(build: TorchBuild) -> str:
    try:
        with urllib.request.urlopen(build.index, timeout=30) as reply:
            page = reply.read().decode("utf-8", "replace")
    except (urllib.error.URLError, TimeoutError) as error:
        unread = f"{build.index} cannot be read ({error}), so whether torch {build.release} has a wheel is unknown"
        return known_line(build) or f"{unread}: {BUILT_IN}"
    line = line_from_index(page, build, sys.version_info[:2], platform.machine())
    return line or f"no wheel for torch {build.release} {build.variant} in {build.index}: {BUILT_IN}"


if __name__ == "__main__":
    torch_build = installed_torch()
    print(_look_up(torch_build) if torch_build else advice(None))
