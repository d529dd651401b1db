"""Train BERT-ASR: a text BERT that hears the segment of each character; the same command again resumes it."""

import argparse
from pathlib import Path

from speechkit.cli.training import add_training_arguments, run_training


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit bert-asr`."""
    add_training_arguments(parser, "model.acoustic.blocks=2")
    parser.add_argument(
        "--bert",
        type=Path,
        required=True,
        metavar="CHECKPOINT",
        help="text BERT to begin with, of `speechkit bert` or `speechkit import`",
    )
    parser.add_argument("--random", action="store_true", help="take sizes and characters of that BERT, not its weights")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with cuts_train, cuts_dev and cmvn.safetensors"
    )
    parser.add_argument(
        "--segments",
        type=Path,
        required=True,
        help="folder with those of train and dev, of `speechkit segments`",
    )


def run(args: argparse.Namespace) -> None:
    """Train a model and write its best weights to OUT/final."""
    from speechkit.common.memory import keep_freed_memory
    from speechkit.common.seeds import seed_everything
    from speechkit.config.load import load_config
    from speechkit.features.cmvn import Cmvn
    from speechkit.tasks.bert_asr import BertAsrConfig, BertAsrModel
    from speechkit.tasks.bert_asr_training import BertAsrTask
    from speechkit.tasks.text_bert import TextBertModel
    from speechkit.train.distributed import join, leave

    keep_freed_memory()
    config = load_config(BertAsrConfig, args.config, args.set)
    world = join()
    seed_everything(args.seed, "weights")
    bert = TextBertModel.load(args.bert)
    model = BertAsrModel.of(config, bert, Cmvn.load(args.data / "cmvn.safetensors"), pretrained=not args.random)
    task = BertAsrTask(model, args.data, args.segments, args.seed, world)
    variant = model.config.model.acoustic.encoder + (" random" if args.random else "")
    weights = run_training(args, model.config, task, world, variant, args.data)
    if world.is_main:
        model.save(args.out / "final", weights)
    leave(world)
