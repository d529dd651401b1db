"""Train wav2vec-U on pooled features and unpaired text; running the same command again resumes where it stopped."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from speechkit.cli.training import add_training_arguments, run_training

if TYPE_CHECKING:
    from speechkit.tasks.wav2vec_u import Wav2VecUConfig, Wav2VecUTask
    from speechkit.train.distributed import World

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit gan`."""
    add_training_arguments(parser, "gan.diversity_weight=2")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with cuts_train and cuts_dev of `speechkit pool`"
    )
    parser.add_argument(
        "--text", type=Path, required=True, help="folder with phones.txt and tokens.txt of `speechkit unpaired-text`"
    )
    parser.add_argument("--lm", type=Path, required=True, help="phone n-gram (ARPA) that the checkpoint is chosen by")
    parser.add_argument(
        "--report-errors",
        action="store_true",
        help="log the phone error rate on the transcripts of cuts_dev too, which nothing is chosen by",
    )


def run(args: argparse.Namespace) -> None:
    """Train, write the generator with the least metric to OUT/final, and what is known of it to OUT/selection.json.

    A training that collapses is no error of the command: the state in OUT/selection.json says so, and
    `speechkit gan-select` passes over it.
    """
    from speechkit.common.files import write_json
    from speechkit.common.memory import keep_freed_memory
    from speechkit.common.seeds import seed_everything
    from speechkit.config.load import load_config
    from speechkit.tasks.gan_selection import SELECTION
    from speechkit.tasks.wav2vec_u import Wav2VecUConfig, Wav2VecUTask, prepare, save_languages
    from speechkit.train.distributed import join, leave
    from speechkit.train.trainer import NonFiniteError

    keep_freed_memory()
    config = load_config(Wav2VecUConfig, args.config, args.set)
    world = join()
    if world.is_main:
        prepare(config, args.data, args.text, args.out / "packed")
    world.total(0.0)  # the others wait for it
    seed_everything(args.seed, "weights")
    references = args.data / "cuts_dev.jsonl.gz" if args.report_errors else None
    task = Wav2VecUTask(config, args.out / "packed", args.text, args.lm, args.seed, world, references)
    save_languages(task.lang, args.text, args.out)
    about = {"lm": str(args.lm), "seed": args.seed}
    try:
        _train(args, config, task, world, about)
    except NonFiniteError as error:
        log.warning("collapsed: %s", error)
        write_json(args.out / SELECTION, {"state": f"collapsed: {error}", **about})
    leave(world)


def _train(
    args: argparse.Namespace, config: "Wav2VecUConfig", task: "Wav2VecUTask", world: "World", about: dict[str, object]
) -> None:
    import torch

    from speechkit.common.files import write_json
    from speechkit.tasks.gan_selection import FINAL, SELECTION, TRAINED

    weights = run_training(args, config, task, world, "", args.data)
    if not world.is_main:
        return
    state = f"collapsed: {task.watch.verdict}" if task.watch.verdict else TRAINED
    task.module.load_state_dict(weights)
    task.module.eval()
    with torch.inference_mode():
        task.validate()
    task.save(args.out / FINAL, weights)
    write_json(args.out / SELECTION, {**task.selection(state), **about})
    found = task.found
    print(
        f"{state}; on dev: LM perplexity {found.perplexity:.2f} (of the text {task.text.perplexity:.2f}), "
        f"{found.used} of {found.vocabulary} symbols used, metric {found.metric:.2f}"
        + ("" if task.error_rate is None else f"; phone error rate {task.error_rate:.2f} % (not used)")
    )
