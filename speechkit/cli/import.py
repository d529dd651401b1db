"""Turn Kaldi data directories, or audio folders and Parquet files of Hugging Face, into manifests."""

# ruff: noqa: N999 (the name of the command is a keyword of Python)

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from speechkit.data.parallel import available_cpus

if TYPE_CHECKING:
    from speechkit.data.manifests import Split

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit import`."""
    parser.add_argument(
        "--from", dest="kind", choices=("kaldi", "audiofolder", "parquet"), required=True, help="what is read"
    )
    parser.add_argument(
        "--in",
        dest="folder",
        type=Path,
        required=True,
        help="folder with a folder for each of train, dev (or valid, validation) and test, or one set by itself",
    )
    parser.add_argument("--split", choices=("train", "dev", "test"), default="train", help="what a set by itself is")
    parser.add_argument("--out", type=Path, required=True, help="folder for the manifests, as of speechkit prepare")
    parser.add_argument("--run-pipes", action="store_true", help="kaldi: run the commands that stand in wav.scp")
    parser.add_argument("--nj", type=int, default=available_cpus(), help="number of processes")


def run(args: argparse.Namespace) -> None:
    """Read all sets and write their manifests and a report."""
    from speechkit.common.errors import SpeechkitError
    from speechkit.data.manifests import problem_lines, remove_other_splits, write_manifests, write_problems

    found = _read(args)
    problems = [problem for content in found.values() for problem in content.problems]
    for line in problem_lines(problems):
        log.warning("%s", line)
    if not any(content.supervisions for content in found.values()):
        raise SpeechkitError(f"{args.folder} has no usable utterance; the lines above say why")
    remove_other_splits(args.out, found)
    write_problems(args.out / "report.jsonl", problems)
    for split, content in found.items():
        write_manifests(args.out, split, content)
        hours = sum(item.duration for item in content.supervisions) / 3600
        log.info("%s: %d utterances, %.2f hours", split, len(content.supervisions), hours)
    log.info("manifests are in %s", args.out)


def _read(args: argparse.Namespace) -> "dict[str, Split]":
    from speechkit.data.interchange.audiofolder import FOLDERS, folders_of, read_audiofolder
    from speechkit.data.interchange.kaldi import read_kaldi
    from speechkit.data.interchange.parquet import parquet_files, read_parquet

    audio = args.out / "audio"
    if args.kind == "audiofolder":
        folders = folders_of(args.folder) or {args.split: args.folder}
        return {split: read_audiofolder(folder, split, audio / split, args.nj) for split, folder in folders.items()}
    if args.kind == "parquet":
        files = parquet_files(args.folder) or {args.split: sorted(args.folder.rglob("*.parquet"))}
        return {split: read_parquet(paths, split, audio / split, args.nj) for split, paths in files.items()}
    named = {split: next((args.folder / name for name in names if (args.folder / name / "wav.scp").exists()), None)
             for split, names in FOLDERS.items()}  # fmt: skip
    sets = {split: folder for split, folder in named.items() if folder} or {args.split: args.folder}
    return {split: read_kaldi(folder, split, audio / split, args.run_pipes, args.nj) for split, folder in sets.items()}
