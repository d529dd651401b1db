"""Sets without silence, by the command: audio, times, marks, processes."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import MonoCut, Recording, SupervisionSegment
from lhotse.supervision import AlignmentItem

from speechkit.cli import main
from speechkit.data import parts
from speechkit.data.manifests import read_cuts, read_lines, write_cuts
from speechkit.features.silence import EnergyDetector

RATE = 16000


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "FEWEST_CUTS", 2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five and one utterances of a second of sound in silence; cuts begin 0.1 s into their files."""
    folder, rng = tmp_path_factory.mktemp("data ä"), np.random.default_rng(0)
    for name, count in (("train", 5), ("dev", 1)):
        cuts = []
        for number in range(count):
            samples = rng.normal(0, 0.003, 3 * RATE)
            samples[RATE : 2 * RATE] += 0.1 * np.sin(np.arange(RATE) * 0.3)
            soundfile.write(folder / f"{name}{number}.wav", samples, RATE, subtype="PCM_16")
            recording = Recording.from_file(folder / f"{name}{number}.wav", recording_id=f"{name}{number}")
            alignment = {"phone": [AlignmentItem("a", 0.9, 1.0)]}
            supervision = SupervisionSegment(f"s{number}", recording.id, 0.4, 2.0, text="a", alignment=alignment)
            custom = {"room": "large"}
            cuts.append(MonoCut(f"{name}{number}", 0.1, 2.9, 0, [supervision], recording=recording, custom=custom))
        write_cuts(folder / f"cuts_{name}.jsonl.gz", cuts)
    return folder


def silence(data: Path, out: Path, detector: str = "energy", *more: str) -> int:
    return main(["silence", "--data", str(data), "--out", str(out), "--detector", detector, *more])


def test_recordings_are_what_the_detector_calls_speech(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert silence(data, tmp_path, "energy", "--nj", "1") == 0
    for name in ("train", "dev"):
        cuts = list(read_cuts(tmp_path / f"cuts_{name}.jsonl.gz"))
        assert [cut.id for cut in cuts] == [cut.id for cut in read_cuts(data / f"cuts_{name}.jsonl.gz")]
        for cut in cuts:
            samples, _ = soundfile.read(data / f"{cut.id}.wav", dtype="float32", start=1600)
            speech = EnergyDetector()(samples, RATE)
            expected = np.concatenate([samples[first:end] for first, end in speech])
            np.testing.assert_array_equal(cut.load_audio()[0], expected)
            assert soundfile.info(cut.recording.sources[0].source).subtype == "PCM_16"
            assert 1.0 < cut.duration == len(expected) / RATE < 1.3
            assert cut.custom == {"room": "large", "silence": EnergyDetector().description}
            (supervision,) = cut.supervisions
            assert supervision.alignment is None
            assert supervision.recording_id == cut.id
            assert (supervision.start, supervision.duration) == (0, pytest.approx(cut.duration, abs=1e-5))
    said = capsys.readouterr()
    assert "dev: 0.03 of 0.05 minutes removed" in said.out
    figures = json.loads((tmp_path / "silence.json").read_text())
    assert figures["sets"]["train"]["utterances"] == 5
    assert figures["sets"]["train"]["seconds"] == pytest.approx(14.5)


def test_processes_and_a_killed_run_change_nothing(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three parts the one without a mark is done again, the others not."""
    results = []
    for nj in ("1", "2"):
        out = tmp_path / "out"
        assert silence(data, out, "energy", "--nj", nj) == 0
        results.append({path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()})
        if nj == "1":
            out.rename(tmp_path / "first")
    assert results[0] == results[1]
    (out / "storage/train/0001.json").unlink()
    (out / "storage/train/0001/train2.flac").unlink()
    (out / "storage/train/0009").mkdir()
    (out / "cuts_train.jsonl.gz").unlink()
    seen = []
    listen = EnergyDetector.__call__
    monkeypatch.setattr(EnergyDetector, "__call__", lambda *each: seen.append(1) or listen(*each))
    assert silence(data, out, "energy", "--nj", "1") == 0
    assert len(seen) == 2
    again = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert again == results[0]
    assert not (out / "storage/train/0009").exists()
    assert silence(data, out, "energy", "--nj", "1", "--set", "padding=0.1") == 0
    assert len(seen) == 8


def test_none_leaves_everything_and_says_so(data: Path, tmp_path: Path) -> None:
    assert silence(data, tmp_path, "none", "--nj", "1") == 0
    before, after = (list(read_lines(folder / "cuts_train.jsonl.gz")) for folder in (data, tmp_path))
    for old, new in zip(before, after, strict=True):
        assert new.pop("custom") == {"room": "large", "silence": "none"}
        old.pop("custom")
        assert new == old


def test_an_utterance_of_hardly_any_speech_keeps_its_audio(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EnergyDetector, "__call__", lambda self, samples, rate: np.array([[0, 1599]]))
    assert silence(data, tmp_path, "energy", "--nj", "1") == 0
    assert "6 utterances keep all their audio: less than 0.1 s of each would be left" in capsys.readouterr().err
    for cut in read_cuts(tmp_path / "cuts_train.jsonl.gz"):
        assert cut.duration == 2.9
        assert cut.supervisions[0].alignment is not None
        assert cut.custom["silence"] == EnergyDetector().description


def test_wrong_input_is_one_line(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert silence(data, data) == 2
    assert "--out must be another folder" in capsys.readouterr().err
    assert silence(data, tmp_path / "x", "none", "--set", "share=0.4") == 2
    assert "--set is for --detector energy" in capsys.readouterr().err
    assert silence(data, tmp_path / "x", "energy", "--set", "shar=0.4") == 2
    assert "'share'" in capsys.readouterr().err
    cut = next(iter(read_cuts(data / "cuts_dev.jsonl.gz")))
    write_cuts(tmp_path / "twice/cuts_train.jsonl.gz", [cut, cut])
    assert silence(tmp_path / "twice", tmp_path / "x", "none") == 1
    assert "has cut dev0 twice" in capsys.readouterr().err
    write_cuts(tmp_path / "gone/cuts_train.jsonl.gz", [cut])
    cut.recording.sources[0].source = str(tmp_path / "gone.wav")
    write_cuts(tmp_path / "gone/cuts_train.jsonl.gz", [cut])
    assert silence(tmp_path / "gone", tmp_path / "x", "energy", "--nj", "1") == 1
    assert "gone.wav" in capsys.readouterr().err
    assert not (tmp_path / "x/cuts_train.jsonl.gz").exists()
