"""Transcripts as words: what people write, without punctuation, in one case, by the rules of a language.

What stands for spoken words but is not written as one (digits, symbols such as % and &) is left in the text where
it is a digit and dropped where it is a symbol; `not_spelled_out` finds both, for whoever prepares the text.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from speechkit.common.errors import UsageError
from speechkit.common.names import nearest

Case = Literal["lower", "upper", "keep"]
CASES: tuple[Case, ...] = ("lower", "upper", "keep")
_APOSTROPHES = str.maketrans({"’": "'", "ʼ": "'", "‘": "'", "＇": "'", "`": "'"})
CHINESE = re.compile(r"([\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])")
_INITIALS = re.compile(r"(?<![^\W_])(?:[^\W\d_]\.)+[^\W\d_](?:\.|(?![^\W_]))")
_IN_NUMBERS = re.compile(r"(?<=\d)[.,](?=\d)")
_RUNS = re.compile(r"[-.]{2,}")
_INVISIBLE = re.compile("[\ufeff\u200b-\u200f\u2060\u00ad]")
_SPOKEN_SYMBOLS = "%‰&@+=×÷°§#$€£¥¢"


@dataclass(frozen=True)
class Rules:
    """How the text of a language becomes words.

    Attributes:
        form: NFC composes letters and marks; NFKC takes full-width letters, ligatures and the like for plain ones too.
        inside: characters other than letters, digits and their marks that belong to a word between its letters.
        initials: whether u.s.a. becomes usa.
        case: of all words.
    """

    form: Literal["NFC", "NFKC"] = "NFC"
    inside: str = "'-."
    initials: bool = False
    case: Case = "lower"


GENERAL = Rules()
LANGUAGES = {
    "any": GENERAL,
    "en": Rules(form="NFKC", inside="'", initials=True),
    "zh": Rules(form="NFKC", inside="'", initials=True),
}


def rules_of(language: str) -> Rules:
    """Rules of "any", "en" or "zh", or of a language with a region such as "en-us"; another is a `UsageError`."""
    code = language.lower().replace("_", "-").partition("-")[0]
    if code not in LANGUAGES:
        raise UsageError(
            f"no rules for the text of language '{language}'{nearest(code, LANGUAGES)} "
            f"(languages: {', '.join(LANGUAGES)}; any suits most)"
        )
    return LANGUAGES[code]


def words_of(text: str, rules: Rules = GENERAL) -> list[str]:
    """Words of `text`; each Chinese character is a word of its own.

    >>> words_of("Hello, WORLD -- don't re-open “U.S.A.” at 3.5!")
    ['hello', 'world', "don't", 're-open', 'u.s.a', 'at', '3.5']
    >>> words_of("Hello, WORLD -- don't re-open “U.S.A.” at 3.5!", LANGUAGES["en"])
    ['hello', 'world', "don't", 're', 'open', 'usa', 'at', '3.5']
    """
    plain = _INVISIBLE.sub("", unicodedata.normalize(rules.form, text)).translate(_APOSTROPHES)
    if rules.initials:
        plain = _INITIALS.sub(lambda found: found[0].replace(".", ""), plain)
    separate = _RUNS.sub(" ", CHINESE.sub(r" \1 ", plain))
    numbers = {found.start() for found in _IN_NUMBERS.finditer(separate)}
    kept = "".join(
        letter if place in numbers or _belongs_to_a_word(letter, rules.inside) else " "
        for place, letter in enumerate(separate)
    )
    words = (word.strip(rules.inside) for word in kept.split())
    return [change_case(word, rules.case) for word in words if any(map(str.isalnum, word))]


def change_case(word: str, case: Case) -> str:
    """The word in lower or upper case, or as it is."""
    return _CASE[case](word)


def not_spelled_out(text: str) -> str:
    """Digits and symbols of `text` that stand for spoken words, once each, in their order."""
    found = (letter for letter in text if letter in _SPOKEN_SYMBOLS or unicodedata.category(letter) in ("Nd", "No"))
    return "".join(dict.fromkeys(found))


def _belongs_to_a_word(letter: str, inside: str) -> bool:
    """Letters, digits, the marks that letters carry, and what may stand between them."""
    return unicodedata.category(letter)[0] in "LNM" or letter in inside


_CASE: dict[Case, Callable[[str], str]] = {"lower": str.lower, "upper": str.upper, "keep": str}
