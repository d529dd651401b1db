"""Options that only some formats have, for the commands that read and write those of other toolkits."""

import argparse
from collections.abc import Mapping, Sequence

from speechkit.common.errors import UsageError


def check_formats(args: argparse.Namespace, formats: Mapping[str, Sequence[str]], required: Sequence[str] = ()) -> None:
    """Raise `UsageError` where options and `--format` do not go together.

    Args:
        args: with `format`, and None or False for options that were not given.
        formats: of each option that not all formats have.
        required: the options without which those formats cannot do.
    """
    given = {name for name in formats if getattr(args, name) not in (None, False)}
    for name in sorted(given):
        if args.format not in formats[name]:
            raise UsageError(f"{_flag(name)} goes with --format {' or '.join(formats[name])}, not {args.format}")
    for name in required:
        if name not in given and args.format in formats[name]:
            raise UsageError(f"--format {args.format} needs {_flag(name)}")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
