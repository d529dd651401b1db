"""Train BERT over codes of speech; running the same command again resumes where it stopped."""

import argparse
import logging
from pathlib import Path

from speechkit.cli.training import add_training_arguments, run_training, save_best

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit code-bert`."""
    add_training_arguments(parser, "mask.probability=0.02")
    parser.add_argument(
        "--labels",
        dest="data",
        type=Path,
        required=True,
        metavar="LABELS",
        help="folder with the codes of train and dev, of `speechkit codes` or `speechkit cluster`",
    )


def run(args: argparse.Namespace) -> None:
    """Train a model, write its best weights to OUT/final and print how well it fills gaps."""
    from speechkit.common.memory import keep_freed_memory
    from speechkit.common.seeds import seed_everything
    from speechkit.config.load import load_config
    from speechkit.tasks.code_bert import NAME, CodeBertConfig, CodeBertTask
    from speechkit.train.distributed import join, leave

    keep_freed_memory()
    config = load_config(CodeBertConfig, args.config, args.set)
    world = join()
    seed_everything(args.seed, "weights")
    task = CodeBertTask(config, args.data, args.seed, world)
    for name, usage in task.usage.items():
        log.info(
            "%s: %d codes, %d different ones with a perplexity of %.1f; %.2f %% are unknown",
            *(name, usage["codes"], usage["different"], usage["perplexity"], 100 * usage["unknown"]),
        )
    weights = run_training(args, config, task, world, NAME, args.data)
    if world.is_main:
        found = save_best(task, weights, args.out)
        print(
            f"masked accuracy {100 * found['masked_accuracy']:.2f} %, perplexity {found['perplexity']:.2f} per masked "
            f"code of dev ({task.usage['dev']['perplexity']:.2f} without context)"
        )
    leave(world)
