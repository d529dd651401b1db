"""Give cuts the words that a model has recognised in them as transcripts, for another model to learn from."""

import argparse
import logging
from pathlib import Path

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit relabel`."""
    parser.add_argument(
        "--cuts", type=Path, nargs="+", required=True, help="cuts_train and others; what transcripts they have is lost"
    )
    parser.add_argument("--hyp", type=Path, nargs="+", required=True, help="hyp.txt of `speechkit decode` for each")
    parser.add_argument("--field", default="text", help="field for the words: text, or phones as TIMIT has them")
    parser.add_argument("--out", type=Path, required=True, help="folder for the cuts; audio and features stay")


def run(args: argparse.Namespace) -> None:
    """Read, join and write."""
    from speechkit.common.errors import UsageError
    from speechkit.data.unlabelled import relabel
    from speechkit.report.transcripts import read_transcripts

    if len(args.cuts) != len(args.hyp):
        raise UsageError(f"--cuts names {len(args.cuts)} files and --hyp {len(args.hyp)}; give one hyp.txt for each")
    heard = [read_transcripts(path) for path in args.hyp]
    for cuts, words, path in zip(args.cuts, heard, args.hyp, strict=True):
        kept, empty = relabel(cuts, words, args.out, args.field, str(path))
        (log.warning if empty else log.info)(
            "%s: %d utterances have what was recognised; %d in which nothing was are left out", cuts, kept, empty
        )
