"""Train a model; running the same command again resumes where it stopped."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from speechkit.cli.training import add_training_arguments, run_training

if TYPE_CHECKING:
    from speechkit.tasks.recognizer import CtcConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit train`."""
    add_training_arguments(parser, "train.max_updates=1000")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with cuts_train, cuts_dev and, for features, cmvn.safetensors"
    )
    parser.add_argument("--lang", type=Path, required=True, help="language folder")
    parser.add_argument("--init", type=Path, metavar="CHECKPOINT", help="pre-trained model to fine-tune on waveforms")
    parser.add_argument(
        "--start",
        type=Path,
        metavar="CHECKPOINT",
        help="trained model of the same shape whose weights training begins with",
    )
    parser.add_argument(
        "--alignments",
        type=Path,
        metavar="CUTS",
        help="training cuts with phone alignments, for lfmmi.numerator=alignment (default: those of --data)",
    )
    parser.add_argument("--fsa-engine", default="auto", help="engine of LF-MMI: auto, torch or k2")


def run(args: argparse.Namespace) -> None:
    """Train a model and write its best weights to OUT/final."""
    from speechkit.common.memory import keep_freed_memory
    from speechkit.common.seeds import seed_everything
    from speechkit.config.load import load_config
    from speechkit.features.cmvn import Cmvn
    from speechkit.tasks.ctc import CtcTask
    from speechkit.tasks.recognizer import CtcConfig, Recognizer, initialised
    from speechkit.text.lang import Lang
    from speechkit.train.distributed import join, leave

    keep_freed_memory()
    config = load_config(CtcConfig, args.config, args.set)
    encoder = None
    if args.init:
        config, encoder = initialised(config, args.init)
    world = join()
    seed_everything(args.seed, "weights")
    cmvn = Cmvn() if config.encoder else Cmvn.load(args.data / "cmvn.safetensors")
    recognizer = Recognizer(config, Lang.load(args.lang), cmvn)
    if encoder is not None:
        recognizer.load_encoder(encoder)
    if args.start:
        recognizer.load_weights(args.start)
    task = CtcTask(recognizer, args.data, args.seed, world, alignments=args.alignments, fsa_engine=args.fsa_engine)
    weights = run_training(args, config, task, world, variant_of(config), args.data)
    if world.is_main:
        recognizer.save(args.out / "final", weights)
    leave(world)


def variant_of(config: "CtcConfig") -> str:
    """What a training has that others of its system have not: the convolutional model, another loss than CTC."""
    names = ["conv"] if config.conv and not config.encoder else []
    return " ".join(names if config.loss == "ctc" else [*names, config.loss])
