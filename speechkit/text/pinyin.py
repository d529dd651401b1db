"""Mandarin syllables of characters in their context, by pypinyin: 银行 is yin2 hang2, 旅行 lv3 xing2."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from speechkit.common.errors import SpeechkitError
from speechkit.text.normalise import CHINESE

# Outside the words of its dictionary (土地, 取得) pypinyin reads these as noun and verb (di4, de2); they are particles.
_PARTICLES = {ord("地"): "de,dì", ord("得"): "de,dé,děi"}


def syllables(characters: Sequence[str], tones: bool) -> list[str]:
    """The syllable of each character, read as the characters around it say; another character is its own syllable.

    Args:
        characters: of one sentence, without spaces.
        tones: whether a syllable ends with its tone, 1 to 4, or 5 for the neutral one. ü is v, and tones are
            pypinyin's: third tones stay so before others (很好 hen3 hao3), and few neutral ones are known.

    Raises:
        SpeechkitError: the pypinyin package is not installed.
    """
    pypinyin = _pypinyin()
    style = pypinyin.Style.TONE3 if tones else pypinyin.Style.NORMAL
    found: list[str] = pypinyin.lazy_pinyin(
        "".join(characters), style=style, neutral_tone_with_five=True, v_to_u=False, errors=list
    )
    return found


def is_chinese(character: str) -> bool:
    """Whether a character is a Chinese one."""
    return CHINESE.fullmatch(character) is not None


def _pypinyin() -> Any:
    try:
        import pypinyin
    except ImportError as error:
        raise SpeechkitError(f"syllables of Mandarin need pypinyin ({error}): `pip install pypinyin`") from error
    _teach_particles()
    return pypinyin


@cache  # each call has pypinyin go through its whole dictionary
def _teach_particles() -> None:
    import pypinyin

    pypinyin.load_single_dict(_PARTICLES)
