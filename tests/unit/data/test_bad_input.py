"""Whatever can be wrong with recordings and transcripts is named once with its remedy, and the rest goes on."""

import builtins
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from fake_corpora import float_riff, riff, sphere, tone

from speechkit.cli import main
from speechkit.data.manifests import SPLITS, read_cuts, read_lines
from speechkit.data.remedies import OTHERWISE

GOOD = [f"sp{number // 4}/{number}" for number in range(12)]


@dataclass
class Input:
    """Twelve good recordings of three speakers, the text of their transcripts, and room for one thing that is wrong."""

    audio: Path
    text: str
    monkeypatch: pytest.MonkeyPatch

    @property
    def bad(self) -> Path:
        return self.audio / "sp0" / "bad.wav"

    def say(self, words: str = "bad one") -> None:
        self.text += f"sp0/bad {words}\n"

    def forbid(self, path: Path) -> None:
        """Make it unreadable; permissions would not, for root."""
        real = Path.open

        def fake(self: Path, *args: Any, **kwargs: Any) -> Any:
            if self == path:
                raise PermissionError(13, "Permission denied", str(path))
            return real(self, *args, **kwargs)

        self.monkeypatch.setattr(Path, "open", fake)


def write(suffix: str, rate: int = 16000, channels: int = 1, **more: str) -> Callable[[Input], None]:
    def make(given: Input) -> None:
        samples = np.repeat(tone(rate)[:, None], channels, axis=1) / 32768
        soundfile.write(given.bad.with_suffix(suffix), samples, rate, **more)
        given.say()

    return make


def content(data: bytes, suffix: str = ".wav") -> Callable[[Input], None]:
    def make(given: Input) -> None:
        given.bad.with_suffix(suffix).write_bytes(data)
        given.say()

    return make


def floats(peak: float, rate: int = 16000) -> bytes:
    samples = tone(rate) / 32768
    samples[100] = peak
    return float_riff(samples, rate)


def cut_off(rate: int) -> Callable[[Input], None]:
    def make(given: Input) -> None:
        riff(given.bad, tone(rate), rate)
        given.bad.write_bytes(given.bad.read_bytes()[:rate])
        given.say()

    return make


def text(change: Callable[[str], str]) -> Callable[[Input], None]:
    def make(given: Input) -> None:
        given.text = change(given.text)

    return make


def without_transcript(given: Input) -> None:
    riff(given.bad, tone(8000))


def without_words(given: Input) -> None:
    riff(given.bad, tone(8000))
    given.say(" -- ")


def twice(given: Input) -> None:
    riff(given.bad, tone(8000))
    soundfile.write(given.bad.with_suffix(".flac"), tone(8000), 16000)
    given.say()


def said_otherwise(given: Input) -> None:
    riff(given.bad, tone(8000))
    given.say()
    given.say("other words")


def unreadable(given: Input) -> None:
    riff(given.bad, tone(8000))
    given.say()
    given.forbid(given.bad)


def unreadable_folder(given: Input) -> None:
    folder, real = str(given.audio / "locked"), os.scandir
    (given.audio / "locked").mkdir()

    def fake(path: str) -> Any:
        if str(path) == folder:
            raise PermissionError(13, "Permission denied", folder)
        return real(path)

    given.monkeypatch.setattr(os, "scandir", fake)


LEFT_OUT = {
    "empty": (content(b""), "empty file"),
    "text as audio": (content(b"this is no audio, whatever its name says"), "not audio"),
    "damaged flac": (content(b"fLaC" + bytes(500), ".flac"), "not audio"),
    "header only": (content(sphere(tone(0))), "no samples"),
    "truncated": (cut_off(16000), "truncated"),
    "truncated at 8 kHz": (cut_off(8000), "truncated"),
    "sphere that claims more": (content(sphere(tone(8000), claimed=9000)), "truncated"),
    "silent": (content(sphere(np.zeros(8000, "<i2"))), "silent"),
    "not a number": (content(floats(float("nan"))), "not finite"),
    "infinite at 44.1 kHz": (content(floats(float("inf"), 44100)), "not finite"),
    "floats as integers": (content(floats(20000.0)), "out of range"),
    "floats as integers at 44.1 kHz": (content(floats(20000.0, 44100)), "out of range"),
    "a format for ffmpeg": (content(b"\0\0\0\x18ftypM4A ", ".m4a"), "not readable here"),
    "no transcript": (without_transcript, "no transcript"),
    "no words": (without_words, "no transcript"),
    "no audio": (lambda given: given.say(), "no audio"),
    "words that differ": (said_otherwise, "duplicate id"),
    "unreadable": (unreadable, "unreadable"),
    "unreadable folder": (unreadable_folder, "unreadable"),
}
USED = {
    "stereo": (write(".wav", channels=2), ["mixed"]),
    "8 kHz": (write(".wav", rate=8000), ["narrow band"]),
    "44.1 kHz, 24 bit, stereo": (write(".flac", 44100, 2, subtype="PCM_24"), ["mixed", "resampled"]),
    "float": (write(".wav", subtype="FLOAT"), []),
    "A-law": (write(".wav", subtype="ALAW"), []),
    "mp3": (write(".mp3"), []),
    "mp3 at 44.1 kHz": (write(".mp3", 44100), ["resampled"]),
    "opus": (write(".opus", 48000, format="OGG", subtype="OPUS"), ["resampled"]),
    "vorbis": (write(".ogg"), []),
    "sphere": (content(sphere(tone(8000)), ".sph"), []),
    "two files of one name": (twice, ["duplicate id"]),
    "line that stands twice": (text(lambda lines: lines + lines.splitlines(keepends=True)[0]), ["duplicate id"]),
    "byte-order mark": (text(lambda lines: "\ufeff" + lines), ["byte-order mark"]),
    "Windows line ends": (text(lambda lines: lines.replace("\n", "\r\n")), ["Windows line ends"]),
    "tabs": (text(lambda lines: lines.replace(" ", "\t")), ["tabs"]),
    "control characters": (text(lambda lines: lines.replace("word", "\x0bword\u2028")), ["control characters"]),
    "white space": (text(lambda lines: "\n  " + lines.replace(" ", " \u00a0  ") + "\n\n"), []),
    "digits": (text(lambda lines: lines.replace("sp0/0 word", "sp0/0 word 2")), ["not spelled out"]),
}


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Input:
    monkeypatch.setenv("PATH", "")  # without ffmpeg
    for place, name in enumerate(GOOD):
        path = tmp_path / "tön e" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        riff(path, tone(8000, place))
    return Input(tmp_path / "tön e", "".join(f"{name} word\n" for name in GOOD), monkeypatch)


def run(given: Input) -> tuple[set[str], list[dict[str, Any]]]:
    """Ids of the good utterances, and all rows of the two reports, those of the first only once."""
    folder = given.audio.parent
    (folder / "text").write_bytes(given.text.encode())
    audio = ["--audio", str(given.audio), "--text", str(folder / "text")]
    assert main(["prepare", *audio, "--out", str(folder / "manifests"), "--nj", "1"]) == 0
    valid = ["--in", str(folder / "manifests"), "--out", str(folder / "valid")]
    assert main(["validate", *valid, "--max-bad-ratio", "0.1", "--nj", "1"]) == 0
    cuts = (cut for split in SPLITS for cut in read_cuts(folder / "valid" / f"cuts_{split}.jsonl.gz"))
    rows = [row for row in read_lines(folder / "manifests" / "report.jsonl") if row["used"]]
    return {cut.id for cut in cuts}, rows + list(read_lines(folder / "valid" / "report.jsonl"))


@pytest.mark.parametrize("case", LEFT_OUT)
def test_left_out(case: str, given: Input, capsys: pytest.CaptureFixture[str]) -> None:
    make, kind = LEFT_OUT[case]
    make(given)
    good, rows = run(given)
    assert good == set(GOOD)
    (row,) = rows
    assert (row["reason"].split(":")[0], row["used"]) == (kind, False)
    assert row["remedy"] not in ("", OTHERWISE)
    assert row["id"] in ("sp0/bad", str(given.audio / "locked"))
    shown = capsys.readouterr().err
    assert f"1 left out, {kind} (" in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize("case", USED)
def test_used_all_the_same(case: str, given: Input, capsys: pytest.CaptureFixture[str]) -> None:
    make, kinds = USED[case]
    make(given)
    good, rows = run(given)
    assert good - {"sp0/bad"} == set(GOOD)
    assert ("sp0/bad" in good) == any((given.audio / "sp0").glob("bad.*"))
    assert sorted(row["reason"].split(":")[0] for row in rows) == sorted(kinds)
    assert all(row["remedy"] not in ("", OTHERWISE) for row in rows)
    shown = capsys.readouterr().err
    for kind in kinds:
        assert shown.count(f", {kind} (") == (2 if case == "two files of one name" else 1)
    for split in SPLITS:
        for cut in read_cuts(given.audio.parent / "valid" / f"cuts_{split}.jsonl.gz"):
            assert cut.load_audio().shape == (1, round(cut.duration * 16000))


@pytest.fixture
def locked_text(given: Input) -> Path:
    path, real = given.audio.parent / "text", builtins.open
    path.write_text(given.text)

    def fake(file: Any, *args: Any, **kwargs: Any) -> Any:
        if str(file) == str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return real(file, *args, **kwargs)

    given.monkeypatch.setattr(builtins, "open", fake)
    return path


def test_transcripts_that_may_not_be_read(locked_text: Path, given: Input, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["prepare", "--audio", str(given.audio), "--text", str(locked_text)]
    assert main([*command, "--out", str(locked_text.parent / "out"), "--nj", "1"]) == 1
    assert "may not be read: permission denied; `chmod +r` it" in capsys.readouterr().err


def test_other_encodings_are_named(given: Input, capsys: pytest.CaptureFixture[str]) -> None:
    path = given.audio.parent / "text"
    path.write_bytes(given.text.encode("utf-16"))
    command = ["prepare", "--audio", str(given.audio), "--text", str(path)]
    assert main([*command, "--out", str(path.parent / "out"), "--nj", "1"]) == 1
    assert "convert the file to UTF-8" in capsys.readouterr().err


def test_ffmpeg_is_used_where_it_is(given: Input, tmp_path: Path) -> None:
    """A stand-in for ffmpeg that takes its options and gives the samples of a file beside it."""
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    (tmp_path / "samples").write_bytes((tone(4000) / 32768).astype("<f4").tobytes())
    program.write_text(
        f'#!/bin/bash\n[[ "$*" == *"-i "*"-ac 1 -ar 16000 -f f32le -" ]] && exec /bin/cat "{tmp_path}/samples"\n'
    )
    program.chmod(0o755)
    given.monkeypatch.setenv("PATH", str(program.parent))
    given.bad.with_suffix(".m4a").write_bytes(b"anything")
    given.say()
    good, rows = run(given)
    assert ("sp0/bad" in good, rows) == (True, [])
    samples, rate = soundfile.read(tmp_path / "manifests" / "audio" / "sp0" / "bad.flac", dtype="int16")
    assert (rate, samples.tolist()) == (16000, tone(4000).tolist())
