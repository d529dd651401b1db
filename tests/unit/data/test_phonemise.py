"""Pronunciations by espeak-ng."""

import pytest

from speechkit.common.errors import UsageError
from speechkit.data.miniature.espeak import Voice, synthesise
from speechkit.data.phonemise import phonemise


def test_english_words() -> None:
    lexicon = phonemise(["two", "church", "21", "two"], "en-us")
    assert lexicon is not None
    assert list(lexicon.entries) == [
        ("21", ("t", "w", "ɛ", "n", "t", "i", "w", "ʌ", "n")),
        ("church", ("tʃ", "ɜː", "tʃ")),
        ("two", ("t", "uː")),
    ]


def test_switches_of_language_and_stress_are_no_phones() -> None:
    lexicon = phonemise(["computer", "naïve"], "de")
    assert lexicon is not None
    assert not {mark for unit in lexicon.tokens for mark in unit} & set("ˈˌ()_ ")


def test_another_language_says_it_otherwise() -> None:
    english, german = phonemise(["hand"], "en-us"), phonemise(["hand"], "de")
    assert english is not None
    assert german is not None
    assert english.spellings("hand") != german.spellings("hand")


def test_an_unknown_language_is_named_with_its_neighbour() -> None:
    with pytest.raises(UsageError, match="no language 'en-su', did you mean 'en-us'"):
        phonemise(["a"], "en-su")


def test_what_nobody_can_say_is_left_out() -> None:
    assert phonemise([], "en-us") is None


def test_speech_sounds_the_same_afterwards() -> None:
    voice = Voice("en-us", 160, 50, 50)
    before = synthesise("the same", voice).samples
    phonemise(["something", "else"], "de")
    assert (synthesise("the same", voice).samples == before).all()
