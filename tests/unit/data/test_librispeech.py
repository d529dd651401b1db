"""LibriSpeech's folders to manifests."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_corpora import fake_timit
from fake_librispeech import fake_librispeech

from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.common.files import read_json
from speechkit.data.corpora import librispeech, prepare_corpus
from speechkit.data.manifests import Split
from speechkit.data.miniature import MARKER


def prepare(root: Path, nj: int = 1, **options: tuple[str, ...]) -> dict[str, Split]:
    return prepare_corpus("librispeech", root, root.parent / "out", seed=0, nj=nj, options=options)


def ids(content: Split) -> list[str]:
    return [item.id for item in content.supervisions]


@pytest.mark.parametrize("below", ["", "LibriSpeech", ".."])
def test_where_the_corpus_may_lie(tmp_path: Path, below: str) -> None:
    root = fake_librispeech(tmp_path / "bücher" / "c")
    splits = prepare((root / below).resolve(), nj=2)
    assert ids(splits["train"]) == ["19-1900-0000", "19-1900-0001", "26-2600-0000", "26-2600-0001"]
    assert ids(splits["dev"]) == ["84-8400-0000", "84-8400-0001"]
    assert ids(splits["test"]) == ["61-6100-0000", "61-6100-0001"]
    first = splits["train"].supervisions[0]
    assert (first.text, first.speaker, first.gender, first.duration) == ("IT'S NUMBER NOUGHT", "19", "female", 0.5)
    assert first.custom == {"set": "train-clean-100"}
    assert not any(content.problems for content in splits.values())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("10min-0", ["19-1900-0000"]),
        ("10min-3", ["20-2000-0001"]),
        ("1h", ["19-1900-0000", "20-2000-0001"]),
        ("10h", ["19-1900-0000", "20-2000-0000", "20-2000-0001"]),
    ],
)
def test_label_splits(tmp_path: Path, name: str, expected: list[str]) -> None:
    train = prepare(fake_librispeech(tmp_path / "c"), **{"train-sets": (name,)})["train"]
    assert ids(train) == expected
    assert not train.problems, "a chapter's transcripts of utterances outside the split are no problem"
    assert "librispeech_finetuning" in train.recordings[0].sources[0].source


def test_sets_are_joined_without_doubling(tmp_path: Path) -> None:
    root = fake_librispeech(tmp_path / "c")
    splits = prepare(root, **{"train-sets": ("1h", "train-clean-100", "train-other-500")})
    assert sorted(ids(splits["train"])) == sorted(set(ids(splits["train"])))
    assert len(splits["train"].recordings) == len(splits["train"].supervisions) == 6
    assert splits["train"].supervisions[0].custom == {"set": "1h"}


def test_everything_announced_is_listed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = fake_librispeech(tmp_path / "c")
    train = root / "LibriSpeech" / "train-clean-100"
    (train / "19" / "1900" / "19-1900-0000.flac").unlink()
    shutil.copy(train / "19" / "1900" / "19-1900-0001.flac", train / "19" / "1900" / "19-1900-0007.flac")
    shutil.rmtree(train / "26")
    dev = root / "LibriSpeech" / "dev-clean" / "84" / "8400"
    (dev / "84-8400.trans.txt").write_text("84-8400-0000 chapter 1\n84-8400-0001 FINE\n84-8400-0002\n")
    (dev / "84-8400-0001.flac").write_bytes(b"fLaC")
    shutil.copy(train / "19" / "1900" / "19-1900-0001.flac", dev / "84-8400-0003.flac")
    (dev / "84-8400.trans.txt").open("a").write("84-8400-0003 FINE TOO\n")
    with caplog.at_level(logging.WARNING):
        splits = prepare(root)
    found = {item.id: (item.split, item.kind) for content in splits.values() for item in content.problems}
    assert found == {
        "19-1900-0000": ("train", "no audio file"),
        "19-1900-0007": ("train", "no transcript"),
        "84-8400-0000": ("dev", "bad transcript"),
        "84-8400-0001": ("dev", "not audio"),
        "84-8400-0002": ("dev", "no transcript"),
    }
    assert "the set train-clean-100 lacks all recordings of the speakers 26" in caplog.text
    assert "the set train-clean-100 has 1 utterances instead of 28539, 1 speakers instead of 251" in caplog.text
    assert "hours instead of 5.4 in LibriSpeech; 3 are unusable" in caplog.text
    assert "has no librispeech-lm-norm.txt.gz" in caplog.text


def test_wrong_use_and_missing_parts(tmp_path: Path) -> None:
    root = fake_librispeech(tmp_path / "c")
    with pytest.raises(UsageError, match="no set 'train-clean-10', did you mean 'train-clean-100'"):
        prepare(root, **{"train-sets": ("train-clean-10",)})
    with pytest.raises(SpeechkitError, match="has no folder test-other; unpack test-other.tar.gz of OpenSLR 12 there"):
        prepare(root, **{"test-sets": ("test-other",)})
    with pytest.raises(SpeechkitError, match="1h/4 has no recordings; unpack Libri-light's"):
        prepare(root, **{"train-sets": ("10min-4",)})
    shutil.rmtree(root / "librispeech_finetuning")
    with pytest.raises(SpeechkitError, match="has no folder librispeech_finetuning; unpack"):
        prepare(root, **{"train-sets": ("1h",)})
    with pytest.raises(SpeechkitError, match="is not LibriSpeech: .* it looks like TIMIT"):
        prepare(fake_timit(tmp_path / "t"))
    (root / "LibriSpeech" / "SPEAKERS.TXT").write_text("19\n")
    with pytest.raises(SpeechkitError, match=r"SPEAKERS.TXT:1 is no row"):
        prepare(root)


def test_a_miniature_is_prepared_and_compared_with_its_table_of_contents(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, tiny_miniature: Callable[[str], Path]
) -> None:
    root = shutil.copytree(tiny_miniature("librispeech"), tmp_path / "mini")
    contents = read_json(root / MARKER)
    sets = {
        "train-sets": tuple(name for name in librispeech.COUNTS if not name.startswith(("dev", "test"))),
        "dev-sets": ("dev-clean", "dev-other"),
        "test-sets": ("test-clean", "test-other"),
    }
    with caplog.at_level(logging.INFO):
        splits = prepare(root, **sets)
    assert "test-clean, test-other: as many utterances, speakers and hours as in the miniature" in caplog.text
    assert "WARNING" not in caplog.text
    assert sum(len(content.supervisions) for content in splits.values()) == contents["utterances"]
    texts = {split: {item.text for item in content.supervisions} for split, content in splits.items()}
    speakers = {split: {item.speaker for item in content.supervisions} for split, content in splits.items()}
    for each in (texts, speakers):
        assert not each["train"] & (each["dev"] | each["test"])
        assert not each["dev"] & each["test"]
    clean = {item.text for item in splits["train"].supervisions if item.recording_id.startswith("100")}
    assert set("".join(texts["dev"] | texts["test"])) <= set("".join(clean))
    copied = next((root / "librispeech_finetuning" / "1h").rglob("*.flac"))
    assert copied.read_bytes() == next((root / "LibriSpeech").rglob(copied.name)).read_bytes()
    next((root / "LibriSpeech" / "test-other").rglob("*.flac")).unlink()
    with caplog.at_level(logging.INFO):
        prepare(root, **sets)
    assert "the set test-other has 1 utterances instead of 2, 0.000" in caplog.text
    assert "in the miniature; 1 are unusable" in caplog.text
