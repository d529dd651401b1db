"""Choose among trainings of wav2vec-U by the rule of its paper, without any transcript."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit gan-select`."""
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="folders of `speechkit gan`")
    parser.add_argument("--out", type=Path, required=True, help="folder for the chosen model, in its subfolder final")


def run(args: argparse.Namespace) -> None:
    """Copy the chosen model to OUT/final, write OUT/selection.json and print a line for each run."""
    from speechkit.tasks.gan_selection import TRAINED, select

    found = select(args.runs, args.out)
    for run, each in found["runs"].items():
        sign = "*" if run == found["chosen"] else " "
        if each["state"] != TRAINED:
            print(f"{sign} {run}: {each['state']}")
            continue
        errors = f", phone error rate {each['error_rate']:.2f} % (not used)" if "error_rate" in each else ""
        print(
            f"{sign} {run}: LM perplexity {each['lm_perplexity']:.2f}, {each['used']} of {each['vocabulary']} symbols "
            f"used, metric {each['metric']:.2f}{errors}"
        )
