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
    parser.add_argument("--checkpoint", type=Path, help="pre-trained model (default: cluster MFCC)")
    parser.add_argument("--layer", type=int, help="layer of the model, counted from 1")
    parser.add_argument("--config", type=Path, help="YAML file of the clustering")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change one value, as kmeans.clusters=500"
    )
    parser.add_argument("--sets", nargs="+", default=["train", "dev"], help="sets to label")
    parser.add_argument("--out", type=Path, required=True, help="folder for centres and labels")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sample and of k-means++")
    parser.add_argument("--nj", type=int, default=available_cpus(), help="number of processes")


def run(args: argparse.Namespace) -> None:
    """Write labels, and print what they say about phones where there are alignments."""
    from speechkit.config.load import load_config
    from speechkit.tasks.clusters import Cepstra, ClusterConfig, Frames, Layer, make_labels

    if (args.checkpoint is None) != (args.layer is None):
        raise UsageError("--checkpoint and --layer go together")
    config = load_config(ClusterConfig, args.config, args.set)
    source: Frames = Cepstra() if args.checkpoint is None else Layer(args.checkpoint, args.layer)
    found = make_labels(source, args.data, args.out, config, args.seed, args.nj, args.sets)
    for name, figures in found.items():
        print(
            f"{name}: PNMI {figures.pnmi:.3f}, phone purity {figures.phone_purity:.3f}, cluster purity "
            f"{figures.cluster_purity:.3f}, {figures.used} of {config.kmeans.clusters} clusters used, entropy "
            f"{figures.entropy:.2f} nats, {figures.frames} frames"
        )
    log.info("labels are in %s", args.out)
