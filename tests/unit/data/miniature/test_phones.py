"""Phone boundaries are true to the sound."""

from functools import cache

import numpy as np
import pytest

from speechkit.data.miniature import espeak, phones
from speechkit.data.miniature.espeak import PhonemeEvent, Speech
from speechkit.text.phones import PHONES_61

TEXTS = [
    "A big dog kept a better picture of the button.",
    "She put the cage by the boat today.",
    "Yesterday, the old cook touched the broken garden chair.",
    "Joyce should bring the usual yellow thread from our garage at noon.",
]
VOICES = ["en-us+m3", "en-us+belinda", "en-us+paul", "en-us+f1"]
VOWELS = {"iy", "ih", "eh", "ey", "ae", "aa", "aw", "ay", "ah", "ao", "oy", "ow", "uh", "uw", "er"}
VOICELESS_CLOSURES = {"pcl", "tcl", "kcl"}


@cache
def labelled(text: str, voice: str) -> tuple[Speech, list[phones.Segment]]:
    speech = espeak.synthesise(text, espeak.Voice(voice, 170, 50, 50))
    return speech, phones.segment(speech)


@pytest.mark.parametrize("voice", VOICES)
@pytest.mark.parametrize("text", TEXTS)
def test_segments_cover_all_samples(text, voice):
    speech, segments = labelled(text, voice)
    assert segments[0].start == 0
    assert segments[-1].end == len(speech.samples)
    assert all(left.end == right.start for left, right in zip(segments, segments[1:], strict=False))
    assert all(item.start < item.end for item in segments)
    assert {item.phone for item in segments} <= set(PHONES_61)
    assert segments[-1].phone == "h#"


def test_the_phones_of_a_sentence():
    _, segments = labelled(TEXTS[1], VOICES[0])
    said = " ".join(item.phone for item in segments if item.phone != "h#")
    expected = "sh iy pcl p uh tcl t dh ax kcl k ey dcl jh bcl b ay dh ax bcl b ow tcl t tcl t ax dcl d ey"
    assert said.replace(" epi", "") == expected


def _level_db(samples, segments, wanted) -> list[float]:
    peak = np.abs(samples.astype(float)).max()
    pieces = [samples[item.start : item.end].astype(float) / peak for item in segments if item.phone in wanted]
    return [10 * np.log10(np.mean(piece**2) + 1e-10) for piece in pieces]


def test_silences_and_closures_are_quiet_and_vowels_are_loud():
    levels: dict[str, list[float]] = {"vowel": [], "closure": [], "silence": [], "voiced": []}
    for text in TEXTS:
        for voice in VOICES:
            speech, segments = labelled(text, voice)
            levels["vowel"] += _level_db(speech.samples, segments, VOWELS)
            levels["closure"] += _level_db(speech.samples, segments, VOICELESS_CLOSURES)
            levels["silence"] += _level_db(speech.samples, segments, {"h#", "pau"})
            levels["voiced"] += _level_db(speech.samples, segments, {"bcl", "dcl", "gcl"})
    assert min(levels["vowel"]) > -30
    assert max(levels["closure"]) < -40
    assert max(levels["silence"]) < -40
    assert np.median(levels["vowel"]) > np.median(levels["voiced"]) + 10


def test_a_stop_gets_louder_at_its_release():
    rises = []
    for text in TEXTS:
        for voice in VOICES:
            speech, segments = labelled(text, voice)
            slope = np.abs(np.diff(speech.samples.astype(float), n=2, prepend=[0, 0]))
            for left, right in zip(segments, segments[1:], strict=False):
                if left.phone in set(phones.CLOSURES.values()):
                    before = slope[left.start : left.end].mean()
                    after = slope[right.start : right.end].mean()
                    rises.append(20 * np.log10((after + 1) / (before + 1)))
    assert len(rises) > 100
    assert np.percentile(rises, 5) > 3


def _constructed(parts: list[tuple[str, int, int, float]], length: int) -> Speech:
    """Speech of noise parts (mnemonic, event start, end of sound, level) with digital silence between them."""
    rng = np.random.default_rng(0)
    samples = np.zeros(length)
    for _, start, end, level in parts:
        samples[start:end] = rng.uniform(-level, level, end - start)
    events = [PhonemeEvent(start, name, 0) for name, start, _, _ in parts]
    return Speech(samples.astype(np.int16), ["x"], events)


def test_silence_before_a_stop_becomes_its_closure():
    speech = _constructed([("a", 0, 4400, 9000), ("t", 6600, 8000, 3000), ("_:", 8000, 8000, 0)], 10000)
    assert phones.segment(speech) == [
        phones.Segment(0, 4400, "ae", 0),
        phones.Segment(4400, 6600, "tcl", 0),
        phones.Segment(6600, 8000, "t", 0),
        phones.Segment(8000, 10000, "h#", -1),
    ]


def test_a_sound_without_length_takes_the_end_of_the_one_before():
    speech = _constructed([("oU", 0, 4400, 9000), ("l", 4400, 4400, 0), ("_:", 4400, 4400, 0)], 6000)
    assert phones.segment(speech) == [
        phones.Segment(0, 2860, "ow", 0),
        phones.Segment(2860, 4400, "l", 0),
        phones.Segment(4400, 6000, "h#", -1),
    ]


def test_vowel_with_r_is_two_phones_unless_an_r_follows():
    alone = _constructed([("A@", 0, 4400, 9000), ("_:", 4400, 4400, 0)], 6000)
    assert [(item.phone, item.end) for item in phones.segment(alone)] == [("aa", 2640), ("r", 4400), ("h#", 6000)]
    followed = _constructed([("A@", 0, 4400, 9000), ("r", 4400, 6600, 9000), ("_:", 6600, 6600, 0)], 8000)
    assert [item.phone for item in phones.segment(followed)] == ["aa", "r", "h#"]
