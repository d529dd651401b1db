"""Make phones with silences of text that belongs to no recording, for unsupervised recognition."""

import argparse
import logging
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from speechkit.text.lexicon import Lexicon
    from speechkit.text.normalise import Rules
    from speechkit.text.unpaired import Sentences

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit unpaired-text`."""
    parser.add_argument("--text", type=Path, required=True, help="text, one sentence per line, plain or gzip")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    said = parser.add_argument_group("how words are said: one of these")
    said.add_argument("--lexicon", type=Path, help="words and their phones, `word phone phone ...`")
    said.add_argument("--cmudict", type=Path, help="dictionary of CMU's form: `WORD(1)  W ER1 D`")
    said.add_argument("--espeak-voice", help="language of espeak-ng, such as en-us, for IPA phones")
    said.add_argument("--phones", action="store_true", help="the lines are phones already")
    timit = parser.add_argument_group("TIMIT's phones, with --phones")
    timit.add_argument("--phone-set", type=int, choices=(48, 39), help="fold to this set; its silences become <SIL>")
    timit.add_argument("--score-silence", action="store_true", help="silences are the phone sil, as in TIMIT's scoring")
    words = parser.add_argument_group("what becomes of the text")
    words.add_argument("--language", default="any", help="rules for the words: any, en or zh")
    words.add_argument("--case", choices=("lower", "upper", "keep"), default="lower", help="of the words and lexicon")
    words.add_argument("--least-words", type=int, default=2, help="leave out words that come less often, with lines")
    words.add_argument("--least-count", type=int, default=1, help="leave out phones that come less often, with lines")
    words.add_argument("--silence", type=float, default=0.25, help="probability of <SIL> between two words")
    words.add_argument("--seed", type=int, default=0, help="seed of the silences")


def run(args: argparse.Namespace) -> None:
    """Normalise, look up, leave out what is rare, insert silences, and write."""
    import tempfile
    from dataclasses import replace

    from speechkit.common.errors import SpeechkitError, UsageError
    from speechkit.text.normalise import rules_of
    from speechkit.text.unpaired import TextConfig, own_spellings, word_counts, write_unpaired

    _check(args)
    try:
        config = TextConfig(
            silence=0.0 if args.phones else args.silence,
            least_words=1 if args.phones else args.least_words,
            least_phones=args.least_count,
            seed=args.seed,
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    rules = replace(rules_of(args.language), case=args.case)
    with tempfile.TemporaryDirectory(prefix="speechkit-text-") as work:
        sentences = _phone_lines(args) if args.phones else _normalised(args.text, rules, Path(work) / "words.txt")
        counts = word_counts(sentences)
        if not counts:
            raise SpeechkitError(f"{args.text} holds no {'phones' if args.phones else 'words'}; correct --text")
        lexicon = own_spellings(sorted(counts)) if args.phones else _lexicon(args, counts, rules)
        found = write_unpaired(sentences, counts, lexicon, args.out, config, args.phone_set, args.score_silence)
    log.info(
        "left out of %d lines: %d with rare words, %d with words without a pronunciation, %d with rare phones",
        found.lines, found.rare_words, found.no_pronunciation, found.rare_phones,
    )  # fmt: skip
    print(f"{found.kept} of {found.lines} lines are in {args.out}")


def _check(args: argparse.Namespace) -> None:
    from speechkit.common.errors import UsageError

    given = [name for name in ("lexicon", "cmudict", "espeak_voice", "phones") if getattr(args, name)]
    if len(given) != 1:
        raise UsageError("give one of --lexicon, --cmudict, --espeak-voice and --phones")
    if args.phone_set and not args.phones:
        raise UsageError("--phone-set goes with --phones: it folds the phones of TIMIT's transcripts")
    if args.score_silence and not args.phone_set:
        raise UsageError("--score-silence goes with --phone-set: it is TIMIT's silence that is scored")


def _phone_lines(args: argparse.Namespace) -> "Sentences":
    """Lines of phones, read again each time."""
    from speechkit.text.lines import numbered_lines
    from speechkit.text.unpaired import timit_sentences

    if args.phone_set:
        return lambda: timit_sentences(args.text, args.phone_set)
    return lambda: (line.split() for _, line in numbered_lines(args.text, "correct --text"))


def _normalised(text: Path, rules: "Rules", words: Path) -> "Sentences":
    """Words of the text, which are written to a file once: what comes after reads them several times."""
    from speechkit.text.lines import numbered_lines
    from speechkit.text.normalise import words_of

    with words.open("w", encoding="utf-8") as stream:
        for _, line in numbered_lines(text, "correct --text"):
            stream.write(" ".join(words_of(line, rules)) + "\n")
    return lambda: (line.split() for _, line in numbered_lines(words))


def _lexicon(args: argparse.Namespace, counts: "Counter[str]", rules: "Rules") -> "Lexicon":
    """How the words are said that are frequent enough; others and what cannot be said are left out."""
    from speechkit.common.errors import SpeechkitError
    from speechkit.text.cmudict import read_cmudict
    from speechkit.text.lexicon import Lexicon
    from speechkit.text.normalise import change_case

    if args.espeak_voice:
        from speechkit.data.phonemise import phonemise

        known = phonemise((word for word in counts if counts[word] >= args.least_words), args.espeak_voice)
    elif args.cmudict:
        known = read_cmudict(args.cmudict, lambda word: change_case(word, rules.case))
    else:
        entries = Lexicon.read(args.lexicon).entries
        known = Lexicon((change_case(word, rules.case), spelling) for word, spelling in entries)
    wanted = Lexicon((word, spelling) for word, spelling in (known.entries if known else ()) if word in counts)
    if not len(wanted):
        source = args.lexicon or args.cmudict or f"espeak-ng's {args.espeak_voice}"
        raise SpeechkitError(f"no word of {args.text} has a pronunciation in {source}; check --case and the lexicon")
    return wanted
