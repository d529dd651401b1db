"""Labels by the command: cepstra first, then a layer of a model, and what they say about the phones."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.supervision import AlignmentItem

from speechkit.cli import main
from speechkit.cluster.kmeans import assign
from speechkit.common.seeds import seed_everything
from speechkit.config.load import from_dict
from speechkit.data.labels import LabelFile
from speechkit.features.mfcc import Mfcc, MfccConfig
from speechkit.tasks.pretrain import PretrainConfig, load_encoder
from speechkit.train.checkpoint import load_tensors

RATE = 16000
MODEL = {
    "wav2vec2": {
        "encoder": {
            "extractor": {"dim": 16, "kernels": [10, 8, 8], "strides": [5, 8, 8]},
            "transformer": {
                "dim": 16, "layers": 2, "heads": 2, "feed_forward": 32, "position_kernel": 8, "position_groups": 4,
            },
        }
    }
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sequences of five harmonic sounds with their true times."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("dev", 3)):
        cuts = []
        for number in range(count):
            name, items, parts, place = f"{split}{number}", [], [], 0
            for sound in rng.integers(5, size=6).tolist():
                size = int(rng.integers(1200, 2400))
                time = np.arange(size) / RATE
                parts.append(sum(np.sin(2 * np.pi * 300 * (sound + 1) * k * time) / k for k in (1, 2, 3)))
                items.append(AlignmentItem("abcde"[sound], place / RATE, size / RATE))
                place += size
            waveform = 0.1 * np.concatenate(parts) + rng.normal(0, 0.003, size=place)
            soundfile.write(folder / f"{name}.wav", waveform, RATE, subtype="PCM_16")
            recording = Recording.from_file(folder / f"{name}.wav", recording_id=name)
            supervision = SupervisionSegment(name, name, 0, recording.duration, alignment={"phone": items})
            cuts.append(MonoCut(name, 0, recording.duration, 0, recording=recording, supervisions=[supervision]))
        CutSet.from_cuts(cuts).to_file(folder / f"cuts_{split}.jsonl.gz")
    return folder


def cluster(data: Path, out: Path, *more: str) -> int:
    return main(["cluster", "--data", str(data), "--out", str(out), "--set", "kmeans.clusters=8", *more])


def test_labels_of_cepstra(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """HuBERT, must have 1, 7 and 10: fitted on train alone, 39 cepstra, figures against the true phones."""
    assert cluster(data, tmp_path / "one", "--nj", "1") == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("train: PNMI ")
    figures = json.loads((tmp_path / "one/quality.json").read_text())
    assert figures["dev"]["pnmi"] > 0.8
    assert figures["dev"]["phone_purity"] > 0.8
    labels = LabelFile(tmp_path / "one", "dev")
    assert labels.frame_rate == 100
    assert labels.origin["features"] == "mfcc"
    assert labels.origin["clusters"] == len(labels.names) == 8
    centres = load_tensors(tmp_path / "one/kmeans/centres.safetensors")["centres"]
    waveform = torch.from_numpy(soundfile.read(data / "dev1.wav", dtype="float32")[0])
    expected = assign(Mfcc(MfccConfig()).extract(waveform), centres)[0]
    assert labels["dev1"].tolist() == expected.tolist()
    assert centres.shape == (8, 39)
    # Processes change nothing, nor does what dev holds.
    assert cluster(data, tmp_path / "two", "--nj", "2", "--sets", "train") == 0
    for name in ("train.bin", "train.jsonl"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_labels_of_a_layer_carry_model_and_rate(data: Path, tmp_path: Path) -> None:
    """HuBERT, must have 1 and 6."""
    from speechkit.models.wav2vec2 import Wav2Vec2
    from speechkit.tasks.pretrain import save_pretrained

    config = from_dict(PretrainConfig, MODEL, "test")
    seed_everything(0)
    save_pretrained(tmp_path / "model", config, Wav2Vec2(config.wav2vec2).state_dict())
    layer = ["--checkpoint", str(tmp_path / "model"), "--layer", "1"]
    assert cluster(data, tmp_path / "labels", *layer, "--nj", "1") == 0
    labels = LabelFile(tmp_path / "labels", "dev")
    assert labels.frame_rate == 50
    assert labels.origin["layer"] == 1
    assert len(str(labels.origin["model"])) == 64
    waveform = torch.from_numpy(soundfile.read(data / "dev0.wav", dtype="float32")[0])
    hidden = load_encoder(tmp_path / "model")(waveform[None], torch.tensor([len(waveform)]))
    centres = load_tensors(tmp_path / "labels/kmeans/centres.safetensors")["centres"]
    assert labels["dev0"].tolist() == assign(hidden.layers[0][0], centres)[0].tolist()


def test_what_does_not_go_together(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cluster(data, tmp_path / "x", "--layer", "3") == 2
    assert "--checkpoint and --layer go together" in capsys.readouterr().err
    assert cluster(data, tmp_path / "x", "--checkpoint", str(data), "--layer", "3") == 1
    assert "is not a pre-trained model" in capsys.readouterr().err
