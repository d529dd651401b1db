"""Count errors of a decoded set against its reference."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit score`."""
    parser.add_argument("--dir", type=Path, required=True, help="decoding folder with ref.txt and hyp.txt")
    parser.add_argument("--lang", type=Path, help="language folder, which tells unit and folding")
    parser.add_argument(
        "--unit", choices=("auto", "phone", "char", "word"), default="auto", help="what errors are counted on"
    )
    parser.add_argument("--fold", type=int, choices=(61, 48, 39), help="fold TIMIT phones to this set first")


def run(args: argparse.Namespace) -> None:
    """Print the error rate line, last; write per_utt.txt, confusions.txt, result.json.

    Words bring the error rate of their letters, Chinese characters that of their syllables, and syllables.txt.
    """
    from speechkit.report.scoring import score_folder, write_score
    from speechkit.report.syllables import score_syllables, write_syllables

    unit, folded_to = _unit(args.unit, args.lang, args.fold)
    score = score_folder(args.dir, unit, folded_to)
    lines, more = [], {}
    if unit == "word":
        letters = score_folder(args.dir, "letter")
        lines, more = [letters.line(str(args.dir))], {"letter_error_rate": letters.total.rate}
    elif unit == "char" and (said := score_syllables(score)):
        lines, more = said.lines(str(args.dir)), said.figures()
        write_syllables(said, args.dir)
    write_score(score, args.dir, more)
    figures = score.figures()
    low, high = figures["interval"]
    print(f"95 % interval {low:.2f} to {high:.2f}, {figures['sentence_error_rate']:.2f} % of sentences have an error")
    for line in (*lines, score.line(str(args.dir))):
        print(line)


def _unit(unit: str, lang: Path | None, folded_to: int | None) -> tuple[str, int | None]:
    """Unit and phone set that errors are counted on: the options, else what the language folder says."""
    from speechkit.common.errors import UsageError
    from speechkit.common.files import read_json, require_file

    if lang:
        require_file(lang / "lang.json", "run `speechkit lang` (stage 2), or correct --lang")
        description = read_json(lang / "lang.json")
        scored = description["scored_phones"]
        unit = description.get("scored_unit", "phone" if scored else "word") if unit == "auto" else unit
        folded_to = folded_to or (scored if unit == "phone" else None)
    if unit == "auto":
        unit = "phone" if folded_to else "word"
    if folded_to and unit != "phone":
        raise UsageError(f"--fold is for phones, not for --unit {unit}")
    return unit, folded_to
