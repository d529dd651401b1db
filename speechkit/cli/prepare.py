"""turn a corpus on disk, or a folder of recordings with transcripts, into Lhotse manifests"""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from speechkit.common.errors import UsageError
from speechkit.data.corpora import CORPORA, Option, prepare_corpus
from speechkit.data.parallel import available_cpus

if TYPE_CHECKING:
    from speechkit.data.manifests import Split

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    titles = "; ".join(f"{name}: {corpus.title}" for name, corpus in CORPORA.items())
    parser.add_argument("--corpus", help=f"name of the corpus ({titles})")
    parser.add_argument("--in", dest="root", type=Path, help="folder of the corpus")
    parser.add_argument("--out", type=Path, required=True, help="folder for the manifests")
    parser.add_argument("--seed", type=int, default=0, help="seed of whatever is drawn at random")
    parser.add_argument("--nj", type=int, default=available_cpus(), help="number of processes")
    for name, option in _known_options().items():
        owners = ", ".join(corpus_name for corpus_name, corpus in CORPORA.items() if name in corpus.options)
        parser.add_argument(f"--{name}", default=argparse.SUPPRESS, help=f"{owners} only: {option.help}")
    _add_own(parser.add_argument_group("data of your own, instead of --corpus and --in"))


def _known_options() -> dict[str, Option]:
    """Options of all corpora; one that several have means the same for each."""
    return {name: option for corpus in CORPORA.values() for name, option in corpus.options.items()}


def _add_own(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--audio", type=Path, help="folder of recordings of any format, searched with all below it")
    group.add_argument(
        "--text",
        type=Path,
        help="`id words ...` lines, or a TSV or CSV file with columns such as file, text, speaker and split; or a "
        "folder of ID.txt or ID.lab; beside the recordings if left out",
    )
    group.add_argument("--language", default="any", help="rules for the text: any, en or zh")
    group.add_argument("--case", choices=("lower", "upper", "keep"), default="lower", help="case of the words")
    group.add_argument(
        "--digits", choices=("keep", "leave-out"), default="keep", help="utterances that are not spelled out"
    )
    group.add_argument("--dev-share", type=float, default=0.1, help="part of the utterances for development")
    group.add_argument("--test-share", type=float, default=0.1, help="part of the utterances for the test")
    group.add_argument("--split-by", choices=("speaker", "utterance"), default="speaker", help="what no two sets share")


def run(args: argparse.Namespace) -> None:
    """Write manifests of all splits."""
    if args.audio and (args.corpus or args.root):
        raise UsageError("--audio takes data of your own, --corpus with --in a corpus; give one of them")
    if not args.audio and not (args.corpus and args.root):
        raise UsageError("give --corpus and --in, or --audio and --text for data of your own")
    if args.text and not args.audio:
        raise UsageError("--text goes with --audio")
    _write(_own(args) if args.audio else _corpus(args), args.out)


def _own(args: argparse.Namespace) -> "dict[str, Split]":
    from dataclasses import replace

    from speechkit.data.corpora.own import Division, OwnData, prepare_own
    from speechkit.data.manifests import problem_lines, write_problems
    from speechkit.text.normalise import rules_of

    rules = replace(rules_of(args.language), case=args.case)
    division = Division(args.dev_share, args.test_share, args.split_by)
    data = OwnData(args.audio, args.text, rules, args.digits, division, args.seed)
    splits, problems = prepare_own(data, args.out, args.nj)
    write_problems(args.out / "report.jsonl", problems)
    for line in problem_lines(problems):
        log.warning("%s", line)
    return splits


def _corpus(args: argparse.Namespace) -> "dict[str, Split]":
    options = {}
    for name, option in _known_options().items():
        text = getattr(args, name.replace("-", "_"), None)
        if text is not None:
            try:
                options[name] = option.kind(text)
            except ValueError as error:
                raise UsageError(f"--{name} cannot be '{text}': {option.help}") from error
    return prepare_corpus(args.corpus, args.root, args.out, args.seed, args.nj, options)


def _write(splits: "dict[str, Split]", out: Path) -> None:
    from speechkit.data.manifests import remove_other_splits, write_manifests

    remove_other_splits(out, splits)
    for split, content in splits.items():
        write_manifests(out, split, content)
        hours = sum(item.duration for item in content.recordings) / 3600
        note = f", {len(content.problems)} unusable (bad_{split}.jsonl)" if content.problems else ""
        log.info("%s: %d utterances, %.2f hours%s", split, len(content.supervisions), hours, note)
    log.info("manifests are in %s", out)
