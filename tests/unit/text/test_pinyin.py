"""Syllables of characters: polyphones in their context, and characters that are no Chinese ones."""

import sys

import pytest

from speechkit.common.errors import SpeechkitError
from speechkit.data.miniature.mandarin import PINYIN
from speechkit.text.pinyin import is_chinese, syllables


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("他在银行工作", "ta1 zai4 yin2 hang2 gong1 zuo4"),
        ("去旅行", "qu4 lv3 xing2"),
        ("音乐很快乐", "yin1 yue4 hen3 kuai4 le4"),
        ("校长长大了", "xiao4 zhang3 zhang3 da4 le5"),
        ("了解了", "liao3 jie3 le5"),
        ("睡觉觉得", "shui4 jiao4 jue2 de5"),
        ("都市都有", "du1 shi4 dou1 you3"),
        ("爱好好", "ai4 hao4 hao3"),
        ("高兴地取得土地", "gao1 xing4 de5 qu3 de2 tu3 di4"),
        ("唱得很好的", "chang4 de5 hen3 hao3 de5"),
        ("你很好", "ni3 hen3 hao3"),  # without sandhi
        ("绿色女儿", "lv4 se4 nv3 er2"),
        ("", ""),
    ],
)
def test_polyphones_are_read_in_context(text: str, spelled: str) -> None:
    assert syllables(list(text), tones=True) == spelled.split()
    assert syllables(list(text), tones=False) == [each[:-1] for each in spelled.split()]


def test_other_characters_are_their_own_syllables() -> None:
    assert syllables(list("用ATM机5"), tones=True) == ["yong4", "A", "T", "M", "ji1", "5"]
    assert syllables(list("用ATM机5"), tones=False) == ["yong", "A", "T", "M", "ji", "5"]
    assert [each for each in "行A5。々𠮷" if is_chinese(each)] == ["行", "𠮷"]


def test_words_of_the_miniature_are_read_as_its_lexicon_has_them() -> None:
    """But for neutral tones, which pypinyin mostly gives as full ones, and for sandhi."""
    misread = []
    for word, pinyin in PINYIN.items():
        found = "".join(syllables(list(word), tones=False))
        if found != "".join(letter for letter in pinyin if letter.isalpha()):
            misread.append(word)
    assert misread == ["大夫"]  # dai4fu5


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pypinyin", None)
    with pytest.raises(SpeechkitError, match=r"syllables of Mandarin need pypinyin .*`pip install pypinyin`"):
        syllables(["行"], tones=True)
