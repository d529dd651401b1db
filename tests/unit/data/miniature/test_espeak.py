"""The binding says the same text the same way always, and tells where sounds are."""

import os
import subprocess
import sys
from pathlib import Path

import espeakng_loader
import numpy as np
import pytest

from speechkit.common.errors import SpeechkitError
from speechkit.data.miniature import espeak, grammar, phones, speakers

VOICE = espeak.Voice("en-us+m3", 170, 50, 50)
TEXT = "She washed the yellow cup."


def test_speech_does_not_depend_on_what_was_said_before():
    first = espeak.synthesise(TEXT, VOICE)
    espeak.synthesise("Our old teacher carried a heavy door.", espeak.Voice("en-us+f1", 150, 30, 70))
    again = espeak.synthesise(TEXT, VOICE)
    np.testing.assert_array_equal(first.samples, again.samples)
    assert first.phonemes == again.phonemes


def test_settings_change_the_voice():
    plain = espeak.synthesise(TEXT, VOICE)
    fast = espeak.synthesise(TEXT, espeak.Voice("en-us+m3", 220, 50, 50))
    assert len(fast.samples) < 0.9 * len(plain.samples)
    high = espeak.synthesise(TEXT, espeak.Voice("en-us+m3", 170, 99, 50))
    assert _pitch_hz(high) > 1.3 * _pitch_hz(plain)


def _pitch_hz(speech: espeak.Speech) -> float:
    """Pitch of the vowel of `washed` from its autocorrelation."""
    index = next(i for i, event in enumerate(speech.phonemes) if event.word == 1 and event.mnemonic[0] == "'")
    vowel = speech.samples[speech.phonemes[index].start : speech.phonemes[index + 1].start].astype(float)
    correlation = np.correlate(vowel, vowel, "full")[len(vowel) - 1 :]
    shortest, longest = espeak.SAMPLE_RATE // 400, espeak.SAMPLE_RATE // 50
    return espeak.SAMPLE_RATE / (shortest + int(np.argmax(correlation[shortest:longest])))


def test_events_name_words_and_phonemes_in_order():
    speech = espeak.synthesise(TEXT, VOICE)
    assert [word.strip(".").lower() for word in speech.words] == ["she", "washed", "the", "yellow", "cup"]
    starts = [event.start for event in speech.phonemes]
    assert starts == sorted(starts)
    assert 0 <= starts[0] <= starts[-1] <= len(speech.samples)
    assert {event.word for event in speech.phonemes} == {0, 1, 2, 3, 4}


def test_unknown_voice_is_named():
    with pytest.raises(SpeechkitError, match="no voice 'xx-martian'"):
        espeak.synthesise(TEXT, espeak.Voice("xx-martian", 170, 50, 50))


def test_missing_loader_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    espeak.installation.cache_clear()
    try:
        with pytest.raises(SpeechkitError, match="pip install espeakng-loader"):
            espeak.synthesise(TEXT, VOICE)
    finally:
        espeak.installation.cache_clear()


@pytest.mark.parametrize("folder", ["größe und maß", "d" * 200])
def test_data_under_an_awkward_path(tmp_path, folder):
    place = tmp_path / folder
    place.mkdir()
    (place / "espeak-ng-data").symlink_to(espeakng_loader.get_data_path())
    program = (
        "import espeakng_loader, sys\n"
        "espeakng_loader.get_data_path = lambda: sys.argv[1]\n"
        "from speechkit.data.miniature import espeak\n"
        f"print(len(espeak.synthesise({TEXT!r}, espeak.Voice('en-us+m3', 170, 50, 50)).samples))\n"
    )
    root = Path(__file__).parents[4]
    result = subprocess.run(
        [sys.executable, "-c", program, str(place / "espeak-ng-data")],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(result.stdout) == len(espeak.synthesise(TEXT, VOICE).samples)


def test_every_phoneme_of_every_voice_and_word_has_timit_phones():
    words = grammar.vocabulary()
    assert len(words) > 400
    sentence_voices = [f"en-us+{name}" for names in speakers._VARIANTS.values() for name in names.split()]
    said = set()
    for index, voice in enumerate(sentence_voices):
        for start in range(0, len(words), 10):
            if index and start % 100:
                continue
            text = " ".join(words[start : start + 10]) + "."
            said |= {event.mnemonic for event in espeak.synthesise(text, espeak.Voice(voice, 170, 50, 50)).phonemes}
    for mnemonic in said:
        phones.timit_phones(mnemonic)
    assert len(said) > 60


def test_unknown_phoneme_is_an_error_that_names_it():
    speech = espeak.Speech(np.zeros(1000, np.int16), ["x"], [espeak.PhonemeEvent(0, "'Q9", 0)])
    with pytest.raises(SpeechkitError, match="'Q9"):
        phones.segment(speech)
