"""Turn data of Kaldi or Hugging Face into manifests, or a model of another toolkit into a checkpoint."""

# ruff: noqa: N999 (the name of the command is a keyword of Python)

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from speechkit.cli.formats import check_formats

if TYPE_CHECKING:
    from speechkit.data.manifests import Split

log = logging.getLogger(__name__)
DATA = ("kaldi", "audiofolder", "parquet")
SPEECH_MODELS = ("huggingface", "torchaudio", "fairseq")
MODELS = (*SPEECH_MODELS, "bert")
OPTIONS = {
    "split": DATA,
    "nj": DATA,
    "run_pipes": ("kaldi",),
    "audio": SPEECH_MODELS,
    "tokens": ("torchaudio", "fairseq"),
    "lexicon": SPEECH_MODELS,
    "method": ("torchaudio",),
    "heads": SPEECH_MODELS,
    "norm": SPEECH_MODELS,
    "normalise": SPEECH_MODELS,
    "strides": SPEECH_MODELS,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit import`."""
    parser.add_argument("--format", choices=(*DATA, *MODELS), required=True, help="what is read")
    parser.add_argument(
        "--in",
        dest="source",
        type=Path,
        required=True,
        help="data: folder with a folder for each of train, dev (or valid, validation) and test, or one set by itself; "
        "huggingface: folder of a speech model; torchaudio: file of a state dict; fairseq: checkpoint; bert: folder of "
        "Hugging Face with a Chinese BERT",
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the manifests, as of speechkit prepare, or for the model"
    )
    data = parser.add_argument_group("data")
    data.add_argument(
        "--split", choices=("train", "dev", "test"), help="what a set by itself is (train without this option)"
    )
    data.add_argument("--run-pipes", action="store_true", help="kaldi: run the commands that stand in wav.scp")
    data.add_argument("--nj", type=int, help="number of processes (one for each core without this option)")
    models = parser.add_argument_group("models", "what a checkpoint says itself need not be given")
    models.add_argument("--audio", type=Path, help="speech to compare on (a synthesised sentence without this option)")
    models.add_argument("--tokens", type=Path, help="symbols of the outputs, one a line, the first is the blank")
    models.add_argument("--lexicon", type=Path, help="words that a search may find, spelled in tokens")
    models.add_argument("--method", choices=("wav2vec2", "hubert"), help="how a model was pre-trained")
    models.add_argument("--heads", type=int, help="attention heads")
    models.add_argument("--norm", choices=("before", "after"), help="where norms stand in each block")
    models.add_argument("--normalise", choices=("yes", "no"), help="zero mean and unit variance for waveforms")
    models.add_argument("--strides", type=int, nargs="+", help="strides of the convolutions")


def run(args: argparse.Namespace) -> None:
    """Read all sets and write their manifests and a report, or read a model and write a checkpoint."""
    check_formats(args, OPTIONS)
    if args.format == "bert":
        from speechkit.tasks.bert_import import import_bert

        import_bert(args.source, args.out)
    elif args.format in MODELS:
        _import_model(args)
    else:
        _import_data(args)


def _import_model(args: argparse.Namespace) -> None:
    from speechkit.interop.architecture import Hints
    from speechkit.tasks.model_import import ImportOptions, import_model

    hints = Hints(
        strides=tuple(args.strides) if args.strides else None,
        heads=args.heads,
        norm_first=args.norm == "before" if args.norm else None,
        normalise=args.normalise == "yes" if args.normalise else None,
    )
    options = ImportOptions(hints=hints, method=args.method, tokens=args.tokens, lexicon=args.lexicon, audio=args.audio)
    import_model(args.format, args.source, args.out, options)


def _import_data(args: argparse.Namespace) -> None:
    from speechkit.common.errors import SpeechkitError
    from speechkit.data.manifests import problem_lines, remove_other_splits, write_manifests, write_problems

    found = _read(args)
    problems = [problem for content in found.values() for problem in content.problems]
    for line in problem_lines(problems):
        log.warning("%s", line)
    if not any(content.supervisions for content in found.values()):
        raise SpeechkitError(f"{args.source} has no usable utterance; the lines above say why")
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
    from speechkit.data.parallel import available_cpus

    audio, by_itself, jobs = args.out / "audio", args.split or "train", args.nj or available_cpus()
    if args.format == "audiofolder":
        folders = folders_of(args.source) or {by_itself: args.source}
        return {split: read_audiofolder(folder, split, audio / split, jobs) for split, folder in folders.items()}
    if args.format == "parquet":
        files = parquet_files(args.source) or {by_itself: sorted(args.source.rglob("*.parquet"))}
        return {split: read_parquet(paths, split, audio / split, jobs) for split, paths in files.items()}
    named = {split: next((args.source / name for name in names if (args.source / name / "wav.scp").exists()), None)
             for split, names in FOLDERS.items()}  # fmt: skip
    sets = {split: folder for split, folder in named.items() if folder} or {by_itself: args.source}
    return {split: read_kaldi(folder, split, audio / split, args.run_pipes, jobs) for split, folder in sets.items()}
