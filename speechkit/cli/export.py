"""Write cuts as Kaldi, Hugging Face or Lhotse has them, or a model as Hugging Face or ONNX has it."""

import argparse
import logging
from pathlib import Path

from speechkit.cli.formats import check_formats

log = logging.getLogger(__name__)
DATA = ("kaldi", "audiofolder", "shar")
MODELS = ("huggingface", "onnx")
OPTIONS = {"in": DATA, "shard_size": ("shar",), "checkpoint": MODELS, "audio": MODELS}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit export`."""
    parser.add_argument("--format", choices=(*DATA, *MODELS), required=True, help="what is written")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder to write, with a folder for each set; onnx: a file"
    )
    data = parser.add_argument_group("data")
    data.add_argument("--in", type=Path, help="folder with cuts of train, dev or test, such as data/valid")
    data.add_argument("--shard-size", type=int, help="shar: cuts in a shard (1000 without this option)")
    models = parser.add_argument_group("models")
    models.add_argument("--checkpoint", type=Path, help="folder of a trained model, such as exp/wav2vec2/final")
    models.add_argument("--audio", type=Path, help="speech to compare on (a synthesised sentence without this option)")


def run(args: argparse.Namespace) -> None:
    """Write all sets that there are, or the model."""
    check_formats(args, OPTIONS, required=("in", "checkpoint"))
    if args.format in MODELS:
        from speechkit.tasks.model_export import export_huggingface, export_onnx

        write = export_onnx if args.format == "onnx" else export_huggingface
        write(args.checkpoint, args.out, args.audio)
    else:
        _export_data(args)


def _export_data(args: argparse.Namespace) -> None:
    from speechkit.common.errors import UsageError
    from speechkit.data.interchange.audiofolder import write_audiofolder
    from speechkit.data.interchange.kaldi import write_kaldi
    from speechkit.data.interchange.shar import write_shar
    from speechkit.data.manifests import present_splits, read_cuts

    folder: Path = getattr(args, "in")
    size = 1000 if args.shard_size is None else args.shard_size
    if size < 1:
        raise UsageError(f"--shard-size is at least 1, not {size}")
    for split in present_splits(folder, "cuts"):
        cuts = read_cuts(folder / f"cuts_{split}.jsonl.gz")
        if args.format == "kaldi":
            log.info("%s: %d utterances", split, write_kaldi(cuts, args.out / split))
        elif args.format == "audiofolder":
            log.info("%s: %d utterances", split, write_audiofolder(cuts, args.out, split))
        else:
            log.info("%s: %d shards", split, write_shar(cuts, args.out / split, size))
    log.info("written to %s", args.out)
