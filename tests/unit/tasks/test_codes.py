"""Codes by the command: the vocabulary of the training set, other sets in it, and what does not go together."""

import json
import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from sounds import read_sound, write_sounds

from speechkit.cli import main
from speechkit.common.seeds import seed_everything
from speechkit.config.load import from_dict
from speechkit.data.labels import LabelFile
from speechkit.models.wav2vec import Wav2Vec
from speechkit.tasks import codes
from speechkit.tasks.codes import Vocabulary
from speechkit.tasks.pretrain import PretrainConfig, load_encoder, save_pretrained
from speechkit.tasks.sources import FrameCodes

EXTRACTOR = {
    "dim": 16, "kernels": [10, 8, 4, 4, 4], "strides": [5, 4, 2, 2, 2], "norm": "group", "activation": "relu",
    "gradient_scale": 1.0,
}  # fmt: skip
QUANTISERS = {
    "gumbel": {"entries": 9, "entry_dim": 8, "out_dim": None, "dropout": 0.0},
    "kmeans": {"entries": 9},
}
WITH_GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve recordings to train on, three of dev."""
    return write_sounds(tmp_path_factory.mktemp("sounds"), sounds_per_cut=3)


def saved(folder: Path, quantiser: str = "gumbel") -> Path:
    """A model that was not trained."""
    encoder = {"extractor": EXTRACTOR, "quantiser": quantiser, **QUANTISERS}
    config = from_dict(PretrainConfig, {"method": "wav2vec", "wav2vec": {"encoder": encoder, "steps": 2}}, "test")
    seed_everything(1)
    save_pretrained(folder, config, Wav2Vec(config.wav2vec).state_dict())
    return folder


def make(model: Path, data: Path, out: Path, nj: int = 1) -> int:
    return main(["codes", "--checkpoint", str(model), "--data", str(data), "--out", str(out), "--nj", str(nj)])


@pytest.mark.parametrize("quantiser", ["gumbel", "kmeans"])
def test_labels_are_the_codes_of_the_model(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], quantiser: str
) -> None:
    """Checklist 3.4, 3.5, 3.7: a label for each pair of training, by frequency; others are <unk>; 100 a second."""
    model = saved(tmp_path / "final", quantiser)
    assert make(model, data, tmp_path / "codes") == 0
    encoder = load_encoder(model)

    def pairs(name: str) -> list[str]:
        waveform = torch.from_numpy(read_sound(data, name))
        with torch.inference_mode():
            found, _ = encoder.codes(waveform[None], torch.tensor([len(waveform)]))
        return [f"{i}-{j}" for i, j in found[0].tolist()]

    train, dev = (LabelFile(tmp_path / "codes", name) for name in ("train", "dev"))
    counts = Counter(pair for name in train for pair in pairs(name))
    assert train.names == dev.names
    assert train.names[0] == "<unk>"
    assert set(train.names[1:]) == set(counts)
    assert [counts[name] for name in train.names[1:]] == sorted(counts.values(), reverse=True)
    for labels in (train, dev):
        assert labels.frame_rate == 100
        for name in labels:
            expected = [pair if pair in counts else "<unk>" for pair in pairs(name)]
            assert [labels.names[label] for label in labels[name]] == expected
    digest = FrameCodes(model).origin["model"]
    assert train.origin == {"features": "codes", "model": digest}
    # What is reported is what is there.
    usage = json.loads((tmp_path / "codes/usage.json").read_text())
    assert usage["train"]["tuples"] == len(counts)
    assert usage["train"]["unknown"] == 0
    assert usage["dev"]["unknown"] == np.mean([label == 0 for name in dev for label in dev[name]])
    for group, found in enumerate(usage["train"]["perplexity"]):
        shares: Counter[str] = Counter()
        for pair, count in counts.items():
            shares[pair.split("-")[group]] += count
        p = np.array(list(shares.values())) / counts.total()
        assert found == pytest.approx(float(np.exp(-(p * np.log(p)).sum())), rel=1e-3)
    assert (
        f"train: {len(counts)} different tuples in {counts.total()} frames, 0.00 % of these" in capsys.readouterr().out
    )


def test_processes_change_nothing(data: Path, tmp_path: Path) -> None:
    model = saved(tmp_path / "final")
    for nj in (1, 2):
        assert make(model, data, tmp_path / str(nj), nj) == 0
    names = ["dev.bin", "dev.jsonl", "train.bin", "train.jsonl", "usage.json"]
    assert sorted(path.name for path in (tmp_path / "1").iterdir()) == names
    for name in names:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=WITH_GPU)])
def test_codes_of_a_batch_are_those_of_each_waveform(data: Path, tmp_path: Path, device: str) -> None:
    model = saved(tmp_path / "final")
    waveforms = [torch.from_numpy(read_sound(data, name)) for name in ("dev0", "dev1")]
    waveforms.insert(1, torch.zeros(100))
    source = FrameCodes(model, torch.device(device))
    source.together = True
    alone = FrameCodes(model)(waveforms)
    assert alone[1].shape == (0, 2)
    for one, other in zip(alone, source(waveforms), strict=True):
        assert float((other.cpu() == one).double().mean()) > 0.99 or not len(one)


def test_the_rarest_tuples_give_way(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Labels have 16 bits; here there is room for four."""
    monkeypatch.setattr(codes, "MOST_NAMES", 4)
    counts = Counter({12: 5, 3: 9, 7: 5, 20: 2, 1: 1})
    with caplog.at_level(logging.WARNING):
        vocabulary = Vocabulary(counts, entries=5, groups=2)
    assert vocabulary.names == ["<unk>", "0-3", "1-2", "2-2"]
    assert vocabulary.labels(np.array([12, 3, 7, 20, 1, 24, 0])).tolist() == [3, 1, 2, 0, 0, 0, 0]
    assert "5 tuples are more than labels have room for: the 2 rarest, in 3 frames, become <unk>" in caplog.text


def test_what_has_no_codes(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert make(saved(tmp_path / "plain", "none"), data, tmp_path / "out") == 1
    assert "plain has no quantiser, so no codes; name a vq-wav2vec model" in capsys.readouterr().err
    model = saved(tmp_path / "final")
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "cuts_dev.jsonl.gz").write_bytes((data / "cuts_dev.jsonl.gz").read_bytes())
    assert make(model, empty, tmp_path / "out") == 1
    assert "empty has no cuts_train.jsonl.gz" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
