"""Mandarin sentences are new each time, and their pinyin becomes AISHELL-1's initials and finals."""

import re
import statistics
from collections import Counter, defaultdict
from itertools import islice

import numpy as np
import pytest

from speechkit.data.miniature import aishell, espeak, mandarin

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


def transcripts(size: str, part: str = "") -> list[list[str]]:
    """Words of the sentences of a miniature, of one part or of all."""
    planned = aishell.plan(size, seed=0)
    lines = next(text for path, text in planned.documents.items() if "transcript" in path.name).splitlines()
    spoken = zip(planned.utterances, lines, strict=True)
    return [line.split()[1:] for utterance, line in spoken if part in ("", *utterance.parts)]


def test_a_mini_has_many_characters_and_each_of_them_often() -> None:
    counts = Counter("".join(word for words in transcripts("mini", "train") for word in words))
    every = {letter for words in transcripts("mini") for letter in "".join(words)}
    assert set(counts) == every
    assert len(every) >= 200
    assert statistics.median(counts.values()) >= 30
    assert min(counts.values()) >= 10
    assert all("\u4e00" <= letter <= "\u9fff" for letter in every)


def test_a_tiny_has_fewer_characters_than_the_grammar() -> None:
    few, more, all_ = (
        {letter for words in islice(made, 3000) for letter in "".join(words)}
        for made in (mandarin.sentences(np.random.default_rng(0), choices) for choices in (10, 14, None))
    )
    assert few < more < all_
    assert len(few) < 0.6 * len(all_)


def readings(words: set[str]) -> list[tuple[str, str]]:
    """Each character of the words with its syllable, an initial and a final with its tone."""
    lexicon = mandarin.lexicon()
    spelled = ((word, lexicon[word]) for word in words)
    return [(letter, "".join(phones[2 * i : 2 * i + 2])) for word, phones in spelled for i, letter in enumerate(word)]


def test_a_mini_has_homophones_and_polyphones() -> None:
    """Of one sound with its tone: 他她它; of several sounds: 行. A neutral tone beside another counts as none."""
    letters_of, syllables_of = defaultdict(set), defaultdict(set)
    for letter, syllable in readings({word for words in transcripts("mini") for word in words}):
        letters_of[syllable].add(letter)
        syllables_of[letter].add(syllable.rstrip("12345"))
    alike = [letters for letters in letters_of.values() if len(letters) > 1]
    assert len(alike) >= 30
    assert sum(map(len, alike)) >= 70
    for homophones in ("他她它", "在再", "的地得", "作做坐", "书叔舒蔬", "是事市室世视式", "公工"):
        assert set(homophones) in alike
    polyphones = {letter for letter, syllables in syllables_of.items() if len(syllables) > 1}
    assert polyphones == set("行乐了觉大都还会重长的地")


def test_words_tell_homophones_apart() -> None:
    """Each of them has its own neighbours: a place after 在, a verb after 再, and so on."""
    after, before = defaultdict(set), defaultdict(set)
    for words in islice(mandarin.sentences(np.random.default_rng(1)), 5000):
        for first, second in zip(words, words[1:], strict=False):
            after[first].add(second)
            before[second].add(first)
    assert not after["在"] & after["再"]
    assert not after["的"] & after["得"]
    assert not before["的"] & before["地"]
    assert not before["地"] & before["得"]
    women = {words[0] for words in islice(mandarin.sentences(np.random.default_rng(2)), 5000) if "她" in words}
    men = {words[0] for words in islice(mandarin.sentences(np.random.default_rng(2)), 5000) if "他" in words}
    assert len(women) == len(men) == 4
    assert not women & men


def sounds(words: list[str]) -> str:
    """What espeak says, without stress and pauses; events do not tell the tones."""
    speech = espeak.synthesise("。".join(words), espeak.Voice("cmn", 450, 50, 50))
    return re.sub(r"[',_:]", "", "".join(event.mnemonic for event in speech.phonemes if event.mnemonic[0] != "_"))


def test_the_voice_reads_each_word_as_its_pinyin() -> None:
    """It knows 银行 and 旅行; of a syllable that it lacks it would spell the letters, in either notation."""
    words = list(mandarin.PINYIN)
    for some in (words[start : start + 25] for start in range(0, len(words), 25)):
        assert sounds(some) == sounds([mandarin.PINYIN[word] for word in some]), some
    assert sounds(["便宜"]) != sounds(["pian2yi5"])  # the test sees what it looks for
