"""Train a Transformer or convolutional language model; running the same command again resumes where it stopped."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from speechkit.cli.training import add_training_arguments, run_training

if TYPE_CHECKING:
    from speechkit.tasks.language_model import LmConfig, LmText
    from speechkit.train.distributed import World

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit lm`."""
    add_training_arguments(parser, "model.layers=6")
    parser.add_argument(
        "--text", type=Path, required=True, help="training text, one sentence per line; gzip or plain, of any size"
    )
    dev = parser.add_mutually_exclusive_group(required=True)
    dev.add_argument("--dev-text", type=Path, help="text that chooses the best weights")
    dev.add_argument("--dev-cuts", type=Path, help="cuts whose transcripts do that, with --lang")
    parser.add_argument("--lang", type=Path, help="language folder that tells the words of --dev-cuts")


def run(args: argparse.Namespace) -> None:
    """Train a model, write its best weights to OUT/final and print its perplexity."""
    import functools

    from speechkit.common.errors import UsageError
    from speechkit.common.memory import keep_freed_memory
    from speechkit.config.load import load_config
    from speechkit.lm.counts import read_sentences
    from speechkit.tasks.language_model import LmConfig, LmText, prepare_text
    from speechkit.train.distributed import join, leave

    if (args.dev_cuts is None) != (args.lang is None):
        raise UsageError("--dev-cuts and --lang go together: the language folder tells the words of transcripts")
    keep_freed_memory()
    config = load_config(LmConfig, args.config, args.set)
    world = join()
    if world.is_main:
        train = LmText(args.text, functools.partial(read_sentences, args.text))
        prepare_text(args.out / "text", config, train, _dev_text(args))
    world.total(0.0)  # the others wait for the text
    _train(args, config, world)
    leave(world)


def _dev_text(args: argparse.Namespace) -> "LmText":
    import functools

    from speechkit.cli.lang import supervision_fields
    from speechkit.lm.counts import read_sentences
    from speechkit.tasks.language_model import LmText
    from speechkit.text.lang import Lang

    if args.dev_text:
        return LmText(args.dev_text, functools.partial(read_sentences, args.dev_text))
    lang = Lang.load(args.lang)
    return LmText(args.dev_cuts, lambda: map(lang.reference, supervision_fields(args.dev_cuts)))


def _train(args: argparse.Namespace, config: "LmConfig", world: "World") -> None:
    import torch

    from speechkit.common.seeds import seed_everything
    from speechkit.tasks.language_model import LanguageModel, LmTask, prepared_units

    seed_everything(args.seed, "weights")
    model = LanguageModel(config, prepared_units(args.out / "text"))
    task = LmTask(model, args.out / "text", args.seed, world)
    record = task.record()
    log.info("%d tokens, %d words of training text", len(model.units), record["train"]["words"])
    weights = run_training(args, config, task, world, f"{config.unit} LM", args.text)
    if not world.is_main:
        return
    model.save(args.out / "final", weights)
    model.module.load_state_dict(weights)
    model.module.eval()
    with torch.inference_mode():
        figures, counts = task.validate().metrics, record["dev"]
    print(
        f"perplexity {figures['word_perplexity']:.2f} per word, {figures['perplexity']:.2f} per token of "
        f"{args.dev_text or args.dev_cuts}: {counts['words'] + counts['sentences']} words and sentence ends, "
        f"{counts['unknown']} unknown"
    )
