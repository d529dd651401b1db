"""Pool stored hidden states into segments by clusters and principal components, for wav2vec-U."""

import argparse
import logging
from pathlib import Path

from speechkit.common.errors import UsageError
from speechkit.data.parallel import available_cpus

log = logging.getLogger(__name__)
SHORT = ("pca", "clusters", "pairs")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `speechkit pool`."""
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder that `speechkit features --checkpoint` wrote")
    add("--out", type=Path, required=True, help="folder for pooled features")
    add("--pca", type=int, default=argparse.SUPPRESS, help="principal components (default: 512)")
    add("--clusters", type=int, default=argparse.SUPPRESS, help="clusters of k-means (default: 128)")
    add(
        "--pairs",
        action=argparse.BooleanOptionalAction,
        default=argparse.SUPPRESS,
        help="take means of each two neighbouring segments (default: yes)",
    )
    add("--alignments", type=Path, nargs="+", default=[], help="cuts with times of phones, to judge segments by")
    add("--config", type=Path, help="YAML file of the pooling")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="change one value of it")
    add("--seed", type=int, default=0, help="seed of the sample and of k-means++")
    add("--nj", type=int, default=available_cpus(), help="number of processes")


def run(args: argparse.Namespace) -> None:
    """Write pooled features, and print their rates and, with alignments, how near segments come to phones."""
    from speechkit.common.files import require_file
    from speechkit.config.load import load_config
    from speechkit.data.manifests import present_splits
    from speechkit.tasks.pool import PoolConfig, pool
    from speechkit.tasks.segment_quality import judge_segments

    if args.out.resolve() == args.data.resolve():
        raise UsageError("--out must be another folder than --data")
    for path in args.alignments:
        require_file(path, "correct --alignments")
    short = [f"{name}={str(getattr(args, name)).lower()}" for name in SHORT if name in args]
    config = load_config(PoolConfig, args.config, [*args.set, *short])
    sets = present_splits(args.data, "cuts")
    for name, each in pool(args.data, args.out, config, args.seed, args.nj, sets).items():
        print(f"{name}: {each}")
    if args.alignments:
        for name, quality in judge_segments(args.data, args.out, sets, args.alignments, config.clusters).items():
            for line in quality.lines():
                print(f"{name}: {line}")
    log.info("pooled features are in %s", args.out)
