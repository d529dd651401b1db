"""What the commands that train have in common: the training, and the record of what it was."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from speechkit.train.distributed import World

log = logging.getLogger(__name__)
RECIPE_COMMAND = "SPEECHKIT_COMMAND"  # the environment's name of the recipe's call that a command is part of


def add_training_arguments(parser: argparse.ArgumentParser, example: str) -> None:
    """Add the options that all of them have; `example` is a value that --set may change."""
    parser.add_argument("--config", type=Path, required=True, help="YAML file of the model and its training")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help=f"change one value of it, as {example}"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="experiment folder; the model is in its subfolder final"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of weights, order of data, dropout and all else that is drawn"
    )


def run_training(
    args: argparse.Namespace, config: Any, task: Any, world: "World", variant: str, data: Path
) -> "dict[str, Tensor]":
    """Train `task` by `config.train` on its batches, with the checkpoints, logs and record in `args.out`.

    Args:
        variant: ends the system's name, so that a table of results has a line for each.
        data: what is trained on, unless the environment names a corpus.

    Returns:
        The best weights in the main process, nothing in the others.
    """
    from speechkit.common.files import write_json, write_text
    from speechkit.config.load import dump_yaml
    from speechkit.train.trainer import Trainer

    record = task.record()
    hours = f", {record['train_hours']:.2f} h of training audio" if "train_hours" in record else ""
    log.info("%.2f M parameters%s, on %s", record["num_params"] / 1e6, hours, world.device)
    if world.is_main:
        write_text(args.out / "config.yaml", dump_yaml(config))
        write_json(args.out / "run.json", {**origin(args, variant, data), **record})
    trainer = Trainer(config.train, task, task.batches, args.out, args.seed, world)
    weights = trainer.run()
    log.info("trained for %.0f s; the model is %s", trainer.progress.seconds, args.out / "final")
    return weights


def save_best(task: Any, weights: "dict[str, Tensor]", out: Path) -> dict[str, float]:
    """Write the model of `task` with the best weights to OUT/final; what it reaches on the development set."""
    import torch

    task.model.save(out / "final", weights)
    task.module.load_state_dict(weights)
    task.module.eval()
    with torch.inference_mode():
        found: dict[str, float] = task.validate().metrics
    return found


def origin(args: argparse.Namespace, variant: str, data: Path) -> dict[str, object]:
    """Where a result comes from; a recipe says in the environment which command, system and corpus it is.

    Args:
        args: `seed` and `config`, which names the system otherwise.
        variant, data: as of `run_training`.
    """
    import os
    import shlex
    import sys
    import time

    from speechkit.common.environment import report

    machine = report()
    gpus = ", ".join(machine["gpus"])
    system = os.environ.get("SPEECHKIT_SYSTEM") or (args.config.stem if args.config else "hmm")
    return {
        "command": os.environ.get(RECIPE_COMMAND, shlex.join(["speechkit", *sys.argv[1:]])),
        "system": f"{system} {variant}".strip(),
        "corpus": os.environ.get("SPEECHKIT_CORPUS", str(data)),
        "seed": args.seed,
        "commit": machine["git_commit"],
        "date": time.strftime("%Y-%m-%d"),
        "hardware": gpus or f"{machine['num_cpus']} cores of {machine['cpu']}",
        "environment": machine,
    }
