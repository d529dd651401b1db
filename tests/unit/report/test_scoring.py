"""`speechkit score`: last line, files and errors."""

import json

import pytest

from speechkit.cli import main
from speechkit.text.lang import make_lang

REFERENCE = "u1 sil ix s ao sil\nu2 ah b\nu3 k\n"
HYPOTHESIS = "u3 k\nu1 sil ih s s sil q\nu2\n"


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "décodé test" / "decode_test"
    folder.mkdir(parents=True)
    (folder / "ref.txt").write_text(REFERENCE)
    (folder / "hyp.txt").write_text(HYPOTHESIS)
    return folder


def score(folder, *options):
    return main(["score", "--dir", str(folder), *options])


def test_phones_of_timit_are_folded_to_39(folder, capsys):
    make_lang("phone", []).save(folder.parent / "lang")
    assert score(folder, "--lang", str(folder.parent / "lang")) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"%PER 37.50 [ 3 / 8, 0 ins, 2 del, 1 sub ] {folder}"


def test_words_and_characters(folder, capsys):
    assert score(folder, "--unit", "word") == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"%WER 62.50 [ 5 / 8, 1 ins, 2 del, 2 sub ] {folder}"
    assert "letter_error_rate" in json.loads((folder / "result.json").read_text())
    (folder / "ref.txt").write_text("u ab cd\n")
    (folder / "hyp.txt").write_text("u abc d e\n")
    assert score(folder, "--unit", "char") == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"%CER 25.00 [ 1 / 4, 1 ins, 0 del, 0 sub ] {folder}"


def test_letters_of_words_are_counted_with_the_spaces_between(folder, capsys):
    (folder / "ref.txt").write_text("u ab cd\nv e\n")
    (folder / "hyp.txt").write_text("u abcd\nv f\n")
    assert score(folder, "--unit", "word") == 0
    letters, words = capsys.readouterr().out.splitlines()[-2:]
    assert letters == f"%LER 33.33 [ 2 / 6, 0 ins, 1 del, 1 sub ] {folder}"
    assert words.startswith("%WER 100.00 [ 3 / 3,")
    found = json.loads((folder / "result.json").read_text())
    assert found["letter_error_rate"] == pytest.approx(100 / 3)
    assert found["metric"] == "WER"


def test_figures_in_json(folder):
    assert score(folder, "--fold", "39") == 0
    found = json.loads((folder / "result.json").read_text())
    assert found["rate"] == pytest.approx(37.5)
    assert (found["errors"], found["reference"]) == (3, 8)
    assert (found["insertions"], found["deletions"], found["substitutions"]) == (0, 2, 1)
    assert (found["utterances"], found["utterances_with_errors"], found["folded_to"]) == (3, 2, 39)
    assert found["interval"][0] <= 37.5 <= found["interval"][1]


def test_alignments_and_confusions_can_be_read(folder):
    score(folder, "--fold", "39")
    blocks = (folder / "per_utt.txt").read_text().split("\n\n")
    assert blocks[0].splitlines() == [
        "u1 ref sil ih s aa sil",
        "u1 hyp sil ih s s  sil",
        "u1 op  C   C  C S  C",
        "u1 sum 4 cor, 0 ins, 0 del, 1 sub, 20.00 %",
    ]
    assert blocks[1].splitlines()[1:3] == ["u2 hyp *** ***", "u2 op  D   D"]
    lines = (folder / "confusions.txt").read_text().splitlines()
    assert "     1  aa -> s  100.0 %" in lines
    assert "     1  ah  100.0 %" in lines


@pytest.mark.parametrize(
    ("reference", "hypothesis", "message"),
    [
        (REFERENCE, "u1 sil\n", "hyp.txt lacks 2 of 3 utterances: u2 u3"),
        ("u1 sil\n", HYPOTHESIS, "ref.txt lacks 2 of 3 utterances: u3 u2"),
        (REFERENCE, HYPOTHESIS + "u3 k\n", "hyp.txt:4: utterance 'u3' comes twice"),
        ("", "", "holds no utterances"),
        ("u1\n", "u1 a\n", "holds no words"),
    ],
)
def test_bad_transcripts_are_named_and_nothing_is_written(folder, capsys, reference, hypothesis, message):
    (folder / "ref.txt").write_text(reference)
    (folder / "hyp.txt").write_text(hypothesis)
    assert score(folder) == 1
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == ["hyp.txt", "ref.txt"]


def test_missing_folder_and_options_that_do_not_fit(folder, capsys):
    assert score(folder / "none") == 1
    assert "run the decoding stage (7)" in capsys.readouterr().err
    assert score(folder, "--unit", "word", "--fold", "39") == 2
    assert score(folder, "--lang", str(folder / "none")) == 1
    assert score(folder, "--fold", "39", "--unit", "phone") == 0
    (folder / "hyp.txt").write_text("u1 sil xx\nu2\nu3\n")
    assert score(folder, "--fold", "39") == 1
    assert "'xx'" in capsys.readouterr().err
