"""extract features and normalisation statistics: log-mel energies, with pitch or without, or a layer of a model"""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from speechkit.common.errors import UsageError
from speechkit.data.parallel import available_cpus

if TYPE_CHECKING:
    from speechkit.data.shards import Source

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--in", dest="cuts", type=Path, required=True, help="folder of validated cuts, or a Lhotse manifest"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for features, cuts and cmvn.safetensors")
    parser.add_argument("--config", type=Path, help="YAML file; the built-in settings where left out")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one setting")
    parser.add_argument("--checkpoint", type=Path, help="pre-trained or fine-tuned model, for its hidden states")
    parser.add_argument("--layer", type=int, help="layer of the model, counted from 1")
    parser.add_argument("--codes", type=Path, help="folder of the codes that the model reads, if it is a BERT of codes")
    parser.add_argument("--speeds", default=argparse.SUPPRESS, help="speeds of the training set, e.g. 0.9,1.0,1.1")
    parser.add_argument("--seed", type=int, default=0, help="seed of the dither and of the noise on the delta pitch")
    parser.add_argument(
        "--nj", type=int, default=available_cpus(), help="number of processes; a model on a GPU runs in one"
    )


def run(args: argparse.Namespace) -> None:
    """Extract features of all splits."""
    from speechkit.data.adoption import ALL, adopt_manifest
    from speechkit.data.extraction import extract
    from speechkit.data.manifests import present_splits

    source, nj = _source(args)
    cuts, splits = args.cuts, present_splits(args.cuts, "cuts")
    if cuts.is_file():
        cuts, splits = args.out / "adopted", (ALL,)
        adopt_manifest(args.cuts, cuts)
    left_out = extract(cuts, args.out, source, args.seed, nj, splits)
    count = sum(map(len, left_out.values()))
    if count:
        log.warning("%d utterances are shorter than one window and left out; see %s", count, args.out / "report.jsonl")
    log.info("features, cuts and cmvn.safetensors are in %s", args.out)


def _source(args: argparse.Namespace) -> "tuple[Source, int]":
    """What to extract, and by how many processes."""
    from speechkit.config.load import load_config
    from speechkit.data.extraction import FeaturesConfig

    if (args.checkpoint is None) != (args.layer is None):
        raise UsageError("--checkpoint and --layer go together")
    if args.codes and args.checkpoint is None:
        raise UsageError("--codes goes with --checkpoint: it is what the model reads")
    if args.checkpoint is None:
        speeds = [f"speeds=[{args.speeds}]"] if "speeds" in args else []
        return load_config(FeaturesConfig, args.config, [*args.set, *speeds]), args.nj
    if args.config or args.set or "speeds" in args:
        raise UsageError("--config, --set and --speeds are for log-mel features; leave them out with --checkpoint")
    import torch

    from speechkit.tasks.code_layer import CodeLayer
    from speechkit.tasks.hidden import HiddenFeatures, HiddenLayer
    from speechkit.tasks.sources import Layer

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    layer: HiddenLayer
    if args.codes:
        layer = CodeLayer(args.checkpoint, args.layer, args.codes, device)
    else:
        layer = Layer(args.checkpoint, args.layer, device)
    return HiddenFeatures(layer), args.nj if device.type == "cpu" else 1
