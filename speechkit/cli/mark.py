"""Done marks of recipe stages: is a step up to date, start it, mark it as done (called by utils/recipe.sh).

`check` and `start` print one line, `action<TAB>hash<TAB>reason` with action one of
skip, run and refuse; `check` changes nothing on disk.
"""

import argparse
from pathlib import Path

from speechkit.common import marks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `speechkit mark`."""
    parser.add_argument("deed", choices=("check", "start", "finish", "undo"), help="what to do")
    parser.add_argument("--out", type=Path, required=True, help="file or folder that the step makes")
    parser.add_argument("--needs", type=Path, action="append", default=[], help="an input; its mark counts, if any")
    parser.add_argument("--files", type=Path, action="append", default=[], help="an input folder whose files count")
    parser.add_argument("--keep", action="store_true", help="refuse to redo a step that was made with something else")
    parser.add_argument("--redo", default="", help="reason to redo the step in any case")
    parser.add_argument("--planned", action="append", default=[], metavar="OUT=HASH", help="an output to come")
    parser.add_argument(
        "--command", action="append", default=[], help="a word of the step's command, as --command=WORD"
    )


def run(args: argparse.Namespace) -> None:
    """Check, start, finish or undo the step."""
    if args.deed == "finish":
        marks.finish(args.out)
        return
    if args.deed == "undo":
        marks.undo(args.out)
        return
    planned = {path: digest for path, _, digest in (item.rpartition("=") for item in args.planned)}
    wanted = marks.fingerprint(args.command, args.needs, args.files, planned)
    verdict = marks.decide(args.out, wanted, keep=args.keep, redo=args.redo)
    if args.deed == "start" and verdict.action == "run":
        marks.start(args.out, wanted, verdict.clear)
    print(verdict.action, wanted.hash, " ".join(verdict.reason.split()), sep="\t")
