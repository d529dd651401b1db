"""Write more text of a miniature's language: sentences that none of its speakers reads, of timit in phones too."""

import argparse
from pathlib import Path

from speechkit.data.parallel import available_cpus


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--corpus", default="timit", help="miniature whose language it is: timit or aishell")
    parser.add_argument("--size", default="mini", help="size of the miniature")
    parser.add_argument("--seed", default=0, type=int, help="seed of the miniature")
    parser.add_argument("--sentences", default=3000, type=int, help="number of lines")
    parser.add_argument("--out", required=True, type=Path, help="folder for words.txt and phones.txt")
    parser.add_argument("--nj", default=available_cpus(), type=int, help="processes; the result does not depend on it")


def run(args: argparse.Namespace) -> None:
    """Make the text."""
    from speechkit.data.miniature.further_text import write_further_text

    write_further_text(args.corpus, args.size, args.out, args.sentences, args.seed, args.nj)
    print(f"{args.sentences} sentences that nobody reads in the {args.size} {args.corpus} are in {args.out}")
