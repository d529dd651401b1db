"""Transcripts of WSJ: the lines of .dot files as words, as spoken letters, and as the 31 graphemes of wav2vec.

The .dot notation (csr-dot-spec of NIST): `[noise]`, with `<`, `>` or `/` inside where it lies over words; `<word>` left
out of the prompt or of the speech; `*word*` mispronounced; `~` cut off by the recording; `.` a pause; `!` stress before
and `:` length within a word; `wor(d)-` a fragment, what was not said in parentheses; `\\` before each mark that
belongs to a word. Verbalised punctuation is written with its mark, such as `,COMMA`.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

from speechkit.text.repetitions import folded
from speechkit.text.tokens import WORD_BOUNDARY

LINE = re.compile(r"(.*)\((\w+)\)\s*")
NOISE_OVER_WORDS = re.compile(r"(?<!\\)\[(?:[</][\w-]+|[\w-]+[>/])\]")
NOISE = re.compile(r"(?<!\\)\[[\w-]+\]")
NOISE_WORD = "<NOISE>"
MARKED = re.compile(r"([^A-Z0-9]+)([A-Z].*)")
NOT_SAID = re.compile(r"\([^)]*\)")
TRANSCRIBERS_MARKS = re.compile(r"[*<>~!:]")
_PUNCTUATION_NAMES = (
    "AMPERSAND BEGIN-PARENS BRACE CLOSE-BRACE CLOSE-PAREN CLOSE-PARENTHESES CLOSE-QUOTE COLON COMMA DASH DECIMAL "
    "DOT DOUBLE-CLOSE-QUOTE DOUBLE-QUOTE ELLIPSIS END-INNER-QUOTE END-OF-QUOTE END-PAREN END-PARENS END-PARENTHESES "
    "END-QUOTE END-THE-PAREN EXCLAMATION-POINT FULL-STOP HASH-MARK HYPHEN IN-PARENS IN-PARENTHESES IN-QUOTES "
    "INNER-QUOTE LEFT-BRACE LEFT-PAREN OPEN-BRACE OPEN-PAREN OPEN-PARENTHESES OPEN-QUOTE PAREN PARENS PARENTHESES "
    "PARENTHESIS PERCENT PERIOD PLUS POINT POUND-SIGN QUESTION-MARK QUOTE RIGHT-BRACE RIGHT-PAREN SEMI-COLON "
    "SHARP-SIGN SINGLE-CLOSE-QUOTE SINGLE-QUOTE SLASH UN-PARENTHESES UNQUOTE"
)
PUNCTUATION = frozenset(_PUNCTUATION_NAMES.split())
# As the CMU dictionary has them; test transcripts of 1993 mark words that everybody says.
DICTIONARY_FORMS = {"%PERCENT": "PERCENT", ".POINT": "POINT", "--DASH": "-DASH"}
NOT_LETTERS = re.compile(r"[^A-Z0-9'.\s]+")
LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ'. ")
MOST_REPETITIONS = 2


def parse_line(line: str) -> tuple[str, str] | None:
    """Utterance id in lower case and transcription of a line `text (id)`; None for any other line."""
    match = LINE.fullmatch(line)
    return (match[2].lower(), match[1].strip()) if match else None


def words(transcription: str) -> list[str]:
    """Words in capitals, spelled as in the CMU dictionary: `,COMMA`, `-HYPHEN`, `<NOISE>` where somebody makes one."""
    plain = NOISE.sub(f" {NOISE_WORD} ", NOISE_OVER_WORDS.sub(" ", transcription))
    found = (token if token == NOISE_WORD else _word(token) for token in plain.split())
    return [word for word in found if word]


def is_punctuation(word: str) -> bool:
    """Whether a word of `words` is verbalised punctuation."""
    return _punctuation(word) is not None


def spoken(dictionary_words: Iterable[str]) -> str:
    """What was said, in letters, apostrophes and the periods of abbreviations: `,COMMA` as COMMA, noises left out."""
    return " ".join(said for word in dictionary_words if (said := _said(word)))


def is_spelled(text: str) -> bool:
    """Whether every character of `text` is a letter, an apostrophe, a period or a space."""
    return LETTERS.issuperset(text)


def graphemes(text: str) -> list[str]:
    """The 31 graphemes of `spoken` text: letters, `'`, `.`, `|` for the end of a word, `1` and `2` for repetitions.

    `1` repeats the character before once, `2` twice: "ann" is a n 1 (Schneider et al. 2019, section 3.1). Thus no
    grapheme ever follows itself.
    """
    result: list[str] = []
    for word in text.lower().split():
        result += [*folded(word, MOST_REPETITIONS), WORD_BOUNDARY]
    return result


def _word(token: str) -> str:
    """The word of one token between spaces, empty where nothing was said."""
    word = token.replace("\\", "").upper()
    if marked := _punctuation(word):
        return DICTIONARY_FORMS.get("".join(marked), "".join(marked))
    if word == token.upper():  # no mark belongs to the word
        word = TRANSCRIBERS_MARKS.sub("", NOT_SAID.sub("", word))
    return word if any(letter.isalnum() for letter in word) else ""


def _punctuation(word: str) -> tuple[str, str] | None:
    """Mark and name of verbalised punctuation, names spelled alike: (`)`, CLOSE-PAREN) for `)CLOSE_PAREN`."""
    match = MARKED.fullmatch(word)
    if match is None:
        return None
    name = re.sub(r"[^A-Z]+", "-", match[2])
    return (match[1], name) if name in PUNCTUATION else None


@lru_cache(maxsize=1 << 18)
def _said(word: str) -> str:
    if word == NOISE_WORD:
        return ""
    marked = _punctuation(word)
    plain = NOT_LETTERS.sub(" ", marked[1] if marked else word)
    return " ".join(part for part in plain.split() if part.strip("'."))
