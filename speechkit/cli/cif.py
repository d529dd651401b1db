"""Train a predictor of the ends of characters; running the same command again resumes where it stopped."""

import argparse
from pathlib import Path

from speechkit.cli.training import add_training_arguments, run_training, save_best


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit cif`."""
    add_training_arguments(parser, "model.in_dim=768")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with cuts_train, cuts_dev and cmvn.safetensors"
    )
    parser.add_argument(
        "--segments", type=Path, required=True, help="folder with the segments of both, of `speechkit segments`"
    )


def run(args: argparse.Namespace) -> None:
    """Train a model, write its best weights to OUT/final and print how well it counts."""
    from speechkit.common.memory import keep_freed_memory
    from speechkit.common.seeds import seed_everything
    from speechkit.config.load import load_config
    from speechkit.tasks.cif import NAME, CifTask, CifTrainingConfig
    from speechkit.train.distributed import join, leave

    keep_freed_memory()
    config = load_config(CifTrainingConfig, args.config, args.set)
    world = join()
    seed_everything(args.seed, "weights")
    task = CifTask(config, args.data, args.segments, args.seed, world)
    weights = run_training(args, config, task, world, NAME, args.data)
    if world.is_main:
        found = save_best(task, weights, args.out)
        print(
            f"dev: {found['right_count']:.2f} % of the utterances have the right number of characters, "
            f"{found['count_error']:.3f} wrong per utterance"
        )
    leave(world)
