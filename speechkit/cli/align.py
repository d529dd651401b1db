"""Forced alignment: where the words and phones of a transcript are in its recording."""

import argparse
import logging
from pathlib import Path

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit align`."""
    what = parser.add_argument_group("what to align: cuts of a recipe, or a folder of recordings")
    what.add_argument("--cuts", type=Path, nargs="+", help="cuts with features; cmvn.safetensors lies beside them")
    what.add_argument("--corpus-dir", type=Path, help="folder of recordings, searched with all below it")
    what.add_argument(
        "--text",
        type=Path,
        help="file of `id words ...` lines, or a folder of ID.txt or ID.lab; beside the recordings if left out",
    )
    model = parser.add_argument_group("model: trained on the recordings themselves where none is given")
    model.add_argument("--model", type=Path, help="aligner of `speechkit hmm`, such as exp/hmm/model/final")
    model.add_argument("--checkpoint", type=Path, help="CTC model of `speechkit train`, such as exp/fbank/final")
    model.add_argument("--lexicon", type=Path, help="words and their phones for --corpus-dir, `word phone phone ...`")
    model.add_argument(
        "--language", help="language of espeak-ng for --corpus-dir, such as en-us, where no --lexicon is"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the alignments")
    parser.add_argument(
        "--format",
        default=argparse.SUPPRESS,
        help="ctm, textgrid, lhotse, labels, joined by commas (default: ctm,textgrid; for cuts ctm,lhotse,labels)",
    )
    parser.add_argument("--fsa-engine", default="auto", metavar="{auto,torch,k2}", help="what searches for best paths")
    parser.add_argument("--seed", type=int, default=0, help="seed of a training")
    parser.add_argument("--nj", type=int, default=1, help="processes that read and convert recordings")


def run(args: argparse.Namespace) -> None:
    """Align and report."""
    from speechkit.common.errors import SpeechkitError
    from speechkit.fsa.intersect import choose_engine
    from speechkit.tasks.alignment import align_cuts, describe, load_aligner
    from speechkit.tasks.recordings import RecordingsJob, align_recordings

    _check(args)
    formats, engine = _formats(args), choose_engine(args.fsa_engine)
    if args.corpus_dir:
        names = ("model", "lexicon", "language", "seed", "nj")
        more = {name: getattr(args, name) for name in names}
        job = RecordingsJob(args.corpus_dir, args.text, args.out, formats, engine=engine, **more)
        done = [align_recordings(job)]
    else:
        aligner = load_aligner(args.model, args.checkpoint, engine)
        done = [align_cuts(aligner, cuts, args.out, formats) for cuts in args.cuts]
    for each in done:
        (log.warning if each.summary.failed else log.info)("%s", describe(each, args.out))
    if not any(each.summary.aligned for each in done):
        raise SpeechkitError(f"no utterance could be aligned; the reports in {args.out} say why")
    log.info("alignments are in %s", args.out)


def _check(args: argparse.Namespace) -> None:
    """Refuse options that do not go together."""
    from speechkit.common.errors import UsageError

    if (args.cuts is None) == (args.corpus_dir is None):
        raise UsageError("give --cuts of a recipe or --corpus-dir with recordings, one of them")
    if args.cuts and (args.model is None) == (args.checkpoint is None):
        raise UsageError(
            "--cuts need a model: --model of `speechkit hmm` or --checkpoint of `speechkit train`, one of them"
        )
    if args.cuts and (args.text or args.lexicon or args.language):
        raise UsageError("--text, --lexicon and --language go with --corpus-dir; cuts have their transcripts")
    if args.corpus_dir and args.checkpoint:
        raise UsageError("--checkpoint goes with --cuts; a folder of recordings takes --model or trains its own")
    if args.lexicon and args.language:
        raise UsageError("--lexicon and --language both tell how words are said; give one of them")


def _formats(args: argparse.Namespace) -> list[str]:
    from speechkit.align.output import FORMATS
    from speechkit.common.errors import UsageError
    from speechkit.common.names import nearest

    if "format" not in args:
        return ["ctm", "textgrid"] if args.corpus_dir else ["ctm", "lhotse", "labels"]
    formats = [name.strip() for name in args.format.split(",")]
    for name in formats:
        if name not in FORMATS:
            raise UsageError(f"--format: unknown '{name}'{nearest(name, FORMATS)} (formats: {', '.join(FORMATS)})")
    return formats
