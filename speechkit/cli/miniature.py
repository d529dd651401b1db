"""Synthesise a small corpus in a real corpus's layout and file formats."""

import argparse
from pathlib import Path

from speechkit.data.miniature import CORPORA
from speechkit.data.parallel import available_cpus


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--corpus", required=True, help=f"corpus to imitate: {', '.join(CORPORA)}")
    sizes = (
        "tiny (seconds, for tests), mini (minutes, for recipes), small (hours, for benchmarks) or, for digits, voices "
        "(many speakers, to join a real corpus)"
    )
    parser.add_argument("--size", default="mini", help=sizes)
    parser.add_argument("--out", required=True, type=Path, help="folder to make")
    parser.add_argument("--seed", default=0, type=int, help="other seeds give other speakers, sentences and noises")
    parser.add_argument("--nj", default=available_cpus(), type=int, help="processes; the result does not depend on it")


def run(args: argparse.Namespace) -> None:
    """Make the miniature, or say that it is there already."""
    from speechkit.data.miniature import make

    result = make(args.corpus, args.size, args.out, args.seed, args.nj)
    kind = f"miniature {result.corpus}, size {result.size}, seed {result.seed}"
    what = f"{kind}: {result.utterances} utterances in {result.out}"
    if result.seconds == 0:
        print(f"{what}; it was there already ({result.hours:.2f} h of speech)")
        return
    speed = result.hours * 3600 / result.seconds
    print(f"{what}; made {result.hours:.2f} h of speech in {result.seconds:.1f} s: {speed:.0f} times real time")
