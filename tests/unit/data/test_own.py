"""A folder of audio and a file of transcripts: from the command to manifests, sets and a report."""

from collections import Counter
from pathlib import Path

import pytest
from fake_corpora import riff, tone

from speechkit.cli import main
from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.data.corpora.own import Division, divide
from speechkit.data.manifests import read_cuts, read_lines, read_manifests

WORDS = ("one two", "Three, four!", "FIVE")


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    """Ten speakers with three recordings each."""
    for speaker in range(10):
        folder = tmp_path / "mein Ton" / f"sp{speaker}"
        folder.mkdir(parents=True)
        for number in range(3):
            riff(folder / f"{number}.wav", tone(8000, 10 * speaker + number))
    return tmp_path / "mein Ton"


@pytest.fixture
def text(audio: Path) -> Path:
    path = audio.parent / "text"
    lines = (f"{file.relative_to(audio).with_suffix('')} {WORDS[int(file.stem)]}\n" for file in audio.rglob("*.wav"))
    path.write_text("".join(lines))
    return path


def prepare(audio: Path, text: Path, *options: str, code: int = 0) -> Path:
    out = audio.parent / "manifests"
    assert (
        main(["prepare", "--audio", str(audio), "--text", str(text), "--out", str(out), "--nj", "1", *options]) == code
    )
    return out


def speakers(out: Path, split: str) -> Counter[str]:
    return Counter(item.speaker for item in read_manifests(out, split).supervisions)


def test_sets_share_no_speaker_and_depend_on_the_seed(audio: Path, text: Path) -> None:
    found = [
        {split: speakers(prepare(audio, text, "--seed", seed), split) for split in ("train", "dev", "test")}
        for seed in "001"
    ]
    assert [found[0][split].total() for split in ("train", "dev", "test")] == [24, 3, 3]
    assert len(found[0]["train"] | found[0]["dev"] | found[0]["test"]) == 10
    assert found[0] == found[1] != found[2]


def test_texts_become_words_by_language_and_case(audio: Path, text: Path) -> None:
    out = prepare(audio, text, "--language", "en", "--case", "upper")
    assert {item.text for item in read_manifests(out, "train").supervisions} == {"ONE TWO", "THREE FOUR", "FIVE"}


def test_the_manifests_are_good_for_the_next_stages(audio: Path, text: Path) -> None:
    out = prepare(audio, text)
    assert main(["validate", "--in", str(out), "--out", str(out / "valid"), "--nj", "1"]) == 0
    cuts = list(read_cuts(out / "valid" / "cuts_dev.jsonl.gz"))
    assert [(cut.id, cut.num_samples, cut.supervisions[0].speaker) for cut in cuts] == [
        (f"{cuts[0].supervisions[0].speaker}/{number}", 8000, cuts[0].supervisions[0].speaker) for number in range(3)
    ]


def test_one_set_alone(audio: Path, text: Path) -> None:
    prepare(audio, text)
    out = prepare(audio, text, "--dev-share", "0", "--test-share", "0")
    assert sorted(path.name for path in out.glob("recordings_*")) == ["recordings_train.jsonl.gz"]
    assert main(["validate", "--in", str(out), "--out", str(out / "valid"), "--nj", "1"]) == 0
    assert main(["features", "--in", str(out / "valid"), "--out", str(out / "fbank"), "--nj", "1"]) == 0
    assert [path.name for path in (out / "fbank").glob("cuts_*")] == ["cuts_train.jsonl.gz"]


@pytest.mark.parametrize(("name", "separator"), [("list.tsv", "\t"), ("list.csv", ","), ("table", "\t")])
def test_tables_name_speakers_and_sets(audio: Path, name: str, separator: str) -> None:
    rows = [("path", "client_id", "sentence", "split")]
    for place, file in enumerate(sorted(audio.rglob("*.wav"))):
        split = ("train", "validation", "Test")[place % 3]
        rows.append((f"clips/{file.relative_to(audio)}", f"anna {place // 15}", "Don't stop", split))
    (audio.parent / name).write_text("".join(separator.join(row) + "\n" for row in rows))
    out = prepare(audio, audio.parent / name)
    assert speakers(out, "dev") == {"anna_0": 5, "anna_1": 5}
    assert {item.id for item in read_manifests(out, "test").supervisions} == {f"sp{number}/2" for number in range(10)}
    assert read_manifests(out, "train").supervisions[0].text == "don't stop"


def test_a_table_without_its_columns(audio: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (audio.parent / "list.csv").write_text("file,txt\na,b\n")
    prepare(audio, audio.parent / "list.csv", code=1)
    assert "no column of the words, did you mean 'text'?" in capsys.readouterr().err
    (audio.parent / "list.csv").write_text('file,text,split\nsp0/0,"one, two",trian\n')
    prepare(audio, audio.parent / "list.csv", code=1)
    assert "'sp0/0' has the set 'trian' in the transcripts, did you mean 'train'?" in capsys.readouterr().err


def test_what_is_not_spelled_out_is_told_or_left_out(
    audio: Path, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text.write_text(text.read_text().replace("sp3/0 one two", "sp3/0 1 two %"))
    assert "not spelled out" in [
        row["reason"].split(":")[0] for row in read_lines(prepare(audio, text) / "report.jsonl")
    ]
    assert "1 used all the same, not spelled out" in capsys.readouterr().err
    out = prepare(audio, text, "--digits", "leave-out")
    kept = {item.id for split in ("train", "dev", "test") for item in read_manifests(out, split).supervisions}
    assert (len(kept), "sp3/0" in kept) == (29, False)


def test_spaces_in_ids_become_underscores(audio: Path) -> None:
    for name in ("a b", "a_b", "c d"):
        riff(audio / f"{name}.wav", tone(8000))
        (audio / f"{name}.txt").write_text("word")
    out = prepare(audio, audio, "--split-by", "utterance", "--dev-share", "0", "--test-share", "0")
    assert [item.id for item in read_manifests(out, "train").supervisions] == ["a_b", "c_d"]
    reasons = {row["id"]: row["reason"].split(":")[0] for row in read_lines(out / "report.jsonl")}
    assert (reasons["a b"], reasons["c d"]) == ("duplicate id", "spaces in id")


def test_speakers_that_are_too_few(audio: Path, text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text.write_text("".join(line for line in text.read_text().splitlines(True) if line.startswith(("sp1/", "sp2/"))))
    prepare(audio, text, code=1)
    assert "2 speakers are too few for 3 sets; give --split-by utterance" in capsys.readouterr().err
    out = prepare(audio, text, "--split-by", "utterance")
    assert [speakers(out, split).total() for split in ("train", "dev", "test")] == [4, 1, 1]


def test_division() -> None:
    assert Counter(divide({str(number): "x" for number in range(100)}, Division(by="utterance"), 0).values()) == {
        "train": 80, "dev": 10, "test": 10,
    }  # fmt: skip
    alone = divide({"a": "x", "b": "y"}, Division(dev=0), 0)
    assert sorted(alone.values()) == ["test", "train"]
    huge = {str(number): str(min(number, 3)) for number in range(100)}  # one speaker of 97 utterances
    assert set(divide(huge, Division(), 0).values()) == {"train", "dev", "test"}
    with pytest.raises(UsageError, match="leave some to train on"):
        Division(0.6, 0.5)
    with pytest.raises(SpeechkitError, match="record more"):
        divide({"a": "x", "b": "x"}, Division(by="utterance"), 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--audio", "a", "--corpus", "timit"], "give one of them"),
        (["--text", "a", "--corpus", "timit", "--in", "x"], "--text goes with --audio"),
        (["--corpus", "timit"], "give --corpus and --in, or --audio"),
        (["--audio", "a", "--language", "xx"], "no rules for the text of language 'xx'"),
        (["--audio", "a", "--dev-share", "1"], "leave some to train on"),
    ],
)
def test_wrong_usage(tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "--out", str(tmp_path / "out"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
