"""Pronunciations of words by the rules and dictionaries of espeak-ng, as IPA phones."""

import ctypes
import os
import re
from _ctypes import dlclose
from collections.abc import Iterable
from pathlib import Path

from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.common.names import nearest
from speechkit.data.miniature.espeak import SAMPLE_RATE, installation
from speechkit.text.lexicon import Lexicon

_SYNCHRONOUS, _DO_NOT_EXIT = 2, 1 << 15
_UTF8 = 1
_SEPARATOR = "_"
_IPA = 0x02 | ord(_SEPARATOR) << 8
_NO_PHONE = re.compile(r"\([^)]*\)|\u200d")  # switches of language, such as (en)
_STRESS = re.compile("[ˈˌ]")


def phonemise(words: Iterable[str], language: str, stress: bool = False) -> Lexicon | None:
    """Each word with the phones in which espeak-ng says it alone; words that it does not say are left out.

    Args:
        words: in any order; the lexicon has them sorted.
        language: name of an espeak-ng language or voice, such as "en-us" or "de".
        stress: keep the marks ˈ and ˌ, which stand before the vowels of stressed syllables.

    Returns:
        The lexicon, None where no word has a pronunciation.

    Raises:
        UsageError: espeak-ng has no such language.
        SpeechkitError: espeakng-loader is missing or does not start.
    """
    library_path, data_path = installation()
    library = ctypes.CDLL(library_path)
    try:
        if library.espeak_Initialize(_SYNCHRONOUS, 0, data_path, _DO_NOT_EXIT) != SAMPLE_RATE:
            raise SpeechkitError(
                f"espeak-ng does not start with the data in {os.fsdecode(data_path)}; reinstall espeakng-loader"
            )
        if library.espeak_SetVoiceByName(language.encode()) != 0:
            known = _languages(Path(os.fsdecode(data_path)))
            raise UsageError(
                f"espeak-ng has no language '{language}'{nearest(language, known)} (languages: {' '.join(known)})"
            )
        library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        spelled = [(word, _phones(library, word, stress)) for word in sorted(set(words))]
    finally:
        library.espeak_Terminate()
        dlclose(library._handle)  # as `speechkit.data.miniature.espeak` wants it: no state stays
    found = [(word, phones) for word, phones in spelled if phones]
    return Lexicon(found) if found else None


def _phones(library: ctypes.CDLL, word: str, stress: bool) -> list[str]:
    """IPA phones of one word; a number may be several words."""
    text = ctypes.create_string_buffer(word.encode())
    position = ctypes.c_void_p(ctypes.addressof(text))
    said = []
    while position.value:
        clause = library.espeak_TextToPhonemes(ctypes.byref(position), _UTF8, _IPA)
        said.append((clause or b"").decode(errors="replace"))
    plain = _NO_PHONE.sub("", " ".join(said))
    plain = plain if stress else _STRESS.sub("", plain)
    return [phone for phone in re.split(rf"[\s{_SEPARATOR}]+", plain) if phone]


def _languages(data: Path) -> list[str]:
    """Names that espeak-ng takes, from its data."""
    return sorted({path.name.lower() for path in (data / "lang").rglob("*") if path.is_file()})
