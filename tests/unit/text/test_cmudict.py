"""Dictionaries of CMU's form, and phones of espeak-ng as CMU's."""

import gzip
import json
from pathlib import Path

import pytest

from speechkit.cli import main
from speechkit.common.errors import SpeechkitError
from speechkit.data.phonemise import phonemise
from speechkit.text.cmudict import PHONES, arpabet, read_cmudict, without_stress
from speechkit.text.lexicon import Lexicon

DICTIONARY = """;;; a comment
'BOUT  B AW1 T
READ  R EH1 D
READ(1)  R IY1 D
record R AH0 K AO1 R D # verb
record(2) R EH1 K ER0 D
record(3) R EH2 K ER0 D
"""


@pytest.fixture
def dictionary(tmp_path: Path) -> Path:
    path = tmp_path / "cmudict.dict"
    path.write_text(DICTIONARY)
    return path


def test_variants_comments_and_stress(dictionary: Path) -> None:
    lexicon = read_cmudict(dictionary)
    assert lexicon.words == ["'bout", "read", "record"]
    assert lexicon.spellings("read") == [("R", "EH", "D"), ("R", "IY", "D")]
    assert lexicon.spellings("record") == [("R", "AH", "K", "AO", "R", "D"), ("R", "EH", "K", "ER", "D")]
    stressed = read_cmudict(dictionary, str.upper, stress=True)
    assert stressed.spellings("RECORD")[1:] == [("R", "EH1", "K", "ER0", "D"), ("R", "EH2", "K", "ER0", "D")]


def test_what_is_no_dictionary(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("WORD\n")
    with pytest.raises(SpeechkitError, match=r"a:1: word 'WORD' has no phones"):
        read_cmudict(tmp_path / "a")
    (tmp_path / "b").write_text(";;; only this\n")
    with pytest.raises(SpeechkitError, match=r"b holds no words"):
        read_cmudict(tmp_path / "b")


@pytest.mark.parametrize(
    ("word", "phones"),
    [
        ("photography", "F AH0 T AA1 G R AH0 F IY0"),
        ("information", "IH2 N F ER0 M EY1 SH AH0 N"),
        ("judge", "JH AH1 JH"),
        ("fire", "F AY1 ER0"),
        ("north", "N AO1 R TH"),
    ],
)
def test_espeaks_phones_as_those_of_the_dictionary(word: str, phones: str) -> None:
    """The expected phones are those of the CMU dictionary."""
    found = phonemise([word], "en-us", stress=True)
    assert found is not None
    assert arpabet(found.spellings(word)[0], stress=True) == phones.split()
    plain = phonemise([word], "en-us")
    assert plain is not None
    assert arpabet(plain.spellings(word)[0]) == [without_stress(phone) for phone in phones.split()]


def test_all_phones_of_american_english_have_a_counterpart() -> None:
    text = (
        "the quick brown fox jumps over a lazy dog measure church judge think there bird button bottle near square "
        "poor start choice mouth goat yellow which singer tomorrow pleasure naive garage loch uh-huh fire power "
        "university mountain player lawyer idea create genre croissant bach jalapeno zoo going being"
    )
    found = phonemise(text.split(), "en-us")
    assert found is not None
    for word, spelling in found.entries:
        said = arpabet(spelling)
        assert said is not None, (word, spelling)
        assert set(said) <= PHONES
    assert arpabet(["ʘ"]) is None


def test_a_lexicon_for_cuts(dictionary: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with gzip.open(tmp_path / "cuts.jsonl.gz", "wt") as stream:
        stream.write(json.dumps({"id": "u", "supervisions": [{"text": "read judge read"}]}) + "\n")
    command = ["lexicon", "--cuts", str(tmp_path / "cuts.jsonl.gz"), "--out", str(tmp_path / "lexicon.txt")]
    assert main([*command, "--cmudict", str(dictionary), "--language", "en-us"]) == 0
    assert (tmp_path / "lexicon.txt").read_text() == "judge JH AH JH\nread R EH D\nread R IY D\n"
    assert main([*command, "--language", "en-us", "--stress"]) == 0
    assert Lexicon.read(tmp_path / "lexicon.txt").spellings("judge") == [("dʒ", "ˈʌ", "dʒ")]
    capsys.readouterr()
    assert main([*command, "--cmudict", str(dictionary)]) == 0
    assert "1 words have no pronunciation: judge" in capsys.readouterr().err
    assert main(command) == 2
    assert "give a dictionary" in capsys.readouterr().err
