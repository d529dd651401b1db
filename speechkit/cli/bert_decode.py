"""Recognise a set with BERT-ASR, in the segments that a file says."""

import argparse
import math
import time
from pathlib import Path

from speechkit.cli.decoding import write_decoding


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit bert-decode`."""
    parser.add_argument("--checkpoint", type=Path, required=True, help="BERT-ASR model, such as exp/bert-asr/final")
    parser.add_argument(
        "--cuts", type=Path, required=True, help="cuts with features; cmvn.safetensors lies beside them"
    )
    parser.add_argument("--segments", type=Path, required=True, help="segments_<set>.jsonl.gz of `speechkit segments`")
    parser.add_argument("--alignment", default="", metavar="NAME", help="what made them, for the table of results")
    parser.add_argument("--beam", type=int, default=8, help="hypotheses of an utterance that are kept; 1 is greedy")
    parser.add_argument(
        "--margin",
        type=float,
        default=math.inf,
        help="hypotheses are dropped whose log-probability lies so much below the best",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for hyp.txt, ref.txt and decode.json")


def run(args: argparse.Namespace) -> None:
    """Recognise and write the results."""
    import torch

    from speechkit.common.errors import UsageError
    from speechkit.tasks.bert_asr import BertAsrModel
    from speechkit.tasks.bert_asr_recognition import SegmentRecognition

    if args.beam < 1:
        raise UsageError(f"--beam is at least 1, not {args.beam}")
    if not args.margin > 0:
        raise UsageError(f"--margin is more than 0, not {args.margin:g}")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    cuts = SegmentRecognition(BertAsrModel.load(args.checkpoint), args.cuts, args.segments, device)
    start = time.monotonic()
    words = cuts.decode(args.beam, args.margin)
    method = "segments" if not args.alignment else f"{args.alignment} segments"
    write_decoding(
        args.out,
        words,
        cuts.references(),
        {"method": method, "beam": {"beam": args.beam}},
        seconds=time.monotonic() - start,
        audio=sum(cut.duration for cut in cuts.cuts),
    )
