"""Make the token table, lexicon and language-model text of a recipe."""

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit lang`."""
    parser.add_argument("--cuts", type=Path, required=True, help="training cuts (JSON lines, gzip or plain)")
    parser.add_argument(
        "--unit", choices=("phone", "char", "word", "bpe", "unigram"), required=True, help="what the model predicts"
    )
    parser.add_argument(
        "--boundary",
        choices=("word", "none"),
        default="word",
        help="none: characters without marks between words, each scored by itself, as for Mandarin (unit char)",
    )
    parser.add_argument(
        "--repetitions",
        type=int,
        choices=range(10),
        default=0,
        help='symbols for repeated letters, as in "an1" for "ann", for unit char: 2 make the 31 graphemes of wav2vec',
    )
    parser.add_argument(
        "--vocab-size", type=int, help="tokens with the blank, for the units bpe and unigram (500 if not given)"
    )
    parser.add_argument(
        "--phone-set", type=int, choices=(61, 48, 39), default=48, help="TIMIT phone set for unit phone"
    )
    parser.add_argument("--lexicon", type=Path, help="words spelled in phones, for unit phone with word output")
    parser.add_argument("--text", type=Path, help="further text (plain or gzip) whose words it has, as of an LM")
    parser.add_argument("--out", type=Path, required=True, help="language folder to write")


def run(args: argparse.Namespace) -> None:
    """Write tokens.txt, lexicon.txt, lm_text.txt, lang.json and, for bpe and unigram, pieces.model."""
    from speechkit.common.errors import SpeechkitError
    from speechkit.common.files import write_text
    from speechkit.text.lang import make_lang
    from speechkit.text.lexicon import Lexicon
    from speechkit.text.lines import numbered_lines

    supervisions = list(supervision_fields(args.cuts))
    lexicon = Lexicon.read(args.lexicon) if args.lexicon else None
    texts = (fields.get("text", "") for fields in supervisions)
    more = (line for _, line in numbered_lines(args.text, "correct --text")) if args.text else ()
    words = itertools.chain(texts, more)
    lang = make_lang(args.unit, words, args.phone_set, lexicon, args.boundary, args.vocab_size, args.repetitions)
    sentences = [lang.reference(fields) for fields in supervisions]
    if not any(sentences):
        raise SpeechkitError(f"{args.cuts} holds no '{lang.field}' to learn a language from; prepare the corpus again")
    unknown = sorted({word for words in sentences for word in words if word not in lang.lexicon})
    if unknown:
        raise SpeechkitError(
            f"{args.lexicon} lacks {len(unknown)} words of {args.cuts}: {' '.join(unknown[:20])}; add them"
        )
    write_text(args.out / "lm_text.txt", "".join(f"{' '.join(words)}\n" for words in sentences if words))
    lang.save(args.out)
    print(
        f"{len(lang.tokens)} tokens with the blank, {len(lang.lexicon)} words, {len(sentences)} sentences in {args.out}"
    )


def supervision_fields(cuts: Path) -> Iterator[dict[str, str]]:
    """Yield the text fields (`text` and the custom strings) of each supervision in a file of Lhotse cuts.

    The JSON lines are read as they are: a language folder needs nothing else of the cuts.
    """
    import json

    from speechkit.common.errors import SpeechkitError
    from speechkit.text.lines import numbered_lines

    for number, line in numbered_lines(cuts, "run the data stages (0 and 1)"):
        try:
            supervisions = json.loads(line)["supervisions"]
        except (ValueError, KeyError, TypeError):
            raise SpeechkitError(
                f"{cuts}:{number} is not a cut with supervisions; make the cuts again (stage 0)"
            ) from None
        for supervision in supervisions:
            custom = supervision.get("custom") or {}
            fields = {"text": supervision.get("text"), **custom}
            yield {name: value for name, value in fields.items() if isinstance(value, str)}
