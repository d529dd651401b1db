"""Collect the results of a recipe's experiments into its RESULTS.md."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit results`."""
    parser.add_argument("--exp", type=Path, required=True, help="folder of the experiments")
    parser.add_argument("--papers", type=Path, required=True, help="YAML list of published figures")
    parser.add_argument("--out", type=Path, required=True, help="table to write; its lines of other runs are kept")


def run(args: argparse.Namespace) -> None:
    """Write the table."""
    from speechkit.report.results import update_results

    new, kept = update_results(args.exp, args.papers, args.out)
    print(f"{new} lines written and {kept} kept in {args.out}")
