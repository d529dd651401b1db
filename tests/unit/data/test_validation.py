"""What is bad costs itself alone and is named."""

import json
from pathlib import Path

import pytest
from fake_corpora import fake_digits, fake_timit, riff, sphere, tone
from lhotse import SupervisionSegment
from lhotse.supervision import AlignmentItem

from speechkit.common.errors import SpeechkitError
from speechkit.data.corpora import prepare_corpus
from speechkit.data.manifests import Split, make_recording, read_cuts, read_lines, write_manifests
from speechkit.data.validation import Validated, validate


def prepare(root: Path, out: Path, corpus: str = "timit") -> Path:
    for split, content in prepare_corpus(corpus, root, out, seed=0, nj=1, options={}).items():
        write_manifests(out, split, content)
    return out


def run(manifests: Path, out: Path, max_bad_ratio: float = 0.5, nj: int = 1) -> dict[str, Validated]:
    return validate(manifests, out, sampling_rate=16000, max_bad_ratio=max_bad_ratio, nj=nj)


def cut_ids(folder: Path) -> set[str]:
    return {cut.id for split in ("train", "dev", "test") for cut in read_cuts(folder / f"cuts_{split}.jsonl.gz")}


def report(folder: Path) -> dict[str, str]:
    rows = list(read_lines(folder / "report.jsonl"))
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: f"{row['split']} {row['reason'].split(':')[0]}" for row in rows}


def test_a_good_corpus_becomes_one_cut_per_utterance(tmp_path: Path) -> None:
    manifests = prepare(fake_timit(tmp_path / "corpus ä"), tmp_path / "manifests")
    run(manifests, tmp_path / "valid", nj=2)
    (cut,) = [cut for cut in read_cuts(tmp_path / "valid" / "cuts_dev.jsonl.gz") if cut.id == "faks0-sx37"]
    assert (cut.duration, cut.num_samples, cut.start) == (0.5, 8000, 0)
    assert cut.supervisions[0].text == "she"
    assert cut.supervisions[0].custom["phones"] == "h# sh h#"
    assert len(cut.load_audio()[0]) == 8000
    summary = json.loads((tmp_path / "valid" / "summary.json").read_text())
    assert summary["train"] == {"utterances": 12, "hours": 0.0017, "bad": 0, "reasons": {}}
    assert not report(tmp_path / "valid")


def test_deleted_truncated_and_emptied_cost_exactly_those_three(tmp_path: Path) -> None:
    root = fake_timit(tmp_path / "corpus")
    run(prepare(root, tmp_path / "manifests"), tmp_path / "valid")
    whole = cut_ids(tmp_path / "valid")
    (root / "TRAIN/DR1/FCJF0/SI648.WAV").unlink()
    truncated = root / "TRAIN/DR1/MDPK0/SX37.WAV"
    truncated.write_bytes(truncated.read_bytes()[:9000])
    (root / "TEST/DR1/MDAB0/SX127.WAV").write_bytes(b"")
    run(prepare(root, tmp_path / "manifests"), tmp_path / "valid", nj=2)
    assert report(tmp_path / "valid") == {
        "fcjf0-si648": "train no audio file",
        "mdpk0-sx37": "train truncated",
        "mdab0-sx127": "test empty file",
    }
    assert whole - cut_ids(tmp_path / "valid") == {"fcjf0-si648", "mdpk0-sx37", "mdab0-sx127"}
    summary = json.loads((tmp_path / "valid" / "summary.json").read_text())
    assert summary["train"]["reasons"] == {"no audio file": 1, "truncated": 1}
    assert summary["test"]["bad"] == 1


def test_audio_that_goes_bad_after_preparation(tmp_path: Path) -> None:
    root = fake_timit(tmp_path / "corpus")
    manifests = prepare(root, tmp_path / "manifests")
    folder = root / "TRAIN/DR1/FCJF0"
    (folder / "SI648.WAV").unlink()
    (folder / "SX37.WAV").write_bytes(b"")
    riff(folder / "SX127.WAV", tone(8000), rate=8000)
    (folder / "SX217.WAV").write_bytes(sphere(tone(7000)))
    run(manifests, tmp_path / "valid")
    assert report(tmp_path / "valid") == {
        "fcjf0-si648": "train unreadable", "fcjf0-sx37": "train empty file",
        "fcjf0-sx127": "train wrong rate", "fcjf0-sx217": "train changed",
    }  # fmt: skip


def test_transcripts_that_do_not_fit(tmp_path: Path) -> None:
    manifests = prepare(fake_timit(tmp_path / "corpus"), tmp_path / "manifests")
    content = Split()
    for number in range(6):
        path = tmp_path / f"{number}.wav"
        riff(path, tone(8000))
        content.recordings.append(make_recording(str(number), path))
        content.supervisions.append(SupervisionSegment(str(number), str(number), 0.0, 0.5, text="she", speaker="x"))
    content.supervisions[0].text = " "
    content.supervisions[1].duration = 0.6
    content.supervisions[2].alignment = {"phone": [AlignmentItem("sh", 0.4, 0.2)]}
    content.supervisions[3].recording_id = "gone"
    content.supervisions[4].alignment = {"phone": [AlignmentItem("sh", 0.4, 0.11)]}  # within a window of the end
    write_manifests(manifests, "train", content)
    run(manifests, tmp_path / "valid")
    rows = sorted((row["id"], row["reason"].split(":")[0]) for row in read_lines(tmp_path / "valid" / "report.jsonl"))
    assert rows == [
        ("0", "no transcript"),
        ("1", "outside the audio"),
        ("2", "outside the audio"),
        ("3", "no audio file"),
        ("3", "no transcript"),
    ]
    assert cut_ids(tmp_path / "valid") >= {"4", "5"}


def test_too_much_bad_writes_the_report_and_no_cuts(tmp_path: Path) -> None:
    root = fake_timit(tmp_path / "corpus")
    run(prepare(root, tmp_path / "manifests"), tmp_path / "valid")
    (root / "TRAIN/DR1/FCJF0/SI648.WAV").write_bytes(b"")
    (root / "TRAIN/DR1/FCJF0/SX37.WAV").write_bytes(b"")
    manifests = prepare(root, tmp_path / "manifests")
    with pytest.raises(SpeechkitError, match=r"2 of 20 utterances \(10\.0%\) are bad, .*report\.jsonl") as caught:
        run(manifests, tmp_path / "valid", max_bad_ratio=0.09)
    assert "\n" not in str(caught.value)
    assert set(report(tmp_path / "valid")) == {"fcjf0-si648", "fcjf0-sx37"}
    assert not list((tmp_path / "valid").glob("cuts_*"))
    run(manifests, tmp_path / "valid", max_bad_ratio=0.1)
    assert len(cut_ids(tmp_path / "valid")) == 18


def test_bad_recordings_of_joined_utterances_reach_the_report(tmp_path: Path) -> None:
    root = fake_digits(tmp_path / "digits")
    (root / "3_ann_11.wav").write_bytes(b"")
    run(prepare(root, tmp_path / "manifests", "digits"), tmp_path / "valid")
    assert report(tmp_path / "valid") == {"3_ann_11": "train empty file"}


def test_missing_manifests_name_the_stage(tmp_path: Path) -> None:
    with pytest.raises(SpeechkitError, match="speechkit prepare"):
        run(tmp_path, tmp_path / "valid")


def test_ids_that_come_twice_count_once(tmp_path: Path) -> None:
    manifests = prepare(fake_timit(tmp_path / "corpus"), tmp_path / "manifests")
    content = Split()
    for number in range(4):
        path = tmp_path / f"{number}.wav"
        riff(path, tone(8000))
        name = ("a", "a", "b", "faks0-sx37")[number]  # the last one is an utterance of dev, too
        content.recordings.append(make_recording(name, path))
        content.supervisions.append(SupervisionSegment(name, name, 0.0, 0.5, text="she", speaker="x"))
    write_manifests(manifests, "train", content)
    run(manifests, tmp_path / "valid")
    rows = sorted((row["split"], row["id"], row["reason"]) for row in read_lines(tmp_path / "valid" / "report.jsonl"))
    assert rows == [
        ("dev", "faks0-sx37", "duplicate id: an utterance of train has it too, and is used"),
        ("train", "a", f"duplicate id: {tmp_path / '0.wav'} has it too, and is used"),
        ("train", "a", "duplicate id: an utterance of train has it too, and is used"),
    ]
    assert cut_ids(tmp_path / "valid") >= {"a", "b", "faks0-sx37"}
