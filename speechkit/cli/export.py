"""Write cuts as Kaldi data directories, a Hugging Face audio folder, or Lhotse Shar for streaming."""

import argparse
import logging
from pathlib import Path

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit export`."""
    parser.add_argument(
        "--to", dest="kind", choices=("kaldi", "audiofolder", "shar"), required=True, help="what is written"
    )
    parser.add_argument(
        "--in", dest="cuts", type=Path, required=True, help="folder with cuts of train, dev or test, such as data/valid"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write, with a folder for each set")
    parser.add_argument("--shard-size", type=int, default=1000, help="shar: cuts in a shard")


def run(args: argparse.Namespace) -> None:
    """Write all sets that there are."""
    from speechkit.common.errors import UsageError
    from speechkit.data.interchange.audiofolder import write_audiofolder
    from speechkit.data.interchange.kaldi import write_kaldi
    from speechkit.data.interchange.shar import write_shar
    from speechkit.data.manifests import present_splits, read_cuts

    if args.shard_size < 1:
        raise UsageError(f"--shard-size is at least 1, not {args.shard_size}")
    for split in present_splits(args.cuts, "cuts"):
        cuts = read_cuts(args.cuts / f"cuts_{split}.jsonl.gz")
        if args.kind == "kaldi":
            log.info("%s: %d utterances", split, write_kaldi(cuts, args.out / split))
        elif args.kind == "audiofolder":
            log.info("%s: %d utterances", split, write_audiofolder(cuts, args.out, split))
        else:
            log.info("%s: %d shards", split, write_shar(cuts, args.out / split, args.shard_size))
    log.info("written to %s", args.out)
