"""Estimate an n-gram language model (interpolated modified Kneser-Ney) and write it as an ARPA file."""

import argparse
import time
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit ngram`."""
    parser.add_argument("--text", type=Path, required=True, help="training text, one sentence per line")
    parser.add_argument("--order", type=int, required=True, help="length of the longest n-grams")
    parser.add_argument("--out", type=Path, required=True, help="ARPA file to write")
    parser.add_argument(
        "--estimator", choices=("auto", "lmplz", "own"), default="auto", help="auto takes lmplz where it is built"
    )
    parser.add_argument(
        "--discount-fallback",
        type=float,
        nargs=3,
        default=(0.5, 1.0, 1.5),
        metavar=("D1", "D2", "D3"),
        help="discounts of counts 1, 2 and 3 or more where the text is too small to estimate them",
    )
    parser.add_argument("--test", type=Path, help="print the perplexity of this text too")


def run(args: argparse.Namespace) -> None:
    """Estimate, write, and print what was used."""
    from speechkit.common.errors import SpeechkitError, UsageError
    from speechkit.lm.counts import read_sentences
    from speechkit.lm.lmplz import find_lmplz, run_lmplz
    from speechkit.lm.perplexity import perplexity

    start = time.monotonic()
    if args.order < 1:
        raise UsageError(f"--order is at least 1, not {args.order}")
    if not all(0 < discount <= count for count, discount in enumerate(args.discount_fallback, start=1)):
        raise UsageError("--discount-fallback takes three discounts above 0, at most 1, 2 and 3")
    if not any(read_sentences(args.text)):
        raise SpeechkitError(f"{args.text} holds no words; check the stage that writes it")
    program = find_lmplz() if args.estimator != "own" else None
    if program is None and args.estimator == "lmplz":
        raise SpeechkitError(
            "lmplz not found; run tools/install_kenlm.sh, set SPEECHKIT_KENLM, or take --estimator own"
        )
    fallback = tuple(args.discount_fallback)
    if program:
        run_lmplz(program, args.text, args.order, args.out, fallback)
    else:
        _estimate(args.text, args.order, args.out, fallback)
    used = f"{program}" if program else "speechkit's own estimator"
    print(f"{args.order}-gram model of {args.text} in {args.out}, by {used}, {time.monotonic() - start:.1f} s")
    if args.test:
        found = perplexity(args.out, args.test)
        print(f"perplexity {found.value:.2f} of {args.test}: {found.tokens} tokens, {found.unknown} unknown")


def _estimate(text: Path, order: int, out: Path, fallback: "tuple[float, float, float]") -> None:
    from speechkit.lm.counts import count_ngrams, read_sentences
    from speechkit.lm.kneser_ney import estimate

    model = estimate(count_ngrams(read_sentences(text), order), fallback)
    model.write(out)
