"""AISHELL-1's folders to manifests."""

import logging
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_corpora import fake_aishell, fake_timit

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import read_json
from speechkit.data.corpora import prepare_corpus
from speechkit.data.manifests import Split
from speechkit.data.miniature import MARKER
from speechkit.text.lang import make_lang


def prepare(root: Path, nj: int = 1) -> dict[str, Split]:
    return prepare_corpus("aishell", root, root.parent / "out", seed=0, nj=nj, options={})


def ids(content: Split) -> list[str]:
    return [item.id for item in content.supervisions]


def transcript(root: Path) -> Path:
    return root / "data_aishell" / "transcript" / "aishell_transcript_v0.8.txt"


@pytest.mark.parametrize("below", ["", "data_aishell", "..", "downloads"])
def test_where_the_corpus_may_lie(tmp_path: Path, below: str) -> None:
    root = fake_aishell(tmp_path / "köln" / "AISHELL")
    given = root / below if below in ("", "data_aishell", "..") else root
    splits = prepare(given.resolve())
    assert ids(splits["train"])[:3] == ["BAC009S0002W0121", "BAC009S0002W0122", "BAC009S0003W0121"]
    assert ids(splits["dev"]) == ["BAC009S0724W0121", "BAC009S0724W0122"]
    assert ids(splits["test"]) == ["BAC009S0764W0121", "BAC009S0764W0122"]
    assert not any(content.problems for content in splits.values())
    genders = {item.speaker: item.gender for content in splits.values() for item in content.supervisions}
    assert genders == {"S0002": "female", "S0003": None, "S0724": None, "S0764": "male"}


def test_a_supervision_holds_the_words_as_the_corpus_has_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = fake_aishell(tmp_path / "c")
    lines = transcript(root).read_text(encoding="utf-8").splitlines()
    lines[0] = "\ufeffBAC009S0002W0121  用 ｔ 恤  和 ＡＴＭ 机\r"
    lines[1] = f"{lines[1].split()[0]} １２ 号"
    transcript(root).write_text("\n".join(lines), encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        first, second, *_ = prepare(root)["train"].supervisions
    assert (first.text, first.speaker, first.language, first.duration) == ("用 T 恤 和 ATM 机", "S0002", "Chinese", 0.5)
    assert second.text == "12 号"
    rule = "2 transcripts have Latin letters, digits or signs, each taken for a character"
    assert f"{rule}: BAC009S0002W0121 BAC009S0002W0122" in caplog.text
    assert make_lang("char", [first.text], boundary="none").split(first.text) == list("用T恤和ATM机")


def test_everything_announced_is_listed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = fake_aishell(tmp_path / "c")
    wav = root / "data_aishell" / "wav"
    (wav / "train" / "S0002" / "BAC009S0002W0121.wav").unlink()
    (wav / "train" / "S0002" / "BAC009S0002W0123.wav").write_bytes(b"")
    shutil.copy(wav / "dev/S0724/BAC009S0724W0121.wav", wav / "dev/S0724/BAC009S0724W0400.wav")
    (wav / "test" / "S0764" / "BAC009S0764W0121.wav").write_bytes(b"RIFF")
    with transcript(root).open("a", encoding="utf-8") as stream:
        stream.write("BAC009S0002W0123 楼市\nBAC009S0765W0130 而\nBAC009S0724W0122 对\nBAC009S0724W0140 对\n")
    with caplog.at_level(logging.WARNING):
        splits = prepare(root)
    found = {problem.id: (split, problem.kind) for split in splits for problem in splits[split].problems}
    assert found == {
        "BAC009S0002W0121": ("train", "no audio file"),
        "BAC009S0002W0123": ("train", "empty file"),
        "BAC009S0724W0122": ("dev", "duplicate id"),
        "BAC009S0724W0140": ("dev", "no audio file"),
        "BAC009S0724W0400": ("dev", "no transcript"),
        "BAC009S0764W0121": ("test", "not audio"),
        "BAC009S0765W0130": ("test", "no audio file"),
    }
    missing = next(problem for problem in splits["test"].problems if problem.id == "BAC009S0765W0130")
    assert missing.file == str(wav / "test" / "S0765" / "BAC009S0765W0130.wav")
    assert "the set test lacks all recordings of S0765" in caplog.text
    assert "the set train has 3 utterances instead of 120098, 2 speakers instead of 340" in caplog.text
    assert "hours instead of 150.85 in AISHELL-1; 2 are unusable" in caplog.text


def test_packed_speakers_are_unpacked(tmp_path: Path) -> None:
    root = fake_aishell(tmp_path / "c")
    expected = prepare(root)["train"]
    wav = root / "data_aishell" / "wav"
    for speaker in ("S0002", "S0003"):
        with tarfile.open(wav / f"{speaker}.tar.gz", "w:gz") as archive:
            archive.add(wav / "train" / speaker, f"train/{speaker}")
            archive.add(transcript(root), "../outside.txt")
    shutil.rmtree(wav / "train")
    found = prepare(root, nj=2)["train"]
    assert ids(found) == ids(expected)
    assert not (tmp_path / "out" / "outside.txt").exists()
    for new, old in zip(found.recordings, expected.recordings, strict=True):
        assert new.num_samples == old.num_samples
        assert Path(new.sources[0].source).is_relative_to(tmp_path / "out" / "audio" / "train")
    (wav / "S0003.tar.gz").write_bytes((wav / "S0003.tar.gz").read_bytes()[:-30])
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(SpeechkitError, match=r"S0003.tar.gz is damaged .* unpack data_aishell.tgz again"):
        prepare(root)


def test_the_lexicon_keeps_words_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = fake_aishell(tmp_path / "c")
    prepare(root)
    lines = (tmp_path / "out" / "lexicon.txt").read_text(encoding="utf-8").splitlines()
    assert lines == ["而 ee er2", "对 d ui4", "楼市 l ou2 sh ix4"]
    (root / "resource_aishell" / "lexicon.txt").write_text("而\n", encoding="utf-8")
    with pytest.raises(SpeechkitError, match=r"lexicon.txt:1 has a word without phones"):
        prepare(root)
    shutil.rmtree(root / "resource_aishell")
    with caplog.at_level(logging.WARNING):
        prepare(root)
    assert "has no resource_aishell/lexicon.txt; unpack resource_aishell.tgz there" in caplog.text


def test_wrong_folders(tmp_path: Path) -> None:
    root = fake_aishell(tmp_path / "c")
    transcript(root).unlink()
    with pytest.raises(SpeechkitError, match="has no transcript/aishell_transcript_v0.8.txt; unpack"):
        prepare(root)
    with pytest.raises(SpeechkitError, match="is not AISHELL-1: .* it looks like TIMIT"):
        prepare(fake_timit(tmp_path / "t"))
    shutil.rmtree(root)
    shutil.rmtree(fake_aishell(root) / "data_aishell" / "wav" / "dev")
    with pytest.raises(SpeechkitError, match="no usable utterance of the dev set"):
        prepare(root)


def test_a_miniature_is_prepared_and_compared_with_its_table_of_contents(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, tiny_miniature: Callable[[str], Path]
) -> None:
    root = shutil.copytree(tiny_miniature("aishell"), tmp_path / "mini")
    contents = read_json(root / MARKER)
    with caplog.at_level(logging.INFO):
        splits = prepare(root)
    assert "train, dev, test: as many utterances, speakers and hours as in the miniature" in caplog.text
    assert sum(len(content.supervisions) for content in splits.values()) == contents["utterances"]
    texts = {split: {item.text for item in content.supervisions} for split, content in splits.items()}
    speakers = {split: {item.speaker for item in content.supervisions} for split, content in splits.items()}
    for sets in (texts, speakers):
        assert not sets["train"] & (sets["dev"] | sets["test"])
        assert not sets["dev"] & sets["test"]
    words = {line.split()[0] for line in (tmp_path / "out" / "lexicon.txt").read_text(encoding="utf-8").splitlines()}
    assert all(set(text.split()) <= words for part in texts.values() for text in part)
    next((root / "data_aishell" / "wav" / "dev").rglob("*.wav")).unlink()
    caplog.clear()
    with caplog.at_level(logging.INFO):
        prepare(root)
    assert "the set dev has 7 utterances instead of 8" in caplog.text
    assert "in the miniature; 1 are unusable" in caplog.text
