"""TIMIT's folders to manifests."""

import json
import logging
from pathlib import Path

import pytest
from fake_corpora import fake_digits, fake_timit

from speechkit.common.errors import SpeechkitError
from speechkit.data.corpora import prepare_corpus, timit
from speechkit.data.corpora.timit import CORE_TEST_SPEAKERS, DEV_SPEAKERS
from speechkit.data.manifests import Problem, Split


def prepare(root: Path) -> dict[str, Split]:
    return prepare_corpus("timit", root, root.parent / "unused", seed=0, nj=1, options={})


def test_the_published_lists_are_whole_and_disjoint() -> None:
    assert (len(DEV_SPEAKERS), len(CORE_TEST_SPEAKERS)) == (50, 24)
    assert not DEV_SPEAKERS & CORE_TEST_SPEAKERS


@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("below", ["", "data", "TIMIT", "timit/data"])
def test_layouts_and_letter_cases(tmp_path: Path, below: str, lower: bool) -> None:
    fake_timit(tmp_path / "corpus ä" / below, lower=lower)
    splits = prepare(tmp_path / "corpus ä")
    ids = {split: [item.id for item in content.supervisions] for split, content in splits.items()}
    assert len(ids["train"]) == 12
    assert "fcjf0-si648" in ids["train"]
    assert ids["dev"] == ["faks0-si648", "faks0-sx127", "faks0-sx217", "faks0-sx37"]
    assert ids["test"] == ["mdab0-si648", "mdab0-sx127", "mdab0-sx217", "mdab0-sx37"]
    assert not any(content.problems for content in splits.values())


def test_a_supervision_holds_words_phones_and_times(tmp_path: Path) -> None:
    splits = prepare(fake_timit(tmp_path / "c", num_samples=24000))
    first, recording = splits["dev"].supervisions[0], splits["dev"].recordings[0]
    assert (recording.sampling_rate, recording.num_samples, recording.duration) == (16000, 24000, 1.5)
    assert (first.recording_id, first.start, first.duration) == (recording.id, 0.0, 1.5)
    assert (first.text, first.speaker, first.gender) == ("she", "faks0", "female")
    assert first.custom == {"phones": "h# sh h#", "dialect": "dr1"}
    assert [tuple(item)[:3] for item in first.alignment["phone"]] == [
        ("h#", 0.0, 0.5),
        ("sh", 0.5, 0.5),
        ("h#", 1.0, 0.5),
    ]
    assert [tuple(item)[:3] for item in first.alignment["word"]] == [("she", 0.5, 0.5)]


def test_doubled_extensions(tmp_path: Path) -> None:
    root = fake_timit(tmp_path / "c")
    for path in list(root.rglob("*.WAV")):
        path.rename(path.with_name(path.name + ".wav"))
    assert len(prepare(root)["train"].recordings) == 12


def test_every_announced_utterance_is_listed(tmp_path: Path) -> None:
    root = fake_timit(tmp_path / "c")
    folder = root / "TRAIN" / "DR1" / "FCJF0"
    (folder / "SI648.WAV").unlink()
    (folder / "SX37.PHN").unlink()
    (folder / "SX127.PHN").write_text("0 100 h#\n100 8000 qq\n")
    (folder / "SX217.PHN").write_text("0 100\n")
    (root / "TRAIN" / "DR1" / "MDPK0" / "SX37.WAV").write_bytes(b"")
    train = prepare(root)["train"]
    assert len(train.recordings) == len(train.supervisions) == 7
    assert train.problems[0].file == str(folder / "SI648.WAV")
    assert {problem.id: problem.reason for problem in train.problems} == {
        "fcjf0-si648": "no audio file: only its transcript is there",
        "fcjf0-sx37": "no transcript: there is no .PHN file",
        "fcjf0-sx127": "bad transcript: SX127.PHN has 'qq', which is none of the 61 phones",
        "fcjf0-sx217": "bad transcript: line 1 of SX217.PHN is not `start end label`",
        "mdpk0-sx37": "empty file: 0 bytes",
    }


def test_words_come_from_the_sentence_where_there_is_no_word_file(tmp_path: Path) -> None:
    root = fake_timit(tmp_path / "c")
    folder = root / "TEST" / "DR1" / "FAKS0"
    (folder / "SI648.WRD").unlink()
    (folder / "SI648.TXT").write_text("0 8000 Don't ask me to carry, ever.\n")
    first = prepare(root)["dev"].supervisions[0]
    assert first.text == "don't ask me to carry ever"
    assert set(first.alignment) == {"phone"}


def test_a_real_corpus_that_lacks_something_gets_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = fake_timit(tmp_path / "c")
    with caplog.at_level(logging.WARNING):
        prepare(root)
    assert "train set has 12 utterances where TIMIT has 3696" in caplog.text
    assert "test set has 4 utterances where TIMIT has 192; no fdhc0 felc0" in caplog.text
    caplog.clear()
    counts = {"utterances": 4, "speakers": 1, "hours": 4 * 0.5 / 3600}
    contents = {"train": {"utterances": 12, "speakers": 3, "hours": 12 * 0.5 / 3600}, "dev": counts, "test": counts}
    (root / ".speechkit-miniature.json").write_text(json.dumps({"parts": contents}))
    with caplog.at_level(logging.WARNING):
        prepare(root)
    assert not caplog.text
    (root / "TEST" / "DR1" / "FAKS0" / "SX37.WAV").unlink()
    with caplog.at_level(logging.WARNING):
        prepare(root)
    assert "the set dev has 3 utterances instead of 4, 0.00041667 hours instead of 0.000555556 in" in caplog.text


def test_a_whole_corpus_gets_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train = [f"m{number:03d}0" for number in range(462)]
    splits = {}
    for split, speakers in (("train", train), ("dev", sorted(DEV_SPEAKERS)), ("test", sorted(CORE_TEST_SPEAKERS))):
        problems = [Problem(split, f"{name}-sx{number}", "", "") for name in speakers for number in range(8)]
        splits[split] = Split(problems=problems)
    timit.compare_with_published_counts(splits)
    assert not caplog.text
    del splits["train"].problems[-3:]
    timit.compare_with_published_counts(splits)
    assert "the train set has 3693 utterances where TIMIT has 3696; fewer than 8 sentences of m4610" in caplog.text


def test_wrong_folders_are_named_with_what_they_look_like(tmp_path: Path) -> None:
    with pytest.raises(SpeechkitError, match="nowhere does not exist"):
        prepare(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SpeechkitError, match="empty is empty"):
        prepare(tmp_path / "empty")
    with pytest.raises(SpeechkitError, match="Free Spoken Digit Dataset"):
        prepare(fake_digits(tmp_path / "digits", count=1))
    for name, below in (
        ("LibriSpeech", "dev-clean/84/121123"),
        ("AISHELL-1", "data_aishell/wav/dev"),
        ("WSJ", "11-1.1/wsj0/doc"),
    ):
        (tmp_path / name / below).mkdir(parents=True)
        with pytest.raises(SpeechkitError, match=f"it looks like {name}") as caught:
            prepare(tmp_path / name)
        assert "\n" not in str(caught.value)
    (tmp_path / "other" / "notes").mkdir(parents=True)
    with pytest.raises(SpeechkitError, match="correct the path"):
        prepare(tmp_path / "other")
