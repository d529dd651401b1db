"""Run a grid of values and seeds of a recipe, as `./run.sh --sweep FILE` does, and write the table of its results."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from speechkit.cli.training import RECIPE_COMMAND

if TYPE_CHECKING:
    from speechkit.tasks.sweep import Launcher

GPU_DEVICES = ("nvidia[0-9]*", "kfd", "dxg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit sweep`."""
    parser.add_argument("--config", type=Path, required=True, help="YAML file of the sweep")
    parser.add_argument("--recipe", default="./run.sh", help="the recipe, called in this folder")
    parser.add_argument("--out", type=Path, help="folder of the sweep (default exp/sweeps/NAME)")
    parser.add_argument("--nj", type=int, default=1, help="processes that all points together may use on this machine")
    parser.add_argument("--jobs", type=int, help="points at a time (default: one for each GPU, else for each process)")
    parser.add_argument(
        "--launch",
        action="append",
        default=[],
        metavar="WORD",
        help="word in front of each call, as --launch=srun --launch=--gpus=1; all points are started at once then",
    )
    parser.add_argument(
        "--given",
        action="append",
        default=[],
        metavar="WORD",
        help="word for each call, as --given=--labels --given=10",
    )
    parser.add_argument("--dry-run", action="store_true", help="check all, and list the calls")


def run(args: argparse.Namespace) -> None:
    """Run the sweep; what failed is told at the end, beside the table of the rest."""
    import logging
    import os
    import shlex
    import sys

    from speechkit.common.environment import git_commit
    from speechkit.common.errors import SpeechkitError
    from speechkit.common.files import exclusive
    from speechkit.config.load import load_config
    from speechkit.report.sweep import SweepConfig, check_given
    from speechkit.report.sweep_table import write_table
    from speechkit.tasks.sweep import Sweep

    config = load_config(SweepConfig, args.config)
    check_given(config, args.given)
    out = args.out or Path("exp/sweeps") / args.config.stem
    sweep = Sweep(config, out, _launcher(args, len(config.combinations) * len(config.seeds)), args.given)
    sweep.check()
    if args.dry_run:
        print("\n".join(sweep.commands()))
        return
    with exclusive(out / "table.md"):
        sweep.run()
        command = os.environ.get(RECIPE_COMMAND, shlex.join(["speechkit", *sys.argv[1:]]))
        origin = f"Made by `{command}`, commit {git_commit() or 'unknown'}."
        write_table(config, sweep.points, sweep.figures, out, origin)
    print((out / "table.md").read_text(encoding="utf-8").split("\n## ")[0])
    logging.getLogger(__name__).info("the table is %s", out / "table.md")
    if sweep.failed:
        raise SpeechkitError(
            f"{len(sweep.points) - len(sweep.figures)} of {len(sweep.points)} points have no result; failed: "
            f"{'; '.join(sweep.failed)}; once that is mended, the same command goes on from here"
        )


def _launcher(args: argparse.Namespace, points: int) -> "Launcher":
    """How many points run at a time, and with what of the machine."""
    from speechkit.common.errors import UsageError
    from speechkit.tasks.sweep import Launcher

    if args.nj < 1 or (args.jobs is not None and args.jobs < 1):
        raise UsageError("--nj and --jobs must be at least 1")
    if args.launch:
        return Launcher(args.recipe, args.nj, [{}] * (args.jobs or points), tuple(args.launch))
    gpus = _gpus()
    jobs = min(points, args.jobs or len(gpus) or args.nj)
    slots = [{"OMP_NUM_THREADS": str(max(1, args.nj // jobs))} for _ in range(jobs)]
    for index, slot in enumerate(slots if gpus else []):
        slot["CUDA_VISIBLE_DEVICES"] = gpus[index % len(gpus)]
    return Launcher(args.recipe, max(1, args.nj // jobs), slots)


def _gpus() -> list[str]:
    """The GPUs that this process may use, by the names that CUDA knows them by."""
    import os

    if not any(found for pattern in GPU_DEVICES for found in Path("/dev").glob(pattern)):
        return []  # without the seconds that torch takes
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(index) for index in range(torch.cuda.device_count())]
    return names[: torch.cuda.device_count()]
