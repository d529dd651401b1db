"""From text to tokens and back, for each kind of unit."""

import gzip
import itertools
import json

import pytest

from speechkit.cli import main
from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.text.lang import Lang, make_lang
from speechkit.text.lexicon import Lexicon

UTTERANCES = [("two one", "h# t ux q w ah n h#"), ("nine", "h# n ay nx h#")]


@pytest.fixture
def cuts(tmp_path):
    path = tmp_path / "données de parole" / "cuts_train.jsonl.gz"
    path.parent.mkdir()
    with gzip.open(path, "wt", encoding="utf-8") as stream:
        for index, (text, phones) in enumerate(UTTERANCES):
            supervision = {"id": f"u{index}", "text": text, "custom": {"phones": phones, "age": 30}}
            stream.write(json.dumps({"id": f"u{index}", "supervisions": [supervision]}) + "\n")
    return path


def made(cuts, *options):
    out = cuts.parent / "lang"
    assert main(["lang", "--cuts", str(cuts), "--out", str(out), *options]) == 0
    return out, Lang.load(out)


def test_phones_are_words_of_their_own_and_fold(cuts):
    out, lang = made(cuts, "--unit", "phone")
    assert (lang.field, lang.scored_phones, len(lang.tokens)) == ("phones", 39, 49)
    assert (out / "lm_text.txt").read_text() == "sil t uw w ah n sil\nsil n ay n sil\n"
    reference = lang.reference({"text": UTTERANCES[0][0], "phones": UTTERANCES[0][1]})
    assert reference == ["sil", "t", "uw", "w", "ah", "n", "sil"]
    assert lang.words(lang.encode(UTTERANCES[0][1])) == reference
    assert lang.lexicon.spellings("sil") == [("sil",)]


def test_phones_not_seen_in_training_have_tokens(cuts):
    _, lang = made(cuts, "--unit", "phone", "--phone-set", "39")
    assert len(lang.tokens) == 40
    assert lang.words(lang.encode("zh oy")) == ["sh", "oy"]


def test_characters_end_every_word_with_the_boundary(cuts):
    out, lang = made(cuts, "--unit", "char")
    assert list(lang.tokens) == ["<blk>", "|", *"einotw"]
    assert lang.tokens.symbols(lang.encode("one two")) == [*"one|two|"]
    assert lang.words(lang.encode("one two")) == ["one", "two"]
    assert lang.words(lang.tokens.ids([*"|one||two"])) == ["one", "two"]
    assert "nine n i n e |\n" in (out / "lexicon.txt").read_text()
    assert (out / "lm_text.txt").read_text() == "two one\nnine\n"


def test_words_are_tokens(cuts):
    _, lang = made(cuts, "--unit", "word")
    assert list(lang.tokens) == ["<blk>", "nine", "one", "two"]
    assert lang.words(lang.encode("two nine")) == ["two", "nine"]


def test_words_spelled_in_phones(cuts):
    lexicon = cuts.parent / "lexicon.txt"
    lexicon.write_text("one w ah n\ntwo t uw\nnine n ay n\none hh w ah n\n")
    _, lang = made(cuts, "--unit", "phone", "--lexicon", str(lexicon))
    assert (lang.field, lang.scored_phones) == ("text", None)
    assert lang.tokens.symbols(lang.encode("two one")) == ["t", "uw", "|", "w", "ah", "n", "|"]
    assert lang.words(lang.encode("nine one two")) == ["nine", "one", "two"]


def test_words_missing_from_a_given_lexicon_are_listed(cuts, capsys):
    lexicon = cuts.parent / "lexicon.txt"
    lexicon.write_text("one w ah n\n")
    options = ["lang", "--cuts", str(cuts), "--out", str(cuts.parent / "lang"), "--unit", "phone"]
    assert main([*options, "--lexicon", str(lexicon)]) == 1
    message = capsys.readouterr().err
    assert "lacks 2 words" in message
    assert "nine two" in message
    assert not (cuts.parent / "lang").exists()


@pytest.mark.parametrize("unit", ["phone", "char", "word"])
def test_state_rebuilds_the_language(cuts, unit):
    _, lang = made(cuts, "--unit", unit)
    assert Lang.from_state(json.loads(json.dumps(lang.state()))) == lang


def test_what_has_no_token_is_named_with_its_text():
    lang = make_lang("char", ["one two"])
    with pytest.raises(SpeechkitError, match="cannot encode 'one, six': .*',', 'i', 's', 'x'.*build the language"):
        lang.encode("one, six")
    with pytest.raises(SpeechkitError, match="no 'text'"):
        lang.reference({"phones": "aa"})


def test_errors_of_building():
    with pytest.raises(UsageError, match="did you mean 'phone'"):
        make_lang("phones", [])
    with pytest.raises(UsageError, match="goes with unit phone"):
        make_lang("char", ["a"], lexicon=Lexicon([("a", ["ah"])]))
    with pytest.raises(SpeechkitError, match="holds no words"):
        make_lang("char", ["", " "])
    with pytest.raises(SpeechkitError, match="marks word boundaries"):
        make_lang("char", ["a|b"])


def test_a_file_that_is_not_cuts_is_named_with_its_line(tmp_path, capsys):
    path = tmp_path / "cuts.jsonl"
    path.write_text('{"id": "a", "supervisions": []}\nnonsense\n')
    assert main(["lang", "--cuts", str(path), "--unit", "char", "--out", str(tmp_path / "lang")]) == 1
    assert "cuts.jsonl:2 is not a cut" in capsys.readouterr().err
    with pytest.raises(SpeechkitError, match="no lang.json"):
        Lang.load(tmp_path)


def test_symbols_for_repeated_letters_are_expanded_again():
    lang = make_lang("char", ["anna saaab", "an"], repetitions=2)
    assert list(lang.tokens)[1:] == ["|", "a", "b", "n", "s", "1", "2"]
    ids = lang.encode("anna saaab an")
    assert "".join(lang.tokens.symbols(ids)) == "an1a|sa2b|an|"
    assert all(first != second for first, second in itertools.pairwise(ids))
    assert lang.words(ids) == ["anna", "saaab", "an"]
    assert ("anna", ("a", "n", "1", "a", "|")) in list(lang.lexicon.entries)
    assert Lang.from_state(lang.state()) == lang
    assert lang.words(lang.tokens.ids(["1", "a", "|"])) == ["a"]  # nothing to repeat
    with pytest.raises(SpeechkitError, match="holds '1', which stands for repeated letters"):
        make_lang("char", ["b1"], repetitions=1)
    with pytest.raises(UsageError, match="repetitions go with unit char"):
        make_lang("word", ["b"], repetitions=1)
