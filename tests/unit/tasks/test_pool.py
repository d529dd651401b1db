"""Pooled features by the command: loops over what is stored, processes, resuming, what is refused, and quality."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from lhotse import MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource
from lhotse.supervision import AlignmentItem

from speechkit.cli import main
from speechkit.data import parts
from speechkit.data.batches import load_cuts, stored_features
from speechkit.data.manifests import read_lines, write_lines
from speechkit.data.shards import FeatureWriter
from speechkit.features.cmvn import Cmvn
from speechkit.tasks import pool as pooling
from speechkit.train.checkpoint import load_tensors

WIDTH, SHIFT = 6, 0.02
SETTINGS = ["--pca", "4", "--clusters", "5"]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "FEWEST_CUTS", 3)
    monkeypatch.setattr(pooling, "TOGETHER", 2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stored frames of phones of 1 to 5 frames each, which stand around a point for each of five phones."""
    folder, rng = tmp_path_factory.mktemp("hidden"), np.random.default_rng(0)
    points = 5 * rng.normal(size=(5, WIDTH))
    for name, count in (("train", 7), ("dev", 2)):
        rows = []
        with FeatureWriter(folder / f"{name}.lca", tick_power=-8) as writer:
            for number in range(count):
                phones = np.cumsum(rng.integers(1, 5, size=40 + number)) % 5  # no two neighbours are the same
                lengths = rng.integers(1, 6, size=len(phones))
                frames = points[np.repeat(phones, lengths)] + rng.normal(0, 0.1, (lengths.sum(), WIDTH))
                ends = np.cumsum(lengths) * SHIFT
                rows.append(row_of(f"{name}{number}", phones, lengths * SHIFT, ends))
                features = torch.from_numpy(frames.astype(np.float32))
                rows[-1]["features"] = writer.store(rows[-1], features, folder / f"{name}.lca", "layer-1", SHIFT)
        write_lines(folder / f"cuts_{name}.jsonl.gz", rows)
    return folder


def row_of(name: str, phones: np.ndarray, durations: np.ndarray, ends: np.ndarray) -> dict:
    seconds = float(ends[-1]) + 0.005
    samples = round(seconds * 16000)
    recording = Recording(name, [AudioSource("file", [0], f"{name}.wav")], 16000, samples, samples / 16000)
    items = zip(phones.tolist(), durations.tolist(), ends.tolist(), strict=True)
    alignment = {"phone": [AlignmentItem("abcde"[phone], end - length, length) for phone, length, end in items]}
    supervision = SupervisionSegment(name, name, 0, recording.duration, text="a", speaker=name, alignment=alignment)
    custom = {"silence": "none"}
    row: dict = MonoCut(name, 0, recording.duration, 0, [supervision], recording=recording, custom=custom).to_dict()
    return row


def pool(data: Path, out: Path, *more: str) -> int:
    return main(["pool", "--data", str(data), "--out", str(out), *SETTINGS, "--nj", "1", *more])


def frames_of(folder: Path, name: str) -> list[np.ndarray]:
    return [stored_features([cut])[0].numpy() for cut in load_cuts(folder / f"cuts_{name}.jsonl.gz")]


@pytest.mark.parametrize("pairs", [True, False])
def test_vectors_are_those_of_loops(data: Path, tmp_path: Path, pairs: bool) -> None:
    """From scikit-learn's components and the stored centres, frame by frame; order and counts are kept."""
    decomposition = pytest.importorskip("sklearn.decomposition", reason="scikit-learn is the reference")
    assert pool(data, tmp_path, *([] if pairs else ["--no-pairs"])) == 0
    tensors = load_tensors(tmp_path / "pool.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == {
        "mean": (6,), "components": (4, 6), "centres": (5, 6),
    }  # fmt: skip
    reference = decomposition.PCA(4, svd_solver="full").fit(np.concatenate(frames_of(data, "train")).astype(float))
    signs = np.sign((reference.components_ * tensors["components"].numpy()).sum(1))
    every = []
    for name in ("train", "dev"):
        cuts = list(load_cuts(tmp_path / f"cuts_{name}.jsonl.gz"))
        assert [cut.id for cut in cuts] == [cut.id for cut in load_cuts(data / f"cuts_{name}.jsonl.gz")]
        rows = list(read_lines(tmp_path / f"spans_{name}.jsonl.gz"))
        for cut, row, frames in zip(cuts, rows, frames_of(data, name), strict=True):
            labels = [int(((frame - tensors["centres"].numpy()) ** 2).sum(1).argmin()) for frame in frames]
            vectors, spans, start = [], [], 0
            components = reference.transform(frames.astype(float)) * signs
            for end in range(1, len(labels) + 1):
                if end == len(labels) or labels[end] != labels[start]:
                    vectors.append(components[start:end].mean(0))
                    spans.append([start, end])
                    start = end
            assert row["segments"] == [[*span, labels[span[0]]] for span in spans]
            if pairs:
                if len(vectors) % 2:
                    vectors.append(vectors[-1])
                    spans.append(spans[-1])
                vectors = [(one + other) / 2 for one, other in zip(vectors[::2], vectors[1::2], strict=True)]
                spans = [[one[0], other[1]] for one, other in zip(spans[::2], spans[1::2], strict=True)]
            assert (row["id"], row["shift"], row["frames"]) == (cut.id, SHIFT, spans)
            (found,) = stored_features([cut])
            assert found.shape == (len(vectors), 4) == (cut.features.num_frames, cut.features.num_features)
            np.testing.assert_allclose(found.numpy(), vectors, atol=2**-11 + 1e-4)
            assert cut.custom == {"silence": "none"}
            assert cut.supervisions[0].text == "a"
            every += [found] if name == "train" else []
    statistics = Cmvn.load(tmp_path / "cmvn.safetensors").stats()
    torch.testing.assert_close(statistics.mean.float(), torch.cat(every).mean(0), atol=1e-3, rtol=0)


def test_processes_samples_and_killed_runs_change_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def content() -> dict[Path, bytes]:
        return {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}

    out, results = tmp_path / "out", []
    for nj in ("1", "2"):
        assert pool(data, out, "--nj", nj, "--set", "max_points=300") == 0
        results.append(content())
        out.rename(tmp_path / nj)
    assert results[0] == results[1]
    (tmp_path / "1").rename(out)
    (out / "storage/train/0001.json").unlink()
    (out / "cuts_dev.jsonl.gz").unlink()
    worked, summed, pooled = [], [], pooling.pooled
    monkeypatch.setattr(pooling, "pooled", lambda *each: worked.append(1) or pooled(*each))
    monkeypatch.setattr(pooling, "_summed", lambda *each: summed.append(1))
    assert pool(data, out, "--set", "max_points=300") == 0
    assert (content(), len(worked), len(summed)) == (results[0], 3, 0)


def test_counts_of_long_utterances_are_kept(tmp_path: Path) -> None:
    """Lhotse's count of frames from duration and shift would be another one."""
    rng = np.random.default_rng(0)
    frames = torch.from_numpy(rng.normal(size=(20_011, 3)).astype(np.float32))
    row = row_of("long", np.array([0]), np.array([400.2]), np.array([400.2]))
    with FeatureWriter(tmp_path / "train.lca", tick_power=-8) as writer:
        row["features"] = writer.store(row, frames, tmp_path / "train.lca", "layer-1", SHIFT)
    write_lines(tmp_path / "cuts_train.jsonl.gz", [row])
    assert pool(tmp_path, tmp_path / "out", "--pca", "2", "--no-pairs") == 0
    (line,) = read_lines(tmp_path / "out/spans_train.jsonl.gz")
    (found,) = frames_of(tmp_path / "out", "train")
    assert len(found) == len(line["frames"]) > 15_000


def test_segments_against_phones(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where a cluster is a phone every boundary is right, and half of them after pairing."""
    assert pool(data, tmp_path, "--alignments", str(data / "cuts_dev.jsonl.gz")) == 0
    said = capsys.readouterr().out
    assert "dev: boundaries of segments within 20 ms: precision 1.000, recall 1.000, F1 1.000 (79 boundaries" in said
    assert "dev: clusters: PNMI 1.000" in said
    assert "train: boundaries" not in said
    quality = json.loads((tmp_path / "quality.json").read_text())
    assert quality.keys() == {"dev"}
    assert (quality["dev"]["segments"]["hits"], quality["dev"]["utterances"]) == (79, 2)
    assert 38 <= quality["dev"]["pooled"]["hypothesis"] <= 40
    assert quality["dev"]["clusters"]["phone_purity"] == 1


def test_wrong_input_is_one_line(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def changed(name: str, field: str, value: object) -> Path:
        folder = tmp_path / f"{name}-{field}-{value}"
        for each in ("train", "dev"):
            rows = list(read_lines(data / f"cuts_{each}.jsonl.gz"))
            if each == name:
                rows[-1][field] = value if field != "custom" else {"silence": value} if value else None
            write_lines(folder / f"cuts_{each}.jsonl.gz", rows)
        return folder

    (tmp_path / "empty").mkdir()
    dev = str(changed("dev", "duration", 1.0) / "cuts_dev.jsonl.gz")
    for folder, more, code, message in (
        (data, ["--pca", "7"], 1, "frames of 6 values have 1 to 6 components, not 7; correct --pca"),
        (changed("dev", "custom", None), [], 1, "cut dev1 of"),
        (changed("dev", "custom", None), [], 1, "does not say how silence was treated; make the features of what"),
        (changed("dev", "custom", "energy"), [], 1, "with silence 'energy', others have"),
        (changed("train", "features", None), [], 1, "has no features; run `speechkit features --checkpoint`"),
        (data, ["--alignments", str(tmp_path / "none")], 1, "does not exist; correct --alignments"),
        (data, ["--clusters", "1"], 2, "clusters at least 2"),
    ):
        assert pool(folder, tmp_path / "out", *more) == code
        assert message in capsys.readouterr().err
        assert not list((tmp_path / "out").glob("cuts_*"))
    assert pool(data, data) == 2
    assert "--out must be another folder" in capsys.readouterr().err
    assert pool(data, tmp_path / "out", "--alignments", dev) == 1
    assert "leave out --alignments, as times do not hold where silence was removed" in capsys.readouterr().err


def test_segments_of_the_spectrum(tmp_path: Path) -> None:
    """Two tones and their changes: hidden states of 20 ms are pooled between them, at a hundredth of a second."""
    rate, pieces = 16000, [(440.0, 0.3), (2000.0, 0.25), (440.0, 0.2)]
    wave = np.concatenate([np.sin(2 * np.pi * hertz * np.arange(int(s * rate)) / rate) for hertz, s in pieces])
    noise = np.random.default_rng(0).normal(0, 1e-3, len(wave))
    soundfile.write(tmp_path / "tones.wav", 0.5 * wave + noise, rate)
    recording = Recording("tones", [AudioSource("file", [0], str(tmp_path / "tones.wav"))], rate, len(wave), 0.75)
    said = SupervisionSegment("tones", "tones", 0, 0.75, speaker="a")
    row = MonoCut("tones", 0, 0.75, 0, [said], recording=recording, custom={"silence": "none"}).to_dict()
    frames = torch.arange(37.0).unsqueeze(1) * torch.ones(1, 3) + torch.eye(3).repeat(13, 1)[:37]
    with FeatureWriter(tmp_path / "train.lca", tick_power=-8) as writer:
        row["features"] = writer.store(row, frames, tmp_path / "train.lca", "layer-1", SHIFT)
    write_lines(tmp_path / "cuts_train.jsonl.gz", [row])
    settings = ("--set", "boundaries=spectrum", "--no-pairs", "--pca", "3", "--set", "merge_cost=10")
    assert pool(tmp_path, tmp_path / "out", *settings) == 0
    (line,) = read_lines(tmp_path / "out/spans_train.jsonl.gz")
    assert line["shift"] == 0.01
    edges = [first for first, _ in line["frames"]]
    assert edges[0] == 0
    assert np.abs(np.array(edges[1:]) - [30, 55]).max() <= 1
    (found,) = frames_of(tmp_path / "out", "train")
    tensors = load_tensors(tmp_path / "out/pool.safetensors")
    spread = [frames[min(36, int((at + 0.5) / 2))] for at in range(75)]
    first = torch.stack(spread[: edges[1]]).mean(0) - tensors["mean"]
    np.testing.assert_allclose(found[0], tensors["components"] @ first, atol=1e-2)
