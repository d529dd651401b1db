"""Headers that tell the truth, and all the ways in which files do not."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from fake_corpora import float_riff, riff, sphere, tone

from speechkit.data.audio import BadAudioError, Header, check_audio, read_header


def reason(path: Path, num_samples: int = 8000, rate: int = 16000) -> str:
    with pytest.raises(BadAudioError) as caught:
        check_audio(path, num_samples, rate)
    return str(caught.value)


def test_headers_of_every_format(tmp_path: Path) -> None:
    (tmp_path / "a.WAV").write_bytes(sphere(tone(8000)))
    riff(tmp_path / "b.wav", tone(8000), channels=2)
    (tmp_path / "c.wav").write_bytes(float_riff(tone(8000) / 32768, 8000))
    soundfile.write(tmp_path / "d.flac", tone(8000), 16000)
    assert [read_header(path) for path in sorted(tmp_path.iterdir())] == [
        Header(16000, 1, 8000), Header(16000, 2, 8000), Header(8000, 1, 8000), Header(16000, 1, 8000),
    ]  # fmt: skip
    for name in ("a.WAV", "d.flac"):
        check_audio(tmp_path / name, 8000, 16000)


def test_empty_and_foreign_files(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(b"")
    assert reason(path).startswith("empty file")
    path.write_bytes(b"this is not audio at all")
    assert reason(path).startswith("not audio")
    path.write_bytes(sphere(tone(8000))[:500])
    assert reason(path).startswith("not audio: the SPHERE header is cut off")
    path.write_bytes(sphere(tone(0)))
    assert reason(path, 0).startswith("no samples")
    path.unlink()
    assert reason(path).startswith("unreadable")


def test_truncation_is_seen_though_libsndfile_hides_it(tmp_path: Path) -> None:
    for name, content in (("a.wav", sphere(tone(8000))), ("b.wav", float_riff(tone(8000) / 32768))):
        path = tmp_path / name
        path.write_bytes(content[: len(content) // 2])
        assert len(soundfile.read(path)[0]) < 8000
        assert reason(path).startswith("truncated: the header says 8000 samples")
    soundfile.write(tmp_path / "c.flac", tone(80000), 16000)
    content = (tmp_path / "c.flac").read_bytes()
    (tmp_path / "c.flac").write_bytes(content[: len(content) // 2])
    assert reason(tmp_path / "c.flac", 80000).split(":")[0] in ("truncated", "not audio")


def test_headers_that_lie(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(sphere(tone(8000), claimed=9000))
    assert reason(path, 9000).startswith("truncated: the header says 9000 samples, the file holds 8000")
    path.write_bytes(sphere(tone(8000)))
    assert reason(path, 7000).startswith("changed: the manifest says 7000")


def test_contents_that_will_not_do(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    riff(path, tone(8000), rate=8000)
    assert reason(path).startswith("wrong rate: 8000 Hz")
    riff(path, tone(8000), channels=2)
    assert reason(path).startswith("not mono: 2 channels")
    riff(path, np.zeros(8000, "<i2"))
    assert reason(path).startswith("silent")
    samples = tone(8000) / 32768
    samples[5000] = np.nan
    path.write_bytes(float_riff(samples))
    assert reason(path).startswith("not finite")


def test_compressed_sphere_names_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(sphere(tone(8000)).replace(b"-s3 pcm\nend_head\n", b"-s27 pcm,embedded-shorten-v2.00\nend_head\n"))
    assert "sph2pipe" in reason(path)


def test_a_streamed_riff_size_counts_as_unknown(tmp_path: Path) -> None:
    content = bytearray(float_riff(tone(8000) / 32768))
    content[40:44] = b"\xff\xff\xff\xff"
    (tmp_path / "x.wav").write_bytes(content)
    assert read_header(tmp_path / "x.wav").num_samples == 8000
