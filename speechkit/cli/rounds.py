"""Compare the rounds of pseudo-labelling on the development set; another round is due unless the last one was worse."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit rounds`."""
    parser.add_argument(
        "--in", dest="source", type=Path, required=True, help="folder with round-0, labels-1, round-1 ..."
    )
    parser.add_argument("--decoding", required=True, help="folder in each round with result.json, as decode_dev_wfst")
    parser.add_argument("--rounds", type=int, required=True, help="how many rounds after the teacher there may be")
    action = parser.add_mutually_exclusive_group()
    action.add_argument(
        "--verdict",
        action="store_true",
        help="print 'stop' if the last round is worse than the one before, else 'go on'",
    )
    action.add_argument("--out", type=Path, help="folder for the best model; no round may be due")


def run(args: argparse.Namespace) -> None:
    """Print the table, and take the best model."""
    from speechkit.common.errors import SpeechkitError
    from speechkit.report.rounds import is_worse, read_rounds, table, take_best

    rounds = read_rounds(args.source, args.decoding, args.rounds)
    if args.verdict:
        print("stop" if is_worse(rounds) else "go on")
        return
    print("\n".join(table(rounds)))
    if args.out:
        if len(rounds) <= args.rounds and not is_worse(rounds):
            raise SpeechkitError(f"round {len(rounds)} of {args.rounds} is not in {args.source}; run stage 5 first")
        best = take_best(rounds, args.out)
        print(f"round {best.number} is the best of {len(rounds)} on dev; its model is {args.out / 'final'}")
