"""SentencePiece units: exact round trip, deterministic tables, a file that SentencePiece itself reads."""

import json
import random
from pathlib import Path

import pytest

from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.text.lang import Lang, make_lang
from speechkit.text.tokens import BLANK

spm = pytest.importorskip("sentencepiece", reason="sentencepiece is not installed")
TEXTS = [
    "she had her dark suit in greasy wash water all year",
    "don't ask me to carry an oily rag like that",
    "the dark water washed the greasy rag all year",
    "naïve façade ２ 今天 天气",
]
SIZE = 42
KINDS = ["bpe", "unigram"]


@pytest.fixture(params=KINDS)
def lang(request: pytest.FixtureRequest) -> Lang:
    return make_lang(request.param, TEXTS, vocab_size=SIZE)


def test_every_text_comes_back_and_no_piece_crosses_a_word(lang: Lang) -> None:
    assert len(lang.tokens) == SIZE
    assert next(iter(lang.tokens)) == BLANK
    for text in [*TEXTS, "yellow tailor"]:
        assert lang.words(lang.encode(text)) == text.split()
        joined = [token for word in text.split() for token in lang.encode(word)]
        assert lang.encode(text) == joined
    assert lang.words(lang.encode("a  o\t\u00a0c")) == ["a", "o", "c"]


def test_the_lexicon_spells_each_word_as_it_is_encoded(lang: Lang) -> None:
    assert lang.lexicon.words == sorted({word for text in TEXTS for word in text.split()})
    for word, spelling in lang.lexicon.entries:
        assert lang.tokens.ids(spelling) == lang.encode(word)
        assert [piece.startswith("▁") for piece in spelling] == [True] + [False] * (len(spelling) - 1)


def test_what_sentencepiece_itself_makes_of_the_text_is_the_same(lang: Lang, tmp_path: Path) -> None:
    lang.save(tmp_path / "läng")
    peer = spm.SentencePieceProcessor(model_file=str(tmp_path / "läng" / "pieces.model"))
    for text in TEXTS:
        assert peer.encode(text) == lang.encode(text)
        assert peer.decode(lang.encode(text)) == text
    assert [peer.id_to_piece(index) for index in range(1, len(peer))] == list(lang.tokens)[1:]


def test_state_and_folder_hold_all(lang: Lang, tmp_path: Path) -> None:
    lang.save(tmp_path)
    for found in (Lang.load(tmp_path), Lang.from_state(json.loads(json.dumps(lang.state())))):
        assert found == lang
        assert found.encode(TEXTS[0]) == lang.encode(TEXTS[0])
    (tmp_path / "pieces.model").unlink()
    with pytest.raises(SpeechkitError, match=r"pieces\.model does not exist; run `speechkit lang`"):
        Lang.load(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_neither_order_nor_grouping_of_the_text_matters(kind: str) -> None:
    words = [word for text in TEXTS for word in text.split()]
    random.Random(0).shuffle(words)
    assert make_lang(kind, [" ".join(words)], vocab_size=SIZE) == make_lang(kind, TEXTS, vocab_size=SIZE)


def test_a_character_that_training_lacked_is_named(lang: Lang) -> None:
    with pytest.raises(SpeechkitError, match="cannot encode 'dark jazz': not in the token table: 'j', 'z'; build"):
        lang.encode("dark jazz")


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_that_the_text_does_not_allow(kind: str) -> None:
    with pytest.raises(UsageError, match=r"--vocab-size 5 is too small .* takes (\d+) or more") as caught:
        make_lang(kind, TEXTS, vocab_size=5)
    least = int(str(caught.value).split(" or more")[0].split()[-1])
    assert len(make_lang(kind, TEXTS, vocab_size=least).tokens) == least
    with pytest.raises(UsageError, match=r"--vocab-size 5000 is too large .* allows (\d+) at most"):
        make_lang(kind, TEXTS, vocab_size=5000)


def test_options_of_other_units() -> None:
    with pytest.raises(UsageError, match="size goes with the units bpe and unigram, not char"):
        make_lang("char", TEXTS, vocab_size=SIZE)
    with pytest.raises(UsageError, match="boundary none goes with unit char, not bpe"):
        make_lang("bpe", TEXTS, boundary="none")
    with pytest.raises(UsageError, match="unknown boundary 'non', did you mean 'none'"):
        make_lang("char", TEXTS, boundary="non")
    with pytest.raises(SpeechkitError, match="marks word starts"):
        make_lang("bpe", ["a ▁b"], vocab_size=SIZE)


def test_characters_without_boundary_are_words() -> None:
    lang = make_lang("char", ["今天 天气", "天 上"], boundary="none")
    assert list(lang.tokens) == [BLANK, *sorted("今天气上")]
    assert lang.reference({"text": "今天 天气"}) == [*"今天天气"]
    assert lang.words(lang.encode("今天 天气")) == [*"今天天气"]
    assert lang.encode("今天天气") == lang.encode("今天 天气")
    assert (lang.scored_unit, lang.lexicon.spellings("天")) == ("char", [("天",)])
    assert Lang.from_state(json.loads(json.dumps(lang.state()))) == lang


def test_checkpoints_from_before_there_were_pieces_are_read() -> None:
    lang = make_lang("char", ["one two"])
    old = {name: value for name, value in lang.state().items() if name not in ("boundary", "pieces")}
    assert Lang.from_state(old) == lang
