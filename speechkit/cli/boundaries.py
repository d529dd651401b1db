"""Compare the boundaries of alignments with true ones: shares within 10, 20 and 50 ms."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit boundaries`."""
    what = "cuts with alignments (JSON lines) or CTM; several for several sets"
    parser.add_argument("--reference", type=Path, nargs="+", required=True, help=f"true times: {what}")
    parser.add_argument("--hypothesis", type=Path, nargs="+", required=True, help=f"as many times to judge: {what}")
    parser.add_argument(
        "--kind",
        choices=("auto", "phone", "word"),
        default="auto",
        help="phones count between two phones, words at both ends; auto takes phones where the reference has them",
    )
    parser.add_argument("--lang", type=Path, help="language folder, which tells the TIMIT phone set to fold to")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")


def run(args: argparse.Namespace) -> None:
    """Print a table; write the figures where asked."""
    from speechkit.common.errors import UsageError
    from speechkit.common.files import write_json
    from speechkit.metrics.boundaries import boundary_table
    from speechkit.tasks.boundaries import best_kind, compare, read_labels
    from speechkit.text.lang import Lang

    if len(args.reference) != len(args.hypothesis):
        raise UsageError(f"{len(args.reference)} references and {len(args.hypothesis)} hypotheses; give one for one")
    phone_set = Lang.load(args.lang).phone_set if args.lang else None
    kind = best_kind(args.reference) if args.kind == "auto" else args.kind
    if kind is None:
        print("no boundaries to compare: the reference has no times of phones or words")
        return
    scores = {}
    for reference, hypothesis in zip(args.reference, args.hypothesis, strict=True):
        name = reference.name.partition(".")[0].removeprefix("cuts_")
        true, found = read_labels(reference, kind), read_labels(hypothesis, kind)
        scores[f"{kind}s of {name}"] = compare(true, found, kind, phone_set)
    print(boundary_table(scores))
    if args.out:
        write_json(args.out, {name: score.figures() for name, score in scores.items()})
