"""Text without audio as phones and silences: what stays, what goes, and what the files hold."""

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from speechkit.cli import main
from speechkit.text.lang import Lang
from speechkit.text.tokens import TokenTable
from speechkit.text.unpaired import SILENCE, frequent_phones, with_silences

LEXICON = "one w ah n\ntwo t uw\nsix s ih k s\nsix s iy k s\nzoo z uw\nabc\ta b c\n"
LINES = [
    "One two!",
    "two, ONE six",
    "six two one",
    "zoo two",
    "one zoo",
    "mystery one",
    "mystery",
    "",
    "rare one",
    "--",
]


def make(folder: Path, *options: str, lines: list[str] | None = None, lexicon: str = LEXICON) -> int:
    (folder / "lm.txt").write_text("".join(f"{line}\n" for line in (LINES if lines is None else lines)))
    (folder / "lexicon.txt").write_text(lexicon)
    files = ["--text", str(folder / "lm.txt"), "--out", str(folder / "text")]
    given = (
        options
        if {"--phones", "--espeak-voice"} & set(options)
        else ("--lexicon", str(folder / "lexicon.txt"), *options)
    )
    return main(["unpaired-text", *files, *given])


def lines_of(folder: Path, name: str) -> list[list[str]]:
    return [line.split() for line in (folder / "text" / name).read_text().splitlines()]


def test_words_and_phones_of_the_lines_that_stay(tmp_path: Path) -> None:
    assert make(tmp_path, "--silence", "0") == 0
    words = lines_of(tmp_path, "words.txt")
    assert words == [["one", "two"], ["two", "one", "six"], ["six", "two", "one"], ["zoo", "two"], ["one", "zoo"]]
    first = {"one": "w ah n", "two": "t uw", "six": "s ih k s", "zoo": "z uw"}
    expected = [[SILENCE, *" ".join(first[word] for word in line).split(), SILENCE] for line in words]
    assert lines_of(tmp_path, "phones.txt") == expected
    assert lines_of(tmp_path, "lm_text.txt") == [line[1:-1] for line in expected]
    report = json.loads((tmp_path / "text/text.json").read_text())
    assert (report["lines"], report["kept"], report["no_pronunciation"], report["rare_words"]) == (8, 5, 2, 1)
    # The text never says "iy", so no model of it can.
    assert (tmp_path / "text/lexicon.txt").read_text() == "one w ah n\ntwo t uw\nsix s ih k s\nzoo z uw\n"


def test_there_are_language_folders_whose_blank_is_the_silence(tmp_path: Path) -> None:
    assert make(tmp_path) == 0
    lang, phones = Lang.load(tmp_path / "text/lang"), Lang.load(tmp_path / "text/phone_lang")
    assert list(lang.tokens) == ["<blk>", "ah", "ih", "k", "n", "s", "t", "uw", "w", "z"]
    assert phones.tokens == lang.tokens
    assert list(TokenTable.read(tmp_path / "text/tokens.txt")) == ["<blk>", SILENCE, *list(lang.tokens)[1:]]
    said = {phone for line in lines_of(tmp_path, "phones.txt") for phone in line}
    assert said == {SILENCE, *list(lang.tokens)[1:]}
    assert lang.encode("two one") == lang.tokens.ids(["t", "uw", "w", "ah", "n"])
    assert lang.words(lang.encode("two one")) == ["two", "one"]
    assert phones.words(phones.encode("t uw")) == ["t", "uw"]


def test_silences_come_between_words_alone_with_their_probability() -> None:
    draw, sentence = random.Random(0), ["one", "two"] * 2000
    spellings = {"one": ("w", "ah", "n"), "two": ("t", "uw")}
    phones = with_silences(sentence, spellings, 0.25, draw)
    inside = phones[1:-1]
    assert (phones[0], phones[-1]) == (SILENCE, SILENCE)
    places = [place for place, phone in enumerate(inside) if phone == SILENCE]
    assert abs(len(places) / 3999 - 0.25) < 0.03
    assert {(inside[place - 1], inside[place + 1]) for place in places} == {("n", "t"), ("uw", "w")}
    assert [phone for phone in inside if phone != SILENCE] == [phone for word in sentence for phone in spellings[word]]


def test_the_seed_decides_about_silences(tmp_path: Path) -> None:
    found = []
    for seed in ("0", "0", "1"):
        assert make(tmp_path, "--seed", seed, lines=["one two six one two six"] * 20) == 0
        found.append((tmp_path / "text/phones.txt").read_text())
    assert found[0] == found[1] != found[2]


def test_what_is_left_of_rare_phones_is_counted_again() -> None:
    text = [["a", "b"], ["b", "c"], ["c", "c"], ["d", "b"]]
    spellings = {"a": ("x",), "b": ("y",), "c": ("z",), "d": ("y", "v")}
    left, phones = frequent_phones(lambda: text, spellings, 3)
    # x and v go with two lines, which leaves one y; that goes with its line, which leaves two z: nothing.
    assert (left, phones) == ({}, [])
    left, phones = frequent_phones(lambda: text, spellings, 2)
    assert (left, phones) == ({"c": ("z",)}, ["z"])
    left, phones = frequent_phones(lambda: text, spellings, 1)
    assert (left, phones) == (spellings, ["v", "x", "y", "z"])


def test_every_phone_comes_often_enough_in_the_end(tmp_path: Path) -> None:
    draw = random.Random(1)
    words = {
        f"w{number}": draw.choices("abcdefghij", weights=[1, 1, 9, 9, 9, 9, 9, 9, 9, 9], k=3) for number in range(60)
    }
    lines = [" ".join(draw.choices(list(words), k=4)) for _ in range(100)]
    lexicon = "".join(f"{word} {' '.join(phones)}\n" for word, phones in words.items())
    assert make(tmp_path, "--least-count", "40", "--language", "any", lines=lines, lexicon=lexicon) == 0
    counts = Counter(phone for line in lines_of(tmp_path, "phones.txt") for phone in line)
    assert {phone for phone in counts if phone != SILENCE} == set(Lang.load(tmp_path / "text/lang").tokens) - {"<blk>"}
    assert min(counts.values()) >= 40
    assert len(counts) < 11
    report = json.loads((tmp_path / "text/text.json").read_text())
    assert report["rare_phones"] > 0
    assert report["kept"] + report["rare_phones"] + report["rare_words"] == 100


def test_phones_of_timit_are_folded_and_their_silences_joined(tmp_path: Path) -> None:
    lines = ["h# sh iy q hv ae dcl d pau h#", "dcl jh ax-h kcl k epi s h#"]
    options = ("--phones", "--phone-set", "39", "--score-silence")
    assert make(tmp_path, *options, lines=lines) == 0
    assert (tmp_path / "text/phones.txt").read_text() == ("sil sh iy hh ae sil d sil\nsil jh ah sil k sil s sil\n")
    assert (tmp_path / "text/lm_text.txt").read_text() == (tmp_path / "text/phones.txt").read_text()
    assert (tmp_path / "text/words.txt").read_text() == "sh iy hh ae d\njh ah k s\n"
    lang = Lang.load(tmp_path / "text/lang")
    assert TokenTable.read(tmp_path / "text/tokens.txt") == lang.tokens
    assert "sil" in lang.lexicon
    assert list(lang.tokens) == ["<blk>", "ae", "ah", "d", "hh", "iy", "jh", "k", "s", "sh", "sil"]
    assert (lang.field, lang.scored_phones) == ("phones", 39)
    assert make(tmp_path, *options[:-1], lines=lines) == 0
    assert (tmp_path / "text/phones.txt").read_text().splitlines()[0] == "<SIL> sh iy hh ae <SIL> d <SIL>"
    assert "sil" not in Lang.load(tmp_path / "text/lang").tokens


def test_other_phones_stay_as_they_are(tmp_path: Path) -> None:
    assert make(tmp_path, "--phones", lines=["B a a", "c B <SIL> a"]) == 0
    assert (tmp_path / "text/phones.txt").read_text() == "<SIL> B a a <SIL>\n<SIL> c B <SIL> a <SIL>\n"


def test_words_said_by_espeak(tmp_path: Path) -> None:
    assert make(tmp_path, "--espeak-voice", "en-us", "--silence", "1", lines=["two church", "church two"]) == 0
    assert (tmp_path / "text/phones.txt").read_text().splitlines()[0] == "<SIL> t uː <SIL> tʃ ɜː tʃ <SIL>"


@pytest.mark.parametrize(
    ("lines", "lexicon", "options", "code", "message"),
    [
        ([], LEXICON, [], 1, "lm.txt holds no words"),
        (["- !"], LEXICON, [], 1, "lm.txt holds no words"),
        (["nobody", "nobody"], LEXICON, [], 1, "no word of"),
        (["one nobody", "nobody two one"], LEXICON, [], 1, "nothing is left of 2 lines"),
        (["one two"], LEXICON, [], 1, "nothing is left of 1 lines: 1 have rare words"),
        (["one two"] * 2, "one\n", [], 1, "lexicon.txt:1: word 'one' has no tokens"),
        (["one one"] * 2, "one a <SIL>\n", [], 1, "'<SIL>' cannot be a phone"),
        (["sh iy", "sh xx"], LEXICON, ["--phones", "--phone-set", "39"], 1, "lm.txt:2: 'xx' in 'sh xx' is not a TIMIT"),
        (["one"], LEXICON, ["--phone-set", "39"], 2, "--phone-set goes with --phones"),
        (["one"], LEXICON, ["--espeak-voice", "en-us", "--phones"], 2, "give one of"),
        (["one"], LEXICON, ["--silence", "1.5"], 2, "silence is a probability"),
        (["one"], LEXICON, ["--least-count", "0"], 2, "at least once"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], lines: list[str], lexicon: str, options: list[str], code: int,
    message: str,
) -> None:  # fmt: skip
    assert make(tmp_path, *options, lines=lines, lexicon=lexicon) == code
    shown = capfd.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1
    assert not [path for path in (tmp_path / "text").rglob("*") if path.is_file()]
