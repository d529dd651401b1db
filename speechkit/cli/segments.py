"""Find where the characters of utterances lie: by forced alignment, or in one of three ways that need no reference."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from speechkit.tasks.segments import Segmenter

log = logging.getLogger(__name__)
KINDS = ("oracle", "linear", "ctc", "cif")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit segments`."""
    parser.add_argument(
        "--kind",
        choices=KINDS,
        required=True,
        help="oracle: the alignment in the cuts; linear: equal parts; ctc: about the tokens that a model finds; "
        "cif: where the weights of a model of `speechkit cif` sum up to one",
    )
    parser.add_argument(
        "--cuts",
        type=Path,
        nargs="+",
        required=True,
        help="cuts_SET.jsonl.gz with features, cmvn.safetensors beside them; for oracle cuts_SET_ali.jsonl.gz",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for segments_SET.jsonl.gz")
    parser.add_argument(
        "--count",
        choices=("ratio", "ctc"),
        default="ratio",
        help="where linear has the number of characters from: the length of the utterance, or a CTC model",
    )
    parser.add_argument("--train-cuts", type=Path, help="cuts that tell the number of characters by length")
    parser.add_argument("--checkpoint", type=Path, help="model of `speechkit train` or `speechkit cif`")
    parser.add_argument(
        "--reference", type=Path, help="folder of oracle segments to compare with; the figures go to OUT/quality.json"
    )


def run(args: argparse.Namespace) -> None:
    """Write the segments of each set, and say what was dropped and how near they are to the reference."""
    from speechkit.common.errors import UsageError
    from speechkit.common.files import write_json
    from speechkit.data.segments import set_name
    from speechkit.metrics.segments import segment_table
    from speechkit.tasks.segments import quality, segment_cuts

    names = [set_name(cuts) for cuts in args.cuts]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"--cuts names the set '{twice[0]}' twice; give each once")
    segmenter = _segmenter(args)
    for cuts in args.cuts:
        print(segment_cuts(segmenter, cuts, args.out).describe(), flush=True)
    if args.reference:
        scores = {name: quality(args.out, name, args.reference) for name in names}
        write_json(args.out / "quality.json", {name: score.figures() for name, score in scores.items()})
        print(segment_table(scores))
    log.info("segments are in %s", args.out)


def _segmenter(args: argparse.Namespace) -> "Segmenter":
    import torch

    from speechkit.tasks.segments import Ctc, IntegrateAndFire, Linear, learnt_rate, oracle

    by_ratio = args.kind == "linear" and args.count == "ratio"
    _require(args, "train_cuts", by_ratio)
    _require(args, "checkpoint", args.kind in ("ctc", "cif") or (args.kind == "linear" and not by_ratio))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if args.kind == "oracle":
        return oracle
    if args.kind == "cif":
        return IntegrateAndFire(args.checkpoint, device)
    if not by_ratio:
        return Ctc(args.checkpoint, device, linear=args.kind == "linear")
    rate = learnt_rate(args.train_cuts)
    log.info("characters = %.4f * seconds %+.4f, from %s", rate.per_second, rate.offset, args.train_cuts)
    return Linear(rate)


def _require(args: argparse.Namespace, name: str, needed: bool) -> None:
    from speechkit.common.errors import UsageError

    option, given = f"--{name.replace('_', '-')}", getattr(args, name) is not None
    kind = f"--kind {args.kind}" + (f" --count {args.count}" if args.kind == "linear" else "")
    if needed and not given:
        raise UsageError(f"{kind} needs {option}")
    if given and not needed:
        raise UsageError(f"{kind} does not read {option}; leave it out")
