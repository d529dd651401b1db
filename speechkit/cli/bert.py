"""Train BERT over characters, or from it a language model; the same command again resumes where it stopped."""

import argparse
import logging
from pathlib import Path

from speechkit.cli.training import add_training_arguments, run_training, save_best

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit bert`."""
    add_training_arguments(parser, "objective=prefix")
    parser.add_argument("--text", type=Path, required=True, help="training text, one transcript a line")
    dev = parser.add_mutually_exclusive_group(required=True)
    dev.add_argument("--dev", type=Path, help="text that chooses the best weights")
    dev.add_argument("--dev-cuts", type=Path, help="cuts whose transcripts do that")
    parser.add_argument(
        "--init", type=Path, help="BERT to start from, with its sizes and vocabulary (without it a new one is made)"
    )


def run(args: argparse.Namespace) -> None:
    """Train a model, write its best weights to OUT/final and print how well it tells characters."""
    from speechkit.common.errors import UsageError
    from speechkit.common.memory import keep_freed_memory
    from speechkit.common.seeds import seed_everything
    from speechkit.config.load import load_config
    from speechkit.tasks.text_bert import (
        TextBertModel,
        TextBertTask,
        TextBertTrainConfig,
        Texts,
        read_texts,
        transcripts,
    )
    from speechkit.train.distributed import join, leave

    if args.init and (given := [each for each in args.set if each.startswith("model.")]):
        raise UsageError(f"--set {given[0]} has no effect with --init, whose model it is; leave out one of them")
    keep_freed_memory()
    config = load_config(TextBertTrainConfig, args.config, args.set)
    train, source = read_texts(args.text), args.dev or args.dev_cuts
    dev = read_texts(args.dev) if args.dev else transcripts(args.dev_cuts)
    world = join()
    seed_everything(args.seed, "weights")
    model = TextBertModel.start(config, args.init, train)
    texts = {
        "train": Texts.of(args.text, train, model.vocabulary, config.longest),
        "dev": Texts.of(source, dev, model.vocabulary, config.longest),
    }
    task = TextBertTask(model, texts["train"], texts["dev"], args.seed, world)
    for name, counts in texts.items():
        log.info("%s: %d sentences, %d characters", name, len(counts.lines), counts.characters)
    variant = "BERT-LM" if config.objective == "prefix" else "BERT"
    weights = run_training(args, model.config, task, world, variant, args.text)
    if world.is_main:
        found = save_best(task, weights, args.out)
        which = "character" if config.objective == "prefix" else "masked character"
        print(
            f"perplexity {found['perplexity']:.2f} per {which} of {source}, accuracy {100 * found['accuracy']:.2f} % "
            f"({found['predicted']:.0f} predicted)"
        )
    leave(world)
