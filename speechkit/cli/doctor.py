"""Print versions, and what is missing with the command that adds it."""

import argparse
import platform

from speechkit import __version__
from speechkit.common.environment import (
    PACKAGES,
    PROGRAMS,
    State,
    check_package,
    check_program,
    cpu_model,
    git_commit,
    memory_gib,
    num_cpus,
)
from speechkit.common.errors import SpeechkitError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`speechkit doctor` has no options."""


def run(args: argparse.Namespace) -> None:
    """Print machine, packages and remedies.

    Raises:
        SpeechkitError: something required is missing.
    """
    states = [*map(check_package, PACKAGES), *map(check_program, PROGRAMS)]
    for name, value in _machine().items():
        print(f"{name:<16} {value}")
    print()
    for state in states:
        print(f"{state.name:<16} {state.version or state.problem}")
    missing = [state for state in states if state.version is None]
    if missing:
        print("\nMissing, what that costs, and the command that adds it:")
    for state in missing:
        print(_remedy(state))
    if required := [state.name for state in missing if state.required]:
        raise SpeechkitError(f"required and missing: {', '.join(required)}; run tools/setup.sh, or the commands above")


def _machine() -> dict[str, object]:
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cpu": f"{cpu_model()}, {num_cpus()} cores for this process",
        "memory": f"{memory_gib()} GiB",
        "gpu": _gpus(),
        "speechkit": __version__,
        "git commit": git_commit() or "not a source tree",
    }


def _gpus() -> str:
    try:
        import torch
    except ImportError:
        return "unknown, torch is missing"
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return ", ".join(names) or "none"


def _remedy(state: State) -> str:
    required = " (required)" if state.required else ""
    return f"  {state.name}{required}: {state.problem}\n    without it: {state.loss}\n    {state.command}"
