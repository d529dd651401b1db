"""turn a corpus on disk into Lhotse manifests"""

import argparse
import logging
from pathlib import Path

from speechkit.common.errors import UsageError
from speechkit.data.corpora import CORPORA, prepare_corpus
from speechkit.data.parallel import available_cpus

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    titles = "; ".join(f"{name}: {corpus.title}" for name, corpus in CORPORA.items())
    parser.add_argument("--corpus", required=True, help=f"name of the corpus ({titles})")
    parser.add_argument("--in", dest="root", type=Path, required=True, help="folder of the corpus")
    parser.add_argument("--out", type=Path, required=True, help="folder for the manifests")
    parser.add_argument("--seed", type=int, default=0, help="seed of whatever is drawn at random")
    parser.add_argument("--nj", type=int, default=available_cpus(), help="number of processes")
    for corpus_name, corpus in CORPORA.items():
        for name, option in corpus.options.items():
            parser.add_argument(f"--{name}", default=argparse.SUPPRESS, help=f"{corpus_name} only: {option.help}")


def run(args: argparse.Namespace) -> None:
    """Write manifests of all splits."""
    known = {name: option for corpus in CORPORA.values() for name, option in corpus.options.items()}
    options = {}
    for name, option in known.items():
        text = getattr(args, name.replace("-", "_"), None)
        if text is not None:
            try:
                options[name] = option.kind(text)
            except ValueError as error:
                raise UsageError(f"--{name} cannot be '{text}': {option.help}") from error
    splits = prepare_corpus(args.corpus, args.root, args.out, args.seed, args.nj, options)
    from speechkit.data.manifests import write_manifests

    for split, content in splits.items():
        write_manifests(args.out, split, content)
        hours = sum(item.duration for item in content.recordings) / 3600
        note = f", {len(content.problems)} unusable (bad_{split}.jsonl)" if content.problems else ""
        log.info("%s: %d utterances, %.2f hours%s", split, len(content.supervisions), hours, note)
    log.info("manifests are in %s", args.out)
