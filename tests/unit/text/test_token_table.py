"""Token tables and lexicons on disk."""

import pytest

from speechkit.common.errors import SpeechkitError
from speechkit.text.lexicon import Lexicon
from speechkit.text.tokens import TokenTable


def test_table_round_trip_and_file_form(tmp_path):
    path = tmp_path / "mit Ä" / "tokens.txt"
    table = TokenTable(["|", "a", "ß", "你", "a\u200bb"])
    table.write(path)
    assert path.read_text(encoding="utf-8").splitlines()[:3] == ["<blk> 0", "| 1", "a 2"]
    again = TokenTable.read(path)
    assert again == table
    assert again.symbols(again.ids(["你", "a", "|"])) == ["你", "a", "|"]


def test_unknown_tokens_are_all_listed():
    with pytest.raises(SpeechkitError, match="'x', 'z'"):
        TokenTable(["a"]).ids(["z", "a", "x", "z"])
    with pytest.raises(SpeechkitError, match="id 2 is outside"):
        TokenTable(["a"]).symbols([1, 2])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<blk> 0\na\n", r"tokens.txt:2: expected `token id`"),
        ("<blk> 0\na 1\nb 1\n", r"tokens.txt:3: id 1 was given before, to 'a'"),
        ("<blk> 0\na 2\n", "without a gap"),
        ("a 0\n<blk> 1\n", "0 must be <blk>"),
        ("<blk> 0\na 1\na 2\n", "'a' comes twice"),
    ],
)
def test_damaged_table_is_named_with_its_line(tmp_path, text, message):
    path = tmp_path / "tokens.txt"
    path.write_text(text)
    with pytest.raises(SpeechkitError, match=message):
        TokenTable.read(path)


def test_lexicon_round_trip_keeps_order_and_spellings(tmp_path):
    entries = [("the", ("dh", "ax")), ("a", ("ax",)), ("the", ("dh", "iy")), ("the", ("dh", "ax"))]
    lexicon = Lexicon(entries)
    lexicon.write(tmp_path / "lexicon.txt")
    again = Lexicon.read(tmp_path / "lexicon.txt")
    assert again == lexicon
    assert again.words == ["the", "a"]
    assert again.spellings("the") == [("dh", "ax"), ("dh", "iy")]
    assert again.tokens == ["ax", "dh", "iy"]


def test_lexicon_errors_name_file_and_line(tmp_path):
    path = tmp_path / "lexicon.txt"
    path.write_text("a ax\n\nthe\n")
    with pytest.raises(SpeechkitError, match=r"lexicon.txt:3: word 'the' has no tokens"):
        Lexicon.read(path)
    path.write_text("\n")
    with pytest.raises(SpeechkitError, match="holds no words"):
        Lexicon.read(path)
    path.write_bytes(b"a ax\nb \xff\n")
    with pytest.raises(SpeechkitError, match="not UTF-8"):
        Lexicon.read(path)
    with pytest.raises(SpeechkitError, match="'zoo' is not in the lexicon"):
        Lexicon([("a", ["ax"])]).spellings("zoo")
