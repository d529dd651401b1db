"""Train a model; running the same command again resumes where it stopped."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speechkit.tasks.recognizer import CtcConfig
    from speechkit.train.distributed import World

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit train`."""
    parser.add_argument("--config", type=Path, required=True, help="YAML file of the system")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change one value of the configuration"
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with cuts_train, cuts_dev and, for features, cmvn.safetensors"
    )
    parser.add_argument("--lang", type=Path, required=True, help="language folder")
    parser.add_argument("--out", type=Path, required=True, help="experiment folder")
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
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, order of data, dropout and augmentation")


def origin(args: argparse.Namespace, variant: str) -> dict[str, object]:
    """Where a result comes from; a recipe says in the environment which command, system and corpus it is.

    The system's name ends with `variant`, so that a table of results has a line for each.
    """
    import os
    import shlex
    import sys
    import time

    from speechkit.common.environment import report

    machine = report()
    gpus = ", ".join(machine["gpus"])
    system = os.environ.get("SPEECHKIT_SYSTEM", args.config.stem)
    return {
        "command": os.environ.get("SPEECHKIT_COMMAND", shlex.join(["speechkit", *sys.argv[1:]])),
        "system": f"{system} {variant}".strip(),
        "corpus": os.environ.get("SPEECHKIT_CORPUS", str(args.data)),
        "seed": args.seed,
        "commit": machine["git_commit"],
        "date": time.strftime("%Y-%m-%d"),
        "hardware": gpus or f"{machine['num_cpus']} cores of {machine['cpu']}",
        "environment": machine,
    }


def run(args: argparse.Namespace) -> None:
    """Train a model and write its best weights to OUT/final."""
    from speechkit.common.memory import keep_freed_memory
    from speechkit.common.seeds import seed_everything
    from speechkit.config.load import load_config
    from speechkit.features.cmvn import Cmvn
    from speechkit.tasks.ctc import CtcTask, run_record
    from speechkit.tasks.recognizer import CtcConfig, Recognizer, initialised
    from speechkit.text.lang import Lang
    from speechkit.train.distributed import join, leave
    from speechkit.train.trainer import Trainer

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
    trainer = Trainer(config.train, task, task.batches, args.out, args.seed, world)
    task.update = lambda: trainer.progress.update
    begin_record(args, config, variant_of(config), run_record(task), world)
    weights = trainer.run()
    if world.is_main:
        recognizer.save(args.out / "final", weights)
        log.info("trained for %.0f s; the model is %s", trainer.progress.seconds, args.out / "final")
    leave(world)


def variant_of(config: "CtcConfig") -> str:
    """What a training has that others of its system have not: the convolutional model, another loss than CTC."""
    names = ["conv"] if config.conv and not config.encoder else []
    return " ".join(names if config.loss == "ctc" else [*names, config.loss])


def begin_record(
    args: argparse.Namespace, config: object, variant: str, record: dict[str, Any], world: "World"
) -> None:
    """Say what is trained, and write down configuration and origin."""
    from speechkit.common.files import write_json, write_text
    from speechkit.config.load import dump_yaml

    log.info(
        "%.2f M parameters, %.2f h of training audio, on %s",
        record["num_params"] / 1e6,
        record["train_hours"],
        world.device,
    )
    if world.is_main:
        write_text(args.out / "config.yaml", dump_yaml(config))
        write_json(args.out / "run.json", {**origin(args, variant), **record})
