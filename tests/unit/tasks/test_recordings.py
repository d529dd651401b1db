"""Alignment of a folder of recordings by the command, with nothing but their transcripts."""

import json
from pathlib import Path
from statistics import median

import pytest
import soundfile

from speechkit.align.textgrid import read_textgrid
from speechkit.cli import main
from speechkit.data.miniature.espeak import SAMPLE_RATE, Voice, synthesise
from speechkit.text.normalise import words_of

SENTENCES = (
    "The old garden was quiet.", "My brother found seven green stones.", "She walked along the river at noon.",
    "We never saw the garden again.", "Seven brothers walked to the old river.", "The stones were green and quiet.",
    "He found my garden by the river.", "Never walk alone at noon, she said.", "The seven green stones were old.",
    "My brother saw the quiet river.", "We found stones along the garden wall.", "At noon the river was green.",
)  # fmt: skip
VOICES = {"anna": "en-us+f2", "bert": "en-us+m1", "carl": "en-us+m3", "dora": "en-us+f4"}
NAMES = [(voice, number) for voice in VOICES for number in range(len(SENTENCES))]


def name_of(voice: str, number: int) -> str:
    return f"{voice}/rec {number:02d}"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[float]]]:
    """Recordings of synthetic voices with their transcripts, and where each word truly begins."""
    folder = tmp_path_factory.mktemp("my recördings")
    starts = {}
    for voice, number in NAMES:
        (folder / voice).mkdir(exist_ok=True)
        sentence, name = SENTENCES[number], name_of(voice, number)
        speech = synthesise(sentence, Voice(VOICES[voice], 150 + number, 50, 50))
        soundfile.write(folder / f"{name}.wav", speech.samples, SAMPLE_RATE)
        (folder / f"{name}.txt").write_text(sentence)
        sounds = [event for event in speech.phonemes if not event.mnemonic.startswith("_")]
        words = sorted({event.word for event in sounds})
        starts[name] = [next(event.start for event in sounds if event.word == word) / SAMPLE_RATE for word in words]
    return folder, starts


def align(*arguments: object) -> int:
    return main(["align", "--fsa-engine", "torch", *map(str, arguments)])


@pytest.fixture(scope="module")
def aligned(corpus: tuple[Path, dict[str, list[float]]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command made of it."""
    out = tmp_path_factory.mktemp("out") / "ali"
    assert align("--corpus-dir", corpus[0], "--language", "en-us", "--out", out) == 0
    return out


def test_a_textgrid_for_every_recording_with_words_near_their_places(
    corpus: tuple[Path, dict[str, list[float]]], aligned: Path
) -> None:
    errors = []
    for voice, number in NAMES:
        name = name_of(voice, number)
        duration, tiers = read_textgrid(aligned / f"{name}.TextGrid")
        assert duration == pytest.approx(soundfile.info(corpus[0] / f"{name}.wav").duration, abs=1e-3)
        assert [item.label for item in tiers["words"]] == words_of(SENTENCES[number])
        errors += [abs(item.start - true) for item, true in zip(tiers["words"], corpus[1][name], strict=True)]
    assert median(errors) < 0.03


def test_ctm_report_and_model_are_there_and_nothing_else(aligned: Path) -> None:
    names = {*VOICES, "model", "word.ctm", "phone.ctm", "state.ctm", "report.jsonl", "summary.json"}
    assert {path.name for path in aligned.iterdir()} == names
    assert (aligned / "word.ctm").read_text().startswith("anna/rec_00 1 ")
    assert json.loads((aligned / "summary.json").read_text())["aligned"] == len(NAMES)


def test_a_kept_model_aligns_another_folder(aligned: Path, tmp_path: Path) -> None:
    speech = synthesise("My brother walked along the river.", Voice("en-us+f2", 150, 50, 50))
    (tmp_path / "new").mkdir()
    soundfile.write(tmp_path / "new" / "x.wav", speech.samples, SAMPLE_RATE)
    (tmp_path / "new" / "text").write_text("x my brother walked along the river\ny not there\n")
    (tmp_path / "new" / "silent.wav").write_bytes(b"")
    options = ["--corpus-dir", tmp_path / "new", "--text", tmp_path / "new" / "text", "--model", aligned / "model"]
    assert align(*options, "--out", tmp_path / "out", "--format", "textgrid") == 0
    _, tiers = read_textgrid(tmp_path / "out" / "x.TextGrid")
    assert [item.label for item in tiers["words"]] == ["my", "brother", "walked", "along", "the", "river"]
    lines = [json.loads(line) for line in (tmp_path / "out" / "report.jsonl").read_text().splitlines()]
    assert {line["id"]: line.get("reason", "").partition(":")[0] for line in lines} == {
        "x": "", "silent": "empty file", "y": "no audio",
    }  # fmt: skip


def test_words_that_a_lexicon_lacks_are_listed(
    corpus: tuple[Path, dict[str, list[float]]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = sorted({word for sentence in SENTENCES for word in words_of(sentence)} - {"wall"})
    (tmp_path / "lexicon").write_text("".join(f"{word.upper()} {' '.join(word)}\n" for word in words))
    assert align("--corpus-dir", corpus[0], "--lexicon", tmp_path / "lexicon", "--out", tmp_path / "out") == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["aligned"], summary["unknown_words"]) == (len(NAMES) - len(VOICES), {"wall": len(VOICES)})
    assert "1 words out of vocabulary: wall" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("files", "options", "code", "words"),
    [
        ({}, [], 1, "holds no recording"),
        ({"a.wav": b""}, [], 1, "holds no transcript"),
        ({"a.wav": b"", "a.txt": b"word"}, [], 1, "the first is a: empty file"),
        ({"a.wav": b"", "a.txt": b"word"}, ["--language", "en-us", "--lexicon", "x"], 2, "give one of them"),
        ({"a.wav": b"", "a.txt": b"word"}, ["--model", "nowhere"], 1, "nowhere is not an aligner"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    files: dict[str, bytes],
    options: list[str],
    code: int,
    words: str,
) -> None:
    (tmp_path / "audio").mkdir()
    for name, content in files.items():
        (tmp_path / "audio" / name).write_bytes(content)
    assert align("--corpus-dir", tmp_path / "audio", "--out", tmp_path / "out", *options) == code
    lines = capsys.readouterr().err.strip().splitlines()
    assert words in lines[-1]
    assert not any("Traceback" in line for line in lines)
