"""A folder of recordings with transcripts: ids, formats, and what is missing."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechkit.common.errors import SpeechkitError
from speechkit.data.recordings import Source, find_recordings, prepare_recordings


def record(path: Path, rate: int = 16000, channels: int = 1, seconds: float = 0.5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)
    soundfile.write(path, np.stack([tone] * channels, axis=1) if channels > 1 else tone, rate)
    return path


def test_transcripts_beside_recordings(tmp_path: Path) -> None:
    for name in ("a.wav", "änne/b 1.FLAC", "c.wav", ".hidden/d.wav"):
        record(tmp_path / name)
    (tmp_path / "a.txt").write_text("Hello,\nworld\n")
    (tmp_path / "a.lab").write_text("hello world")
    (tmp_path / "änne" / "b 1.txt").write_text("zwei", encoding="utf-8")
    (tmp_path / "e.lab").write_text("no recording")
    assert find_recordings(tmp_path, None).sources == [
        Source("a", tmp_path / "a.wav", "hello world"),
        Source("c", tmp_path / "c.wav", None),
        Source("e", None, "no recording"),
        Source("änne/b 1", tmp_path / "änne" / "b 1.FLAC", "zwei"),
    ]


def test_lines_of_a_file(tmp_path: Path) -> None:
    for name in ("one/a.wav", "two/a.wav", "two/b.wav", "two/c.wav"):
        record(tmp_path / "audio" / name)
    text = tmp_path / "text"
    text.write_text("one/a first\ntwo/a.wav second\nb\tthird one\nx fourth\n\nc\n")
    found = find_recordings(tmp_path / "audio", text).sources
    assert {source.id: source.text for source in found} == {
        "one/a": "first", "two/a": "second", "two/b": "third one", "x": "fourth", "two/c": "",
    }  # fmt: skip
    text.write_text("b x\ntwo/b y\nc same\ntwo/c same\n")
    both = find_recordings(tmp_path / "audio", text)
    assert [source.text for source in both.sources] == [None, None, "same"]
    assert [(problem.id, problem.reason, problem.used) for problem in both.problems] == [
        ("two/c", "duplicate id: 'two/c' stands in lines 3 and 4 with the same words", True),
        ("two/b", "duplicate id: 'two/b' stands in lines 1 and 2 with different words", False),
    ]


def test_transcripts_in_a_folder_of_their_own(tmp_path: Path) -> None:
    record(tmp_path / "audio" / "x" / "a.wav")
    (tmp_path / "text" / "x").mkdir(parents=True)
    (tmp_path / "text" / "x" / "a.lab").write_text("word")
    assert find_recordings(tmp_path / "audio", tmp_path / "text").sources[0].text == "word"


def test_what_cannot_be_used_at_all(tmp_path: Path) -> None:
    with pytest.raises(SpeechkitError, match="nowhere does not exist"):
        find_recordings(tmp_path / "nowhere", None)
    with pytest.raises(SpeechkitError, match="holds no recording"):
        find_recordings(tmp_path, None)
    path = record(tmp_path / "a.wav")
    with pytest.raises(SpeechkitError, match="is a file"):
        find_recordings(path, None)
    with pytest.raises(SpeechkitError, match="holds no transcript"):
        find_recordings(tmp_path, None)


def test_a_transcript_in_another_encoding_costs_itself_alone(tmp_path: Path) -> None:
    for name in ("a", "b"):
        record(tmp_path / f"{name}.wav")
        (tmp_path / f"{name}.txt").write_bytes("für".encode("latin-1" if name == "a" else "utf-8"))
    found = find_recordings(tmp_path, None)
    assert [source.id for source in found.sources] == ["b"]
    (problem,) = found.problems
    assert (problem.id, problem.kind, "UTF-8" in problem.remedy) == ("a", "bad transcript", True)


def test_two_recordings_of_one_name(tmp_path: Path) -> None:
    record(tmp_path / "a.wav")
    record(tmp_path / "a.flac")
    (tmp_path / "a.txt").write_text("word")
    found = find_recordings(tmp_path, None)
    assert [source.audio for source in found.sources] == [tmp_path / "a.flac"]
    assert [(problem.id, problem.kind) for problem in found.problems] == [("a.wav", "duplicate id")]


def test_other_rates_and_channels_are_converted(tmp_path: Path) -> None:
    plain = record(tmp_path / "plain.wav")
    wide = record(tmp_path / "maria" / "wide.wav", rate=44100, channels=2, seconds=1.0)
    sources = [Source("plain", plain, "Ja!"), Source("maria/wide", wide, "ja nein")]
    content = prepare_recordings(sources, tmp_path / "work", 1)
    assert [(problem.id, problem.kind, problem.used) for problem in content.problems] == [
        ("maria/wide", "mixed", True), ("maria/wide", "resampled", True),
    ]  # fmt: skip
    first, second = content.recordings
    assert first.sources[0].source == str(plain)
    assert second.sources[0].source == str(tmp_path / "work" / "maria" / "wide.flac")
    assert (second.sampling_rate, second.num_samples) == (16000, 16000)
    samples, _ = soundfile.read(second.sources[0].source)
    expected = 0.3 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    np.testing.assert_allclose(samples[200:-200], expected[200:-200], atol=2e-3)
    assert [(item.text, item.speaker) for item in content.supervisions] == [("ja", "plain"), ("ja nein", "maria")]


def test_problems_are_told_one_by_one(tmp_path: Path) -> None:
    good = record(tmp_path / "good.wav")
    (tmp_path / "bad.wav").write_bytes(b"RIFF no audio at all")
    sources = [
        Source("bad", tmp_path / "bad.wav", "word"),
        Source("empty", good, " ... "),
        Source("good", good, "word"),
        Source("silent", None, "word"),
        Source("untold", good, None),
    ]
    content = prepare_recordings(sources, tmp_path / "work", 1)
    assert [item.id for item in content.supervisions] == ["good"]
    reasons = {problem.id: problem.kind for problem in content.problems}
    assert reasons == {"bad": "not audio", "empty": "no transcript", "silent": "no audio", "untold": "no transcript"}
