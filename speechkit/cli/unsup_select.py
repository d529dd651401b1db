"""Choose among decodings of one set without any transcript, by language model and the labels of the round before."""

import argparse
import logging
from pathlib import Path

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit unsup-select`."""
    parser.add_argument("--decodings", type=Path, nargs="+", required=True, help="folders with hyp.txt and decode.json")
    parser.add_argument("--labels", type=Path, required=True, help="hyp.txt that the decoding models were trained on")
    parser.add_argument("--lm", type=Path, required=True, help="n-gram of unpaired text, ARPA or KenLM's binary format")
    parser.add_argument(
        "--floor", type=float, default=0.0, help="errors for each word below which nearness to the labels is no merit"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for hyp.txt, weights.json and selection.json")


def run(args: argparse.Namespace) -> None:
    """Compare and copy the best."""
    from dataclasses import asdict

    from speechkit.common.errors import UsageError
    from speechkit.common.files import read_json, write_json, write_text
    from speechkit.report.transcripts import read_transcripts
    from speechkit.tasks.unsupervised_choice import candidate

    if not 0 <= args.floor < 1:
        raise UsageError(f"--floor lies between 0 and 1, not at {args.floor:g}")
    labels = read_transcripts(args.labels)
    heard = {folder: read_transcripts(folder / "hyp.txt") for folder in args.decodings}
    found = [candidate(str(folder), words, labels, args.lm, args.floor) for folder, words in heard.items()]
    for each in found:
        log.info("%s: perplexity %.2f, %.2f %% from the labels, score %.4f",
                 each.name, each.perplexity, 100 * each.error_rate, each.score)  # fmt: skip
    best = min(found, key=lambda each: each.score)
    chosen = Path(best.name)
    write_text(args.out / "hyp.txt", "".join(f"{' '.join([name, *words])}\n" for name, words in heard[chosen].items()))
    write_json(args.out / "weights.json", {"best": read_json(chosen / "decode.json")["weights"]})
    write_json(
        args.out / "selection.json",
        {"chosen": best.name, "floor": args.floor, "lm": str(args.lm), "candidates": [asdict(each) for each in found]},
    )
    print(f"{best.name} is chosen of {len(found)}")
