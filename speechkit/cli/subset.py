"""Take a random part of a training set; development and test sets stay whole."""

import argparse
import logging
from pathlib import Path

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit subset`."""
    parser.add_argument("--in", dest="source", type=Path, required=True, help="folder with cuts_train, as data/fbank")
    parser.add_argument("--out", type=Path, required=True, help="folder for the cuts; audio and features stay")
    parser.add_argument("--percent", type=float, required=True, help="how much of the training set's duration")
    parser.add_argument("--seed", type=int, default=0, help="seed of the choice")


def run(args: argparse.Namespace) -> None:
    """Choose and write."""
    from speechkit.common.errors import UsageError
    from speechkit.data.subset import make_subset

    if not 0 < args.percent <= 100:
        raise UsageError(f"--percent must be greater than 0 and at most 100, not {args.percent:g}")
    count, seconds = make_subset(args.source, args.out, args.percent / 100, args.seed)
    log.info("%d utterances, %.1f minutes, are in %s", count, seconds / 60, args.out)
