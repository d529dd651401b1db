"""Pre-train a self-supervised model on waveforms; running the same command again resumes where it stopped."""

import argparse
from pathlib import Path

from speechkit.cli.training import add_training_arguments, run_training


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit pretrain`."""
    add_training_arguments(parser, "train.max_updates=1000")
    parser.add_argument("--data", type=Path, required=True, help="folder with cuts_train and cuts_dev")
    parser.add_argument(
        "--labels",
        type=Path,
        nargs="+",
        default=[],
        help="HuBERT, supervised: folders of frame labels, or files as exp/hmm/ali/labels_{}_100hz; one for each set",
    )


def run(args: argparse.Namespace) -> None:
    """Train a model and write its best weights to OUT/final."""
    from speechkit.common.memory import keep_freed_memory
    from speechkit.common.seeds import seed_everything
    from speechkit.config.load import load_config
    from speechkit.tasks.pretrain import PretrainConfig, PretrainTask, save_pretrained
    from speechkit.train.distributed import join, leave

    keep_freed_memory()
    config = load_config(PretrainConfig, args.config, args.set)
    world = join()
    seed_everything(args.seed, "weights")
    task = PretrainTask(config, args.data, args.seed, world, args.labels)
    weights = run_training(args, config, task, world, config.method, args.data)
    if world.is_main:
        save_pretrained(args.out / "final", config, weights)
    leave(world)
