"""Lexicons in the form of the CMU Pronouncing Dictionary: `WORD  P HH OW1 N Z`, variants as `WORD(1)`."""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from speechkit.common.errors import SpeechkitError
from speechkit.text.lexicon import Entry, Lexicon
from speechkit.text.lines import numbered_lines

VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
CONSONANTS = (
    "B", "CH", "D", "DH", "F", "G", "HH", "JH", "K", "L", "M", "N", "NG", "P", "R", "S", "SH", "T", "TH", "V", "W", "Y",
    "Z", "ZH",
)  # fmt: skip
PHONES = frozenset((*VOWELS, *CONSONANTS))
_VARIANT = re.compile(r"\(\d+\)$")
_STRESS = re.compile(r"^([A-Z]+)[012]$")
_COMMENT = ";;;"
# Phones as espeak-ng writes American English, and those of words that it takes from other languages.
_FROM_IPA = {
    "aɪ": "AY", "aɪə": "AY AH", "aɪɚ": "AY ER", "aʊ": "AW", "b": "B", "d": "D", "dʒ": "JH", "eɪ": "EY", "f": "F",
    "h": "HH", "i": "IY", "iə": "IY AH", "iː": "IY", "j": "Y", "k": "K", "l": "L", "m": "M", "n": "N", "n̩": "AH N",
    "oʊ": "OW", "oː": "AO", "oːɹ": "AO R", "p": "P", "s": "S", "t": "T", "tʃ": "CH", "u": "UW", "uː": "UW", "v": "V",
    "w": "W", "x": "K", "z": "Z", "æ": "AE", "ð": "DH", "ŋ": "NG", "ɐ": "AH", "ɑː": "AA", "ɑːɹ": "AA R", "ɑ̃": "AA N",
    "ɔ": "AO", "ɔɪ": "OY", "ɔː": "AO", "ɔːɹ": "AO R", "ɔ̃": "AO N", "ə": "AH", "əl": "AH L", "ɚ": "ER", "ɛ": "EH",
    "ɛɹ": "EH R", "ɜː": "ER", "ɡ": "G", "ɡʲ": "G", "ɣ": "G", "ɪ": "IH", "ɪɹ": "IH R", "ɬ": "L", "ɹ": "R", "r": "R",
    "ɾ": "T", "ʁ": "R", "ʃ": "SH", "ʊ": "UH", "ʊɹ": "UH R", "ʌ": "AH", "ʒ": "ZH", "ʔ": "T", "ç": "HH", "θ": "TH",
    "ᵻ": "IH", "ɒ": "AA", "a": "AE", "aː": "AA", "e": "EY", "eː": "EY", "ɛː": "EH", "l̩": "AH L", "m̩": "AH M",
    "o": "OW", "y": "UW", "yː": "UW", "ø": "ER", "œ": "ER", "ɲ": "N Y", "nʲ": "N Y", "ʎ": "L Y", "ʍ": "W", "ɫ": "L",
}  # fmt: skip
_MARKS = {"ˈ": "1", "ˌ": "2"}


def read_cmudict(path: Path, change_case: Callable[[str], str] = str.lower, stress: bool = False) -> Lexicon:
    """Read a dictionary of CMU's form; variants of a word come in their order.

    Args:
        path: plain or gzip; lines of `;;;` and what follows a `#` are comments.
        change_case: applied to the words.
        stress: keep the stress digits of vowels (0, 1, 2); two variants that differ in stress only are one without.

    Raises:
        SpeechkitError: the file is missing, holds no words, or has a word without phones.
    """
    lexicon = Lexicon(_entries(path, change_case, stress))
    if not len(lexicon):
        raise SpeechkitError(f"{path} holds no words; each line is `WORD  P HH OW1 N`")
    return lexicon


def _entries(path: Path, change_case: Callable[[str], str], stress: bool) -> Iterator[Entry]:
    for number, line in numbered_lines(path, "correct --cmudict"):
        if line.startswith(_COMMENT):
            continue
        word, *phones = re.split(r"\s#", line)[0].split() or [""]
        if word and not phones:
            raise SpeechkitError(f"{path}:{number}: word '{word}' has no phones; add them or remove the line")
        if word:
            yield change_case(_VARIANT.sub("", word)), tuple(phones if stress else map(without_stress, phones))


def without_stress(phone: str) -> str:
    """`OW1` as `OW`; other symbols as they are."""
    found = _STRESS.match(phone)
    return found[1] if found else phone


def arpabet(phones: Iterable[str], stress: bool = False) -> list[str] | None:
    """CMU's phones for those of espeak-ng's American English; None where one has no counterpart.

    Args:
        phones: IPA, with `ˈ` or `ˌ` before a stressed vowel where `stress` is wanted.
        stress: end vowels with 1, 2 or, without a mark, 0.
    """
    said: list[str] = []
    for phone in phones:
        mark, plain = (_MARKS[phone[0]], phone[1:]) if phone[:1] in _MARKS else ("0", phone)
        if plain not in _FROM_IPA:
            return None
        for symbol in _FROM_IPA[plain].split():
            said.append(f"{symbol}{mark}" if stress and symbol in VOWELS else symbol)
            mark = "0" if symbol in VOWELS else mark
    return said
