"""Make a lexicon of phones for the words of cuts: from a dictionary, and by espeak-ng for those that it lacks."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from speechkit.text.lexicon import Lexicon

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit lexicon`."""
    parser.add_argument("--cuts", type=Path, nargs="+", required=True, help="cuts whose words are looked up")
    parser.add_argument("--cmudict", type=Path, help="dictionary of CMU's form: `WORD(1)  W ER1 D`")
    parser.add_argument("--lexicon", type=Path, help="dictionary of Kaldi's form: `word phone phone ...`")
    parser.add_argument(
        "--language",
        help="language of espeak-ng, such as en-us or de, for words that no dictionary has: in CMU's phones beside "
        "--cmudict, else in IPA",
    )
    parser.add_argument("--stress", action="store_true", help="keep the marks of stress (0, 1 and 2, in IPA ˈ and ˌ)")
    parser.add_argument("--out", type=Path, required=True, help="lexicon to write, as --lexicon of speechkit lang")


def run(args: argparse.Namespace) -> None:
    """Look up, phonemise and write; words without a pronunciation are named in one line and left out."""
    from speechkit.cli.lang import supervision_fields
    from speechkit.common.errors import SpeechkitError, UsageError
    from speechkit.text.lexicon import Lexicon

    if args.cmudict and args.lexicon:
        raise UsageError("--cmudict and --lexicon are two dictionaries; give one of them")
    if not (args.cmudict or args.lexicon or args.language):
        raise UsageError("give a dictionary (--cmudict or --lexicon), a language of espeak-ng (--language), or both")
    words = sorted({word for cuts in args.cuts for each in supervision_fields(cuts) for word in each["text"].split()})
    if not words:
        raise SpeechkitError(f"{args.cuts[0]} holds no words; check the transcripts")
    known = _dictionary(args)
    missing = [word for word in words if word not in known]
    said = _phonemised(missing, args) if args.language and missing else Lexicon([])
    lexicon = Lexicon(
        (word, spelling)
        for word in words
        for source in (known, said)
        if word in source
        for spelling in source.spellings(word)
    )
    if not len(lexicon):
        raise SpeechkitError("none of the words has a pronunciation; check --cmudict, --lexicon and --language")
    lexicon.write(args.out)
    silent = [word for word in words if word not in lexicon]
    if silent:
        log.warning("%d words have no pronunciation: %s; add them to the dictionary", len(silent), _some(silent))
    print(f"{len(lexicon)} of {len(words)} words, {len(said)} by espeak-ng, {len(lexicon.tokens)} phones in {args.out}")


def _dictionary(args: argparse.Namespace) -> "Lexicon":
    from speechkit.text.cmudict import read_cmudict
    from speechkit.text.lexicon import Lexicon

    if args.cmudict:
        return read_cmudict(args.cmudict, stress=args.stress)
    return Lexicon.read(args.lexicon) if args.lexicon else Lexicon([])


def _phonemised(words: "Sequence[str]", args: argparse.Namespace) -> "Lexicon":
    from speechkit.data.phonemise import phonemise
    from speechkit.text.cmudict import arpabet
    from speechkit.text.lexicon import Lexicon

    found = phonemise(words, args.language, args.stress) or Lexicon([])
    if not args.cmudict:
        return found
    spelled = ((word, arpabet(phones, args.stress)) for word, phones in found.entries)
    return Lexicon((word, phones) for word, phones in spelled if phones)


def _some(words: "Sequence[str]") -> str:
    return " ".join(words[:20]) + (" ..." if len(words) > 20 else "")
