"""Make frame labels by the quantiser of a vq-wav2vec model: its codes, in the vocabulary of the training set."""

import argparse
import logging
from pathlib import Path

from speechkit.data.parallel import available_cpus

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit codes`."""
    parser.add_argument("--checkpoint", type=Path, required=True, help="pre-trained vq-wav2vec model")
    parser.add_argument("--data", type=Path, required=True, help="folder with cuts_train and cuts of the other sets")
    parser.add_argument("--out", type=Path, required=True, help="folder for labels and usage.json")
    parser.add_argument(
        "--nj", type=int, default=available_cpus(), help="number of processes; they only read what a GPU computes on"
    )


def run(args: argparse.Namespace) -> None:
    """Write the codes of all sets, and print how many there are."""
    import torch

    from speechkit.data.manifests import present_splits
    from speechkit.tasks.codes import make_codes
    from speechkit.tasks.sources import FrameCodes

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    source = FrameCodes(args.checkpoint, device)
    for name, usage in make_codes(source, args.data, args.out, args.nj, present_splits(args.data, "cuts")).items():
        print(f"{name}: {usage}")
    log.info("codes are in %s", args.out)
