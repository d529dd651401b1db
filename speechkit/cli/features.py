"""extract log-mel features, with pitch or without, and normalisation statistics"""

import argparse
import logging
from pathlib import Path

from speechkit.data.parallel import available_cpus

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--in", dest="cuts", type=Path, required=True, help="folder of validated cuts, or a Lhotse manifest"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for features, cuts and cmvn.safetensors")
    parser.add_argument("--config", type=Path, help="YAML file; the built-in settings where left out")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one setting")
    parser.add_argument("--speeds", default=argparse.SUPPRESS, help="speeds of the training set, e.g. 0.9,1.0,1.1")
    parser.add_argument("--seed", type=int, default=0, help="seed of the dither and of the noise on the delta pitch")
    parser.add_argument("--nj", type=int, default=available_cpus(), help="number of processes")


def run(args: argparse.Namespace) -> None:
    """Extract features of all splits."""
    from speechkit.config.load import load_config
    from speechkit.data.adoption import ALL, adopt_manifest
    from speechkit.data.extraction import FeaturesConfig, extract
    from speechkit.data.manifests import present_splits

    speeds = [f"speeds=[{args.speeds}]"] if "speeds" in args else []
    config = load_config(FeaturesConfig, args.config, [*args.set, *speeds])
    cuts, splits = args.cuts, present_splits(args.cuts, "cuts")
    if cuts.is_file():
        cuts, splits = args.out / "adopted", (ALL,)
        adopt_manifest(args.cuts, cuts)
    left_out = extract(cuts, args.out, config, args.seed, args.nj, splits)
    count = sum(map(len, left_out.values()))
    if count:
        log.warning("%d utterances are shorter than one window and left out; see %s", count, args.out / "report.jsonl")
    log.info("features, cuts and cmvn.safetensors are in %s", args.out)
