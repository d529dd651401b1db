"""Units of neural language models: every word sequence has tokens, and known ones their own."""

import pytest

from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.lm.units import Unit, Units, learn_units

TEXT = [["the", "cat", "sat"], ["the", "hat"], [], ["that", "chat", "at", "tea", "hats", "each", "these", "cats"]]


def learned(unit: Unit) -> Units:
    if unit in ("bpe", "unigram"):
        pytest.importorskip("sentencepiece", reason="word pieces need sentencepiece")
    return learn_units(unit, TEXT, 12)


def symbols(units: Units, *words: str) -> list[str]:
    return units.tokens.symbols(units.encode(words))


def test_words_characters_and_their_ends() -> None:
    assert symbols(learned("word"), "the", "hat") == ["the", "hat", "<blk>"]
    assert symbols(learned("char"), "a", "hat") == ["a", "|", "h", "a", "t", "|", "<blk>"]
    assert symbols(learned("word")) == ["<blk>"]


@pytest.mark.parametrize("unit", ["bpe", "unigram"])
def test_pieces_spell_words(unit: Unit) -> None:
    found = symbols(learned(unit), "the", "chat")
    assert "".join(found[:-1]).replace("▁", " ") == " the chat"
    assert len(learned(unit)) == 13


@pytest.mark.parametrize("unit", ["word", "char", "bpe", "unigram"])
def test_what_cannot_be_spelled_is_one_unknown_word(unit: Unit) -> None:
    units = learned(unit)
    expected = units.encode(["the"])[:-1] + [1] + units.encode(["cat"])
    assert units.encode(["the", "zoo", "cat"]) == expected
    assert 1 not in units.encode(["the", "cat"])


@pytest.mark.parametrize("unit", ["word", "char", "bpe"])
def test_different_sentences_have_different_tokens(unit: Unit) -> None:
    units = learned(unit)
    sentences = [["the", "cat"], ["thecat"], ["the"], ["cat", "the"], []]
    assert len({tuple(units.encode(words)) for words in sentences}) == len(sentences)


@pytest.mark.parametrize("unit", ["word", "char", "bpe"])
def test_a_checkpoint_gives_the_same_units(unit: Unit) -> None:
    units = learned(unit)
    again = Units.from_state(units.state())
    assert again.encode(["hat", "cat", "dog"]) == units.encode(["hat", "cat", "dog"])
    assert again.tokens == units.tokens


def test_bad_texts_are_refused() -> None:
    with pytest.raises(SpeechkitError, match="no words"):
        learn_units("word", [[]], 10)
    with pytest.raises(SpeechkitError, match="holds the word </s>"):
        learn_units("char", [["a", "</s>"]], 10)
    with pytest.raises(SpeechkitError, match="ends words"):
        learn_units("char", [["a|b"]], 10)
    pytest.importorskip("sentencepiece", reason="word pieces need sentencepiece")
    with pytest.raises(UsageError, match="^vocab_size 1000 is too large"):
        learn_units("bpe", TEXT, 1000)
