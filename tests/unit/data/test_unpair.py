"""Audio and text of a training set that do not belong together, and text of a miniature that nobody reads."""

from collections import Counter
from pathlib import Path

import pytest
from lhotse import CutSet, MonoCut, SupervisionSegment
from lhotse.supervision import AlignmentItem

from speechkit.cli import main
from speechkit.data.manifests import read_cuts
from speechkit.data.miniature import timit
from speechkit.data.miniature.further_text import write_further_text
from speechkit.data.miniature.grammar import words
from speechkit.text.phones import PHONES_61


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Thirty sentences, each read by one to four speakers in pronunciations of their own."""
    folder = tmp_path / "data"
    folder.mkdir()
    for split, sentences in (("train", 30), ("dev", 2)):
        cuts = []
        for sentence in range(sentences):
            for speaker in range(1 + sentence % 4):
                name = f"{split}-{speaker}-s{sentence}"
                phones = f"h# p{sentence} by{speaker} h#"
                told = SupervisionSegment(
                    name, name, 0, 1.5, text=f"Sentence {sentence}", speaker=f"s{speaker}", custom={"phones": phones},
                    alignment={"phone": [AlignmentItem("h#", 0, 1)]},
                )  # fmt: skip
                cuts.append(MonoCut(name, 0, 1.5, 0, supervisions=[told]))
        CutSet.from_cuts(cuts).to_file(folder / f"cuts_{split}.jsonl.gz")
    return folder


def unpair(data: Path, name: str, *options: str) -> Path:
    out = data.parent / name
    assert main(["unpair", "--in", str(data), "--out", str(out), "--field", "phones", *options]) == 0
    return out


def spoken(folder: Path, name: str = "train") -> list[str]:
    return [cut.id for cut in read_cuts(folder / f"cuts_{name}.jsonl.gz")]


def test_unmatched_text_shares_no_sentence_with_the_audio(data: Path) -> None:
    out = unpair(data, "unmatched", "--setting", "unmatched")
    audio, text, whole = spoken(out), spoken(out, "text"), spoken(data)
    assert sorted([*audio, *text]) == sorted(whole)
    assert 0.2 * len(whole) <= len(text) <= 0.25 * len(whole)
    assert not {name.rpartition("-")[2] for name in audio} & {name.rpartition("-")[2] for name in text}
    transcripts = {cut.id: cut.supervisions[0].custom["phones"] for cut in read_cuts(data / "cuts_train.jsonl.gz")}
    lines = (out / "text.txt").read_text().splitlines()
    assert Counter(lines) == Counter(transcripts[name] for name in text)
    assert lines != [transcripts[name] for name in text]


def test_matched_text_is_that_of_the_audio_in_another_order(data: Path) -> None:
    out = unpair(data, "matched", "--setting", "matched")
    assert spoken(out) == spoken(data)
    transcripts = [cut.supervisions[0].custom["phones"] for cut in read_cuts(data / "cuts_train.jsonl.gz")]
    lines = (out / "text.txt").read_text().splitlines()
    assert Counter(lines) == Counter(transcripts)
    same = sum(line == transcript for line, transcript in zip(lines, transcripts, strict=True))
    assert same < len(lines) / 5


def test_audio_alone_leaves_no_text(data: Path) -> None:
    out = unpair(data, "audio", "--setting", "audio")
    assert spoken(out) == spoken(data)
    assert not (out / "text.txt").exists()
    assert not (out / "cuts_text.jsonl.gz").exists()


@pytest.mark.parametrize("setting", ["matched", "unmatched", "audio"])
def test_the_audio_has_no_transcript_and_the_other_sets_keep_theirs(data: Path, setting: str) -> None:
    out = unpair(data, setting, "--setting", setting)
    for cut in read_cuts(out / "cuts_train.jsonl.gz"):
        (told,) = cut.supervisions
        assert (told.text, told.custom, told.alignment) == (None, None, None)
        assert told.speaker
    assert (out / "cuts_dev.jsonl.gz").read_bytes() == (data / "cuts_dev.jsonl.gz").read_bytes()


def test_the_seed_draws(data: Path) -> None:
    first, again, other = (
        spoken(unpair(data, f"x{number}", "--setting", "unmatched", "--seed", seed), "text")
        for number, seed in enumerate(("0", "0", "1"))
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--field", "phonez"], 1, "has no 'phonez'; correct --field"),
        (["--text-share", "1"], 2, "--text-share lies between 0 and 1"),
        (["--text-share", "0.001"], 1, "too few for audio and text"),
        (["--in", "nowhere"], 1, "does not exist"),
    ],
)
def test_bad_input_is_one_line(
    data: Path, capfd: pytest.CaptureFixture[str], options: list[str], code: int, message: str
) -> None:
    out = data.parent / "out"
    given = ["--in", str(data), "--out", str(out), "--field", "phones", "--setting", "unmatched", *options]
    assert main(["unpair", *given]) == code
    shown = capfd.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1
    assert not out.exists()


def test_further_text_of_a_miniature_is_read_by_nobody(tmp_path: Path) -> None:
    write_further_text("timit", "tiny", tmp_path / "a", 8)
    write_further_text("timit", "tiny", tmp_path / "b", 4, num_jobs=2)
    phones, text = ((tmp_path / "a" / name).read_text().splitlines() for name in ("phones.txt", "words.txt"))
    read = {" ".join(words(each.text)) for each in timit.plan("tiny", 0).utterances}
    assert len(set(text)) == 8
    assert not read & set(text)
    for line in map(str.split, phones):
        assert (line[0], line[-1]) == ("h#", "h#")
        assert set(line) <= set(PHONES_61)
    assert (tmp_path / "b/phones.txt").read_text().splitlines() == phones[:4]
    # "the" and other words have their closures and vowels where the corpus has them, more phones than letters no one.
    assert all(len(line.split()) > len(sentence.split()) + 2 for line, sentence in zip(phones, text, strict=True))


def test_further_text_has_the_phones_of_a_recording(tmp_path: Path) -> None:
    from speechkit.data.miniature.further_text import spoken_phones
    from speechkit.data.miniature.render import render

    plan = timit.plan("tiny", 0)
    utterance = plan.utterances[3]
    recorded = [label.text for label in render(plan, utterance, 0).phones]
    found = spoken_phones((utterance.text, utterance.speaker.voice))
    # The reader varies rate and pitch, which may change a closure or two.
    assert (found[0], found[-1]) == (recorded[0], recorded[-1])
    assert sum((Counter(found) - Counter(recorded)).values()) <= 3


@pytest.mark.parametrize("options", [["--corpus", "digits"], ["--size", "huge"], ["--sentences", "0"]])
def test_further_text_of_nothing_is_refused(tmp_path: Path, options: list[str]) -> None:
    assert main(["further-text", "--out", str(tmp_path / "x"), *options]) == 2
    assert not (tmp_path / "x").exists()
