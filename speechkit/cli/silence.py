"""Take silence out of the recordings of all sets, by the same detector."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from speechkit.common.errors import UsageError
from speechkit.data.parallel import available_cpus

if TYPE_CHECKING:
    from speechkit.features.silence import Detector

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `speechkit silence`."""
    parser.add_argument("--data", type=Path, required=True, help="folder of validated cuts")
    parser.add_argument("--out", type=Path, required=True, help="folder for recordings and cuts")
    parser.add_argument(
        "--detector",
        choices=("none", "energy", "rvad"),
        required=True,
        help="energy against the utterance's own noise, rVADfast, or none: recordings stay, which the cuts say",
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting of energy")
    parser.add_argument("--nj", type=int, default=available_cpus(), help="number of processes")


def run(args: argparse.Namespace) -> None:
    """Write the sets, and print what was removed of each."""
    from speechkit.data.manifests import present_splits
    from speechkit.data.silence import LEAST_SECONDS, remove_silence

    if args.out.resolve() == args.data.resolve():
        raise UsageError("--out must be another folder than --data")
    found = remove_silence(args.data, args.out, _detector(args), args.nj, present_splits(args.data, "cuts"))
    for name, each in found.items():
        print(f"{name}: {each}")
    if kept := sum(each.kept_whole for each in found.values()):
        log.warning("%d utterances keep all their audio: less than %g s of each would be left", kept, LEAST_SECONDS)
    log.info("cuts are in %s", args.out)


def _detector(args: argparse.Namespace) -> "Detector | None":
    from speechkit.config.load import load_config
    from speechkit.features.silence import EnergyDetector, RvadDetector

    if args.detector == "energy":
        return load_config(EnergyDetector, None, args.set)
    if args.set:
        raise UsageError(f"--set is for --detector energy; leave it out with {args.detector}")
    return RvadDetector() if args.detector == "rvad" else None
