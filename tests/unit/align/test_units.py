"""Transcripts to units: phone sets, lexicons, letters, words that are not there."""

import pytest

from speechkit.align.units import OutOfVocabularyError, Units
from speechkit.common.errors import SpeechkitError
from speechkit.text.lang import make_lang
from speechkit.text.lexicon import Lexicon


def test_timit_phones_with_their_silences() -> None:
    units = Units.of_lang(make_lang("phone", [], 48))
    assert (len(units), units.silences, units.lexicon, units.optional_silence) == (48, ("sil",), None, None)
    transcript = units.transcript({"phones": "h# q b ix pau h#", "text": "be"})
    assert transcript.words == ("sil", "b", "ix", "sil", "sil")
    assert [units.names[unit] for unit in transcript.first_choice] == ["sil", "b", "ix", "sil", "sil"]
    assert Units.of_lang(make_lang("phone", [], 61)).silences == ("h#", "pau")


def test_a_lexicon_of_phones_has_variants_and_optional_silence() -> None:
    entries = [("two", ("t", "uw")), ("a", ("ah",)), ("a", ("ey",))]
    units = Units.of_lang(make_lang("phone", [], lexicon=Lexicon(entries)))
    assert units.names == ("ah", "ey", "t", "uw", "sil")  # the boundary | has no sound
    assert units.optional_silence == 4
    transcript = units.transcript({"text": "two a"})
    assert transcript.pronunciations == (((2, 3),), ((0,), (1,)))
    assert (transcript.first_choice, transcript.shortest) == ([2, 3, 0], 3)


@pytest.mark.parametrize("unit", ["char", "word"])
def test_letters_are_units_where_there_are_no_phones(unit: str) -> None:
    units = Units.of_lang(make_lang(unit, ["to be", "bet"]))
    assert units.names == ("b", "e", "o", "t", "sil")
    assert units.transcript({"text": "bet"}).pronunciations == (((0, 1, 3),),)
    # What the lexicon lacks can be spelled, unless a letter was never heard.
    assert units.transcript({"text": "toe"}).pronunciations == (((3, 2, 1),),)
    with pytest.raises(OutOfVocabularyError, match="out of vocabulary: tax"):
        units.transcript({"text": "to tax"})
    assert Units.from_state(units.state()) == units


def test_silence_in_a_lexicon_is_the_silence() -> None:
    units = Units.of_lexicon(Lexicon([("<pause>", ("sil",)), ("oh", ("ow", "sil"))]))
    assert units.names == ("ow", "sil")
    assert units.transcript({"text": "<pause> oh"}).pronunciations == (((1,),), ((0, 1),))


def test_unknown_words_are_named_once_each() -> None:
    units = Units.of_lexicon(Lexicon([("oh", ("ow",))]))
    with pytest.raises(OutOfVocabularyError, match="out of vocabulary: no yes") as caught:
        units.transcript({"text": "yes oh no yes"})
    assert caught.value.words == ["no", "yes"]


@pytest.mark.parametrize("fields", [{}, {"text": None}, {"text": " "}])
def test_no_transcript(fields: dict[str, str | None]) -> None:
    with pytest.raises(SpeechkitError, match="no transcript: its 'text' is empty"):
        Units.of_lexicon(Lexicon([("oh", ("ow",))])).transcript(fields)


def test_a_phone_of_another_set() -> None:
    units = Units.of_lang(make_lang("phone", [], 48))
    with pytest.raises(SpeechkitError, match="'ü' in 'h# ü' is not a TIMIT phone"):
        units.transcript({"phones": "h# ü"})


@pytest.mark.parametrize(
    "units", [Units.of_lexicon(Lexicon([("oh", ("ow",))])), Units.of_lang(make_lang("phone", [], 39))]
)
def test_state(units: Units) -> None:
    assert Units.from_state(units.state()) == units


def test_pieces_are_spelled_in_letters_and_characters_stand_alone() -> None:
    pytest.importorskip("sentencepiece", reason="sentencepiece is not installed")
    units = Units.of_lang(make_lang("bpe", ["to be", "bet"], vocab_size=8))
    assert units.names == ("b", "e", "o", "t", "sil")
    assert units.transcript({"text": "bet"}).words == ("bet",)
    units = Units.of_lang(make_lang("char", ["今天 天气"], boundary="none"))
    assert units.transcript({"text": "天气 今"}).words == ("天", "气", "今")
    assert Units.from_state(units.state()) == units
