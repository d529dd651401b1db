"""Take a labelled training set apart into audio without transcripts and text that does not belong to it."""

import argparse
import logging
from pathlib import Path

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit unpair`."""
    parser.add_argument("--in", dest="source", type=Path, required=True, help="folder with cuts_train, as data/valid")
    parser.add_argument("--out", type=Path, required=True, help="folder for audio and text.txt; recordings stay")
    parser.add_argument(
        "--setting",
        choices=("matched", "unmatched", "audio"),
        required=True,
        help="matched: text and audio of all utterances, the text shuffled; unmatched: no sentence is in both; audio: "
        "no text, which comes from elsewhere",
    )
    parser.add_argument("--field", default="text", help="what becomes text: text, or phones as TIMIT has them")
    parser.add_argument(
        "--text-share",
        type=float,
        default=0.25,
        help="part of the utterances that is text in the unmatched setting: 1000 of 4000 for TIMIT in the paper",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the choice and of the order of the text")


def run(args: argparse.Namespace) -> None:
    """Split and write."""
    from speechkit.common.errors import UsageError
    from speechkit.data.unpair import unpair

    if not 0 < args.text_share < 1:
        raise UsageError(f"--text-share lies between 0 and 1, not at {args.text_share:g}")
    share = {"matched": None, "unmatched": args.text_share, "audio": 0.0}[args.setting]
    found = unpair(args.source, args.out, args.field, share, args.seed)
    log.info(
        "audio of %d utterances without transcripts, text of %d, %d sentences in both, are in %s",
        found.audio, found.text, found.common_sentences, args.out,
    )  # fmt: skip
