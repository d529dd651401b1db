"""Connected digits made of single recordings."""

import hashlib
import json
import logging
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fake_corpora import fake_digits, fake_timit, riff, tone
from scipy.signal import resample_poly

from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.data.corpora import prepare_corpus
from speechkit.data.corpora.digits import WORDS
from speechkit.data.manifests import Split


def prepare(root: Path, out: Path, seed: int = 0, nj: int = 1, **options: object) -> dict[str, Split]:
    named = {name.replace("_", "-"): value for name, value in options.items()}
    return prepare_corpus("digits", root, out, seed, nj, named)


def words_of(split: Split) -> Counter[str]:
    return Counter(word for item in split.supervisions for word in item.text.split())


def lengths_of(split: Split) -> Counter[int]:
    """At 16 kHz a recording has twice its samples, which name digit, index and speaker."""
    return Counter(round(word.duration * 16000) for item in split.supervisions for word in item.alignment["word"])


def all_lengths(speakers: str, first: int, last: int) -> Counter[int]:
    return Counter(
        2 * (1000 + 200 * digit + 10 * index + "abc".index(who))
        for who in speakers for digit in range(10) for index in range(first, last)
    )  # fmt: skip


def test_the_official_split_uses_every_recording_once_in_a_pass(tmp_path: Path) -> None:
    splits = prepare(fake_digits(tmp_path / "in"), tmp_path / "out", train_passes=2)
    assert lengths_of(splits["test"]) == all_lengths("abc", 0, 5)
    assert lengths_of(splits["dev"]) == all_lengths("abc", 5, 10)
    assert words_of(splits["train"]) == Counter(dict.fromkeys(WORDS, 12))
    assert words_of(splits["test"]) == Counter(dict.fromkeys(WORDS, 15))
    assert {len(item.text.split()) for content in splits.values() for item in content.supervisions} <= {3, 4, 5, 6, 7}


def test_voices_join_the_training_once_and_as_they_are(tmp_path: Path) -> None:
    root, other = fake_digits(tmp_path / "in"), tmp_path / "voices"
    other.mkdir()
    for index in range(4):
        riff(other / f"7_voice000_{index}.wav", tone(900 + index), rate=8000)
    plain = prepare(root, tmp_path / "plain", train_passes=2)
    joined = prepare(root, tmp_path / "joined", train_passes=2, voices=other)
    assert lengths_of(joined["test"]) == lengths_of(plain["test"])
    assert lengths_of(joined["dev"]) == lengths_of(plain["dev"])
    assert lengths_of(joined["train"]) - lengths_of(plain["train"]) == Counter(2 * (900 + index) for index in range(4))


def test_voices_must_be_other_speakers(tmp_path: Path) -> None:
    root = fake_digits(tmp_path / "in")
    with pytest.raises(SpeechkitError, match=r"speaker 'ann' is in the corpus too"):
        prepare(root, tmp_path / "out", voices=root)


def test_passes_after_the_first_change_the_speed_of_each_recording(tmp_path: Path) -> None:
    train = prepare(fake_digits(tmp_path / "in"), tmp_path / "out", train_passes=2)["train"]
    natural = all_lengths("abc", 10, 12)
    heard = lengths_of(train)
    assert natural <= heard
    changed = sorted((heard - natural).elements())
    bounds = [(length * 20 / 23 - 1, length * 20 / 17 + 1) for length in sorted(natural)]
    assert len(changed) == len(bounds)
    assert all(low <= length <= high for length, (low, high) in zip(changed, bounds, strict=True))
    assert sum(length in natural for length in changed) < len(changed) / 2


def test_held_out_speakers_are_heard_nowhere_else(tmp_path: Path) -> None:
    splits = prepare(fake_digits(tmp_path / "in"), tmp_path / "out", test_speakers=("bob",), train_passes=1)
    speakers = {split: {item.speaker for item in content.supervisions} for split, content in splits.items()}
    assert speakers == {"train": {"ann", "cat"}, "dev": {"ann", "cat"}, "test": {"bob"}}
    assert lengths_of(splits["test"]) == all_lengths("b", 0, 12)
    assert lengths_of(splits["dev"]) == all_lengths("ac", 0, 5)
    assert lengths_of(splits["train"]) == all_lengths("ac", 5, 12)


def test_audio_holds_the_recordings_where_the_alignment_says(tmp_path: Path) -> None:
    root = fake_digits(tmp_path / "in")
    splits = prepare(root, tmp_path / "out")
    content = splits["test"]
    for recording, item in list(zip(content.recordings, content.supervisions, strict=True))[:5]:
        path = Path(recording.sources[0].source)
        assert path == tmp_path / "out" / "audio" / "test" / item.speaker / f"{item.id}.flac"
        samples, rate = soundfile.read(path)
        assert (rate, len(samples)) == (16000, recording.num_samples)
        inside = np.zeros(len(samples), bool)
        for word in item.alignment["word"]:
            start, length = round(word.start * 16000), round(word.duration * 16000)
            who, digit = "abc".index(item.speaker[0]), WORDS.index(word.symbol)
            index = (length // 2 - 1000 - 200 * digit - who) // 10
            source = soundfile.read(root / f"{digit}_{item.speaker}_{index}.wav")[0]
            assert np.abs(samples[start : start + length] - resample_poly(source, 2, 1)).max() < 2e-4
            inside[start : start + length] = True
        assert 0 < samples[~inside].std() < 0.05 * samples[inside].std()
        spans = [0.0, *(edge for word in item.alignment["word"] for edge in (word.start, word.end)), recording.duration]
        assert all(0.049 < end - start < 0.301 for start, end in zip(spans[::2], spans[1::2], strict=True))


def test_the_seed_alone_decides(tmp_path: Path) -> None:
    root = fake_digits(tmp_path / "in", speakers=("ann", "bob"))

    def fingerprint(out: str, **options: int) -> str:
        prepare(root, tmp_path / out, **options)
        files = sorted((tmp_path / out).rglob("*.flac"))
        return hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in files)).hexdigest()

    assert fingerprint("one", nj=1) == fingerprint("two", nj=2)
    assert fingerprint("one", nj=1) != fingerprint("three", seed=1)


def test_a_rerun_leaves_no_older_audio(tmp_path: Path) -> None:
    root = fake_digits(tmp_path / "in", speakers=("ann", "bob"))
    prepare(root, tmp_path / "out", train_passes=3)
    splits = prepare(root, tmp_path / "out", train_passes=1)
    described = {item.sources[0].source for content in splits.values() for item in content.recordings}
    assert {str(path) for path in (tmp_path / "out").rglob("*.*")} == described


def test_bad_recordings_cost_only_themselves(tmp_path: Path) -> None:
    root = fake_digits(tmp_path / "in")
    (root / "3_ann_1.wav").write_bytes(b"")
    content = (root / "4_bob_11.wav").read_bytes()
    (root / "4_bob_11.wav").write_bytes(content[: len(content) // 2])
    (root / "5_cat_6.wav").write_bytes(b"no audio")
    (root / "README.md").write_text("not a recording")
    splits = prepare(root, tmp_path / "out", train_passes=1)
    found = {
        split: [(item.id, item.reason.split(":")[0]) for item in content.problems] for split, content in splits.items()
    }
    assert found == {
        "test": [("3_ann_1", "empty file")],
        "train": [("4_bob_11", "truncated")],
        "dev": [("5_cat_6", "not audio")],
    }
    good = sum((lengths_of(content) for content in splits.values()), Counter())
    lost = Counter([2 * (1000 + 600 + 10), 2 * (1000 + 800 + 110 + 1), 2 * (1000 + 1000 + 60 + 2)])
    assert good == all_lengths("abc", 0, 12) - lost


def test_a_folder_named_recordings_and_capital_suffixes(tmp_path: Path) -> None:
    root = fake_digits(tmp_path / "in" / "recordings", speakers=("ann",))
    for path in list(root.iterdir()):
        path.rename(path.with_suffix(".WAV"))
    assert sum(words_of(prepare(tmp_path / "in", tmp_path / "out")["test"]).values()) == 50


def test_wrong_values_are_named(tmp_path: Path) -> None:
    root = fake_digits(tmp_path / "in")
    with pytest.raises(UsageError, match=r"no speaker 'anm', did you mean 'ann'\? \(speakers: ann, bob, cat\)"):
        prepare(root, tmp_path / "out", test_speakers=("anm",))
    with pytest.raises(UsageError, match="leave some"):
        prepare(root, tmp_path / "out", test_speakers=("ann", "bob", "cat"))
    with pytest.raises(UsageError, match="--train-passes"):
        prepare(root, tmp_path / "out", train_passes=0)
    with pytest.raises(UsageError, match="--test-speakers is no option of corpus 'timit'"):
        prepare_corpus("timit", root, tmp_path / "out", 0, 1, {"test-speakers": ("ann",)})
    with pytest.raises(UsageError, match=r"unknown corpus 'timti', did you mean 'timit'\?"):
        prepare_corpus("timti", root, tmp_path / "out", 0, 1, {})
    with pytest.raises(SpeechkitError, match=r"is not the Free Spoken Digit Dataset.*looks like TIMIT"):
        prepare(fake_timit(tmp_path / "timit"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_too_few_recordings_for_a_split(tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    riff(root / "1_ann_0.wav", tone(2000), 8000)
    with pytest.raises(SpeechkitError, match="no usable recording for the train set"):
        prepare(root, tmp_path / "out")


def test_real_recordings(tmp_path: Path) -> None:
    root = Path(os.environ.get("SPEECHKIT_DIGITS", Path(__file__).parents[4] / "shared" / "data" / "fsdd"))
    if not root.is_dir():
        pytest.skip("fetch the Free Spoken Digit Dataset and set SPEECHKIT_DIGITS to its folder of recordings")
    few = tmp_path / "few"
    few.mkdir()
    for path in root.glob("*_theo_*.wav"):
        if int(path.stem.split("_")[2]) < 12:
            (few / path.name).write_bytes(path.read_bytes())
    splits = prepare(few, tmp_path / "out", nj=2)
    assert words_of(splits["test"]) == Counter(dict.fromkeys(WORDS, 5))
    assert not any(content.problems for content in splits.values())


def test_missing_recordings_are_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = fake_digits(tmp_path / "fsdd", speakers=("ann", "bob"))
    with caplog.at_level(logging.WARNING):
        prepare_corpus("digits", root, tmp_path / "out", seed=0, nj=1, options={})
    assert "recordings are missing: there are 120 of 500 of ann, 120 of 500 of bob" in caplog.text
    caplog.clear()
    (root / "7_ann_3.wav").unlink()
    counts = {"utterances": 120, "speakers": 1, "hours": 0.1}
    (root / ".speechkit-miniature.json").write_text(json.dumps({"parts": {"ann": counts, "bob": counts}}))
    with caplog.at_level(logging.WARNING):
        prepare_corpus("digits", root, tmp_path / "out", seed=0, nj=1, options={})
    assert "recordings are missing: there are 119 of 120 of ann" in caplog.text
    assert "bob" not in caplog.text
