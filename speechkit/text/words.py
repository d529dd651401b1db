"""Words of a transcript as people write it: without punctuation, in lower case."""

import re
import unicodedata

_APOSTROPHES = str.maketrans({"’": "'", "ʼ": "'", "‘": "'", "＇": "'"})
_INSIDE = "'-."  # part of a word between its letters, as in don't, re-open, u.s.a
_CHINESE = re.compile(r"([\u3400-\u4dbf\u4e00-\u9fff])")


def words_of(text: str) -> list[str]:
    """Words of `text`, composed (NFC) and in lower case; each Chinese character is a word of its own.

    >>> words_of("Hello, WORLD -- don't re-open “U.S.A.”!")
    ['hello', 'world', "don't", 're-open', 'u.s.a']
    """
    composed = unicodedata.normalize("NFC", text).translate(_APOSTROPHES)
    separate = re.sub(r"[-.]{2,}", " ", _CHINESE.sub(r" \1 ", composed))
    kept = "".join(letter if _belongs_to_a_word(letter) else " " for letter in separate)
    words = (word.strip(_INSIDE) for word in kept.split())
    return [word.lower() for word in words if word]


def _belongs_to_a_word(letter: str) -> bool:
    """Letters, digits, the marks that letters carry, and what may stand between them."""
    return unicodedata.category(letter)[0] in "LNM" or letter in _INSIDE
