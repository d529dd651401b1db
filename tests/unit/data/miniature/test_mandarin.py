"""Mandarin sentences are new each time, and their pinyin becomes AISHELL-1's initials and finals."""

from itertools import islice

import numpy as np
import pytest

from speechkit.data.miniature import mandarin

# Initials and finals of AISHELL-1's lexicon, finals without tones.
INITIALS = "b p m f d t n l g k h j q x zh ch sh r z c s aa ee ii oo uu vv"
FINALS = (
    "a ai an ang ao e ei en eng er i ia ian iang iao ie in ing iong iu ix iy o ong ou u ua uai uan uang ui un uo v "
    "van ve vn"
)


@pytest.mark.parametrize(
    ("pinyin", "spelling"),
    [
        ("zhong1guo2", "zh ong1 g uo2"),
        ("tu2shu1guan3", "t u2 sh u1 g uan3"),
        ("wo3men5", "uu uo3 m en5"),
        ("yi1yuan4", "ii i1 vv van4"),
        ("yin1yue4", "ii in1 vv ve4"),
        ("you2yong3", "ii iu2 ii iong3"),
        ("wei4wen4wang2wu3", "uu ui4 uu un4 uu uang2 uu u3"),
        ("ying1yu3yun2", "ii ing1 vv v3 vv vn2"),
        ("nv3er2", "n v3 ee er2"),
        ("xue2qu4juan3", "x ve2 q v4 j van3"),
        ("zhi1chi2shi4ri4", "zh ix1 ch ix2 sh ix4 r ix4"),
        ("zi4ci2si1", "z iy4 c iy2 s iy1"),
        ("an1ai4", "aa an1 aa ai4"),
    ],
)
def test_pinyin_is_spelled_as_in_the_corpus(pinyin: str, spelling: str) -> None:
    assert mandarin.initials_and_finals(pinyin) == spelling.split()


def test_every_character_has_an_initial_and_a_final() -> None:
    lexicon = mandarin.lexicon()
    assert len(lexicon) > 200
    for word, phones in lexicon.items():
        assert len(phones) == 2 * len(word), word
        assert set(phones[::2]) <= set(INITIALS.split())
        assert {final[:-1] for final in phones[1::2]} <= set(FINALS.split())
        assert {final[-1] for final in phones[1::2]} <= set("12345")


def test_sentences_never_repeat_and_use_the_words_of_the_lexicon() -> None:
    made = list(islice(mandarin.sentences(np.random.default_rng(0)), 5000))
    assert len({tuple(words) for words in made}) == 5000
    assert {word for words in made for word in words} == set(mandarin.lexicon())
    assert {len(words) for words in made} <= set(range(4, 12))


def test_fewer_choices_need_fewer_characters() -> None:
    few, all_ = (
        {
            letter
            for words in islice(mandarin.sentences(np.random.default_rng(0), choices), 3000)
            for letter in "".join(words)
        }
        for choices in (10, None)
    )
    assert few < all_
    assert len(few) < 0.6 * len(all_)
