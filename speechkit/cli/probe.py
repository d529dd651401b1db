"""Tell how well a linear classifier finds phones or speakers in frozen frames: cepstra, log-mel, a layer of a model."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from speechkit.common.errors import UsageError
from speechkit.data.parallel import available_cpus

if TYPE_CHECKING:
    from speechkit.tasks.sources import Frames

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit probe`."""
    parser.add_argument("--target", choices=("phone", "speaker"), default="phone", help="what is classified")
    parser.add_argument("--train", type=Path, required=True, help="cuts to fit on; for phones, with alignments")
    parser.add_argument(
        "--test",
        type=Path,
        nargs="+",
        default=[],
        help="phone: cuts to count on (speakers are counted on utterances of --train that are held out)",
    )
    parser.add_argument("--features", choices=("mfcc", "log-mel"), default="mfcc", help="frames without a model")
    parser.add_argument("--normalise", action="store_true", help="normalise these over each utterance")
    parser.add_argument("--checkpoint", type=Path, help="pre-trained or fine-tuned model")
    parser.add_argument("--layer", type=int, help="layer of the model, counted from 1")
    parser.add_argument("--random", action="store_true", help="take the model with weights as before any training")
    parser.add_argument("--config", type=Path, help="YAML file of the probe")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one value of it")
    parser.add_argument("--out", type=Path, required=True, help="folder for probe.json")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sample, the held-out part and --random")
    parser.add_argument("--nj", type=int, default=available_cpus(), help="number of processes")


def run(args: argparse.Namespace) -> None:
    """Print a line with the accuracies, and write them to probe.json."""
    from speechkit.common.files import write_json
    from speechkit.config.load import load_config, to_dict
    from speechkit.tasks.probe import ProbeConfig, probe

    if (args.target == "phone") != bool(args.test):
        raise UsageError("--target phone needs --test; --target speaker holds out a part of --train and takes none")
    config = load_config(ProbeConfig, args.config, args.set)
    source = _source(args)
    found = probe(source, args.target, args.train, args.test, config, args.seed, args.nj)
    origin = {"source": source.origin, "frame_rate": source.frame_rate, "config": to_dict(config), "seed": args.seed}
    write_json(args.out / "probe.json", {**found.figures(), **origin})
    print(f"{_name(args)}: {found}")
    log.info("written to %s", args.out / "probe.json")


def _source(args: argparse.Namespace) -> "Frames":
    import torch

    from speechkit.tasks.sources import Cepstra, Layer, LogMelEnergies

    if (args.checkpoint is None) != (args.layer is None):
        raise UsageError("--checkpoint and --layer go together")
    if args.checkpoint is None:
        if args.random:
            raise UsageError("--random is a model without training: name its --checkpoint and --layer")
        return (Cepstra if args.features == "mfcc" else LogMelEnergies)(normalise=args.normalise)
    if args.normalise:
        raise UsageError("--normalise is for features without a model; leave it out with --checkpoint")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Layer(args.checkpoint, args.layer, device, args.seed if args.random else None)


def _name(args: argparse.Namespace) -> str:
    """The source, for the line."""
    if args.checkpoint is None:
        return f"{args.features}{' normalised' if args.normalise else ''}"
    return f"{'random ' if args.random else ''}layer {args.layer}"
