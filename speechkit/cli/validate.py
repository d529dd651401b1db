"""decode every file once and leave out what is bad"""

import argparse
import logging
from pathlib import Path

from speechkit.common.errors import UsageError
from speechkit.data.parallel import available_cpus

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--in", dest="manifests", type=Path, required=True, help="folder of the manifests")
    parser.add_argument("--out", type=Path, required=True, help="folder for cuts, report.jsonl and summary.json")
    parser.add_argument("--sampling-rate", type=int, default=16000, help="rate in Hz that every file must have")
    parser.add_argument("--max-bad-ratio", type=float, default=0.05, help="fail where a greater part than this is bad")
    parser.add_argument("--nj", type=int, default=available_cpus(), help="number of processes")


def run(args: argparse.Namespace) -> None:
    """Validate all splits."""
    if not 0 <= args.max_bad_ratio <= 1:
        raise UsageError(f"--max-bad-ratio must lie between 0 and 1, not {args.max_bad_ratio:g}")
    from speechkit.data.manifests import present_splits
    from speechkit.data.validation import validate

    splits = present_splits(args.manifests, "recordings")
    results = validate(args.manifests, args.out, args.sampling_rate, args.max_bad_ratio, args.nj, splits)
    for split, result in results.items():
        good, bad = result.utterances, len(result.problems)
        log.info("%s: %d good utterances, %.2f hours, %d bad", split, good, result.hours, bad)
    log.info("good cuts and report.jsonl are in %s", args.out)
