"""Make frame labels by k-means on cepstra, or on a layer of a pre-trained model."""

import argparse
import logging
from pathlib import Path

from speechkit.common.errors import UsageError
from speechkit.data.parallel import available_cpus

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit cluster`."""
    parser.add_argument("--data", type=Path, required=True, help="folder with cuts_train and cuts of the other sets")
    parser.add_argument("--checkpoint", type=Path, help="pre-trained or fine-tuned model (default: cluster MFCC)")
    parser.add_argument("--layer", type=int, help="layer of the model, counted from 1")
    parser.add_argument(
        "--splice", type=int, default=argparse.SUPPRESS, help="join each MFCC frame with its neighbours, e.g. 3"
    )
    parser.add_argument(
        "--normalise",
        action="store_const",
        const="true",
        default=argparse.SUPPRESS,
        help="give each MFCC column of an utterance zero mean and unit variance, so that clusters tell speakers less",
    )
    parser.add_argument(
        "--groups",
        type=int,
        default=argparse.SUPPRESS,
        help="cut the columns into so many groups and cluster each by itself, with labels in OUT/0, OUT/1 ...",
    )
    parser.add_argument("--config", type=Path, help="YAML file of the clustering")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change one value, as kmeans.clusters=500"
    )
    parser.add_argument("--sets", nargs="+", default=["train", "dev"], help="sets to label")
    parser.add_argument("--out", type=Path, required=True, help="folder for centres and labels")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sample and of k-means++")
    parser.add_argument(
        "--nj", type=int, default=available_cpus(), help="number of processes; they only read what a GPU computes on"
    )


def run(args: argparse.Namespace) -> None:
    """Write labels, and print what they say about phones where there are alignments."""
    import torch

    from speechkit.config.load import load_config
    from speechkit.tasks.clusters import ClusterConfig, make_labels
    from speechkit.tasks.sources import Cepstra, Frames, Layer

    if (args.checkpoint is None) != (args.layer is None):
        raise UsageError("--checkpoint and --layer go together")
    short = [f"{name}={getattr(args, name)}" for name in ("normalise", "splice", "groups") if name in args]
    config = load_config(ClusterConfig, args.config, [*args.set, *short])
    if args.checkpoint and (config.splice != 1 or config.normalise):
        raise UsageError("--splice and --normalise are for MFCC; leave them out with --checkpoint")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    source: Frames
    if args.checkpoint:
        source = Layer(args.checkpoint, args.layer, device)
    else:
        source = Cepstra(config.splice, normalise=config.normalise)
    found = make_labels(source, args.data, args.out, config, args.seed, args.nj, args.sets, device)
    for group, figures in enumerate(found):
        for name, each in figures.items():
            print(f"{f'group {group}, ' if len(found) > 1 else ''}{name}: {each}")
    log.info("labels are in %s", args.out)
