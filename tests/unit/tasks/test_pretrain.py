"""Pre-training by the command, on tiny waveforms: it learns, resumes, and stops when it collapses."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from torch import Tensor, nn

from speechkit.cli import main
from speechkit.data.labels import LabelFile, LabelWriter
from speechkit.data.waveforms import WaveformBatch
from speechkit.models.wav2vec2 import Wav2Vec2
from speechkit.tasks.pretrain import Alarm, PretrainConfig, PretrainTask, load_encoder

RATE, FRAME = 16000, 80
EXTRACTOR = {"dim": 16, "kernels": [10, 8], "strides": [5, 16]}
TRANSFORMER = {
    "dim": 16, "layers": 2, "heads": 2, "feed_forward": 32, "position_kernel": 8, "position_groups": 4, "dropout": 0.0,
    "attention_dropout": 0.0,
}  # fmt: skip
ENCODER = {
    "extractor": EXTRACTOR, "transformer": TRANSFORMER, "input_dropout": 0.0,
    "time_mask": {"probability": 0.1, "length": 3},
}  # fmt: skip
CONFIG = {
    "wav2vec2": {
        "encoder": ENCODER, "negatives": 10, "penalty_weight": 0.0,
        "quantiser": {"entries": 8, "entry_dim": 4, "out_dim": 8, "dropout": 0.0},
    },
    "hubert": {"encoder": ENCODER, "final_dim": 8, "penalty_weight": 0.0},
    "cpc": {
        "encoder": {"extractor": {**EXTRACTOR, "paddings": [3, 0], "norm": "layer"}, "context_dim": 16}, "steps": 3,
        "negatives": {"count": 10, "source": "sequence"},
    },
    "wav2vec": {
        "encoder": {
            "extractor": {**EXTRACTOR, "norm": "group", "activation": "relu", "gradient_scale": 1.0},
            "aggregator": {"kernels": [3, 3], "skip": True},
            "gumbel": {"entries": 8, "entry_dim": 8, "out_dim": None, "dropout": 0.0, "start": 1.0, "anneal": 30},
            "kmeans": {"entries": 8, "shared": True, "spread": 1.0},
        },
        "steps": 3, "negatives": 10,
    },
    "supervised": {"encoder": {"extractor": {**EXTRACTOR, "paddings": [3, 0], "norm": "layer"}, "context_dim": 16}},
    "shortest": 0.1, "longest": 0.4,
    "batches": {"max_duration": 4.0, "workers": 0, "buckets": 1},
    "train": {
        "max_updates": 60, "validate_every": 60, "save_every": 15, "log_every": 5, "average_best": 1,
        "schedule": {"peak": 0.01, "warmup": 0.1, "hold": 0.5},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sequences of four tones, each lasting 12 frames of 5 ms, with the number of the tone as label of each frame."""
    folder = tmp_path_factory.mktemp("données x")
    rng = np.random.default_rng(0)
    for split, count in (("train", 24), ("dev", 6)):
        cuts = []
        with LabelWriter(folder / "labels", split, RATE / FRAME, list("abcd")) as writer:
            for number in range(count):
                name, tones = f"{split}{number}", rng.integers(4, size=int(rng.integers(7, 12)))
                time = np.arange(12 * FRAME) / RATE
                waveform = np.concatenate([np.sin(2 * np.pi * 400 * (1 + tone) * time) for tone in tones]) * 0.3
                waveform += rng.normal(0, 0.01, size=len(waveform))
                path = folder / f"{name}.wav"
                soundfile.write(path, waveform, RATE, subtype="PCM_16")
                recording = Recording.from_file(path, recording_id=name)
                supervision = SupervisionSegment(name, name, 0, recording.duration)
                cut = MonoCut(name, 0, recording.duration, 0, recording=recording, supervisions=[supervision])
                cuts.append(cut)
                writer.add(name, np.repeat(tones, 12))
        CutSet.from_cuts(cuts).to_file(folder / f"cuts_{split}.jsonl.gz")
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    return folder


def pretrain(data: Path, out: Path, method: str, *more: str) -> int:
    labels = {"hubert": "labels", "supervised": "labels/{}"}
    words = ["--labels", str(data / labels[method])] if method in labels else []
    arguments = ["--config", str(data / "config.yaml"), "--set", f"method={method}", "--data", str(data), *words]
    return main(["pretrain", *arguments, "--out", str(out), *more])


def lines(out: Path, kind: str) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [row for row in rows if row["kind"] == kind]


GUMBEL = [
    "--set", "wav2vec.encoder.quantiser=gumbel", "--set", "wav2vec.encoder.extractor.norm=layer",
    "--set", "wav2vec.diversity_weight=0.5", "--set", "train.schedule.peak=0.02",
]  # fmt: skip
DISTORTED = ["--set", "distortion.speeds=[0.95,1.0,1.05]", "--set", "distortion.noise_share=0.5"]


# CPC cannot tell the positive from frames of the same tone, Binomial(10, 1/4) of its negatives: it is preferred in
# (1 - 0.75^11) / (11 / 4) = 35 % of all cases, by chance in 9 %.
@pytest.mark.parametrize(
    ("method", "figure", "least", "more"),
    [
        ("wav2vec2", "accuracy", 0.5, []),
        ("wav2vec2", "accuracy", 0.5, [*DISTORTED, "--set", "wav2vec2.unmasked_weight=1"]),
        ("hubert", "masked_accuracy", 0.5, []),
        ("hubert", "masked_accuracy", 0.5, DISTORTED),
        ("cpc", "accuracy", 0.25, []),
        ("supervised", "accuracy", 0.9, []),
        # A quarter of the negatives are of the same tone as their target.
        ("wav2vec", "ranked", 0.65, []),
        ("wav2vec", "ranked", 0.6, GUMBEL),
        ("wav2vec", "ranked", 0.55, ["--set", "wav2vec.encoder.quantiser=kmeans"]),
    ],
    ids=[
        *("wav2vec2", "wav2vec2 distorted", "hubert", "hubert distorted"),
        *("cpc", "supervised", "wav2vec", "vq gumbel", "vq kmeans"),
    ],
)
def test_it_learns_what_comes_next_and_resumes_as_if_never_killed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, figure: str, least: float, more: list[str]
) -> None:
    assert pretrain(data, tmp_path / "whole", method, *more) == 0
    dev = lines(tmp_path / "whole", "dev")
    assert dev[-1]["loss_m"] < 0.8 * lines(tmp_path / "whole", "train")[0]["loss_m"]
    assert dev[-1][figure] > least
    loss = PretrainTask.loss

    def killed(task: PretrainTask, model: nn.Module, batch: WaveformBatch) -> tuple[Tensor, float, dict[str, float]]:
        if task.update() == 47:
            raise KeyboardInterrupt
        return loss(task, model, batch)

    with monkeypatch.context() as patch:
        patch.setattr(PretrainTask, "loss", killed)
        assert pretrain(data, tmp_path / "parts", method, *more) == 130
    assert pretrain(data, tmp_path / "parts", method, *more) == 0
    first, second = ((tmp_path / name / "final/model.safetensors").read_bytes() for name in ("whole", "parts"))
    assert first == second


def test_the_encoder_comes_back_without_masks_and_dropout(data: Path, tmp_path: Path) -> None:
    """Checklist 5.6: layers are counted from 1, nothing is random."""
    assert pretrain(data, tmp_path / "model", "wav2vec2", "--set", "train.max_updates=2") == 0
    encoder = load_encoder(tmp_path / "model/final")
    waveforms, lengths = torch.randn(2, 1600), torch.tensor([1600, 900])
    first, second = encoder(waveforms, lengths), encoder(waveforms, lengths)
    assert len(first.layers) == 2
    assert first.frame_rate == 200
    assert all(torch.equal(one, other) for one, other in zip(first.layers, second.layers, strict=True))
    frames, lengths, _ = encoder.extract(waveforms, lengths)
    torch.testing.assert_close(encoder.encode(frames, lengths), first.layers[-1])


def test_a_collapsed_training_stops_with_advice() -> None:
    config = PretrainConfig(patience=3)
    alarm = Alarm(Wav2Vec2(config.wav2vec2).collapse(), config)
    chance, healthy = {"loss_m": math.log(101), "code_perplexity": 300.0}, {"loss_m": 2.0, "code_perplexity": 300.0}
    for figures in [chance] * 10:
        alarm.watch(figures, update=0)  # within the warm-up
    late = config.train.max_updates
    few, same = {**healthy, "code_perplexity": 2.1}, {**healthy, "used_perplexity": 2.0}  # in two groups
    for figures in (chance, chance, healthy, few, same):
        alarm.watch(figures, late)
    with pytest.raises(Exception, match="has collapsed: for 3 updates it is at chance; lower train.schedule.peak"):
        alarm.watch(chance, late)


def test_labels_are_asked_for(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--config", str(data / "config.yaml"), "--set", "method=hubert", "--data", str(data)]
    assert main(["pretrain", *arguments, "--out", str(tmp_path / "x")]) == 1
    assert "hubert needs labels; give --labels" in capsys.readouterr().err


def test_what_has_no_labels_is_left_out(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An alignment lacks utterances that could not be aligned."""
    for split in ("train", "dev"):
        known = LabelFile(data / "labels", split)
        for folder, keep in (("some", lambda name: name != "train3"), ("foreign", lambda name: False)):
            with LabelWriter(tmp_path / folder, split, known.frame_rate, known.names) as writer:
                for name, labels in known.items():
                    writer.add(name if keep(name) else f"other-{name}", labels)
    words = ["--config", str(data / "config.yaml"), "--set", "method=supervised", "--data", str(data)]
    words += ["--set", "train.max_updates=1"]
    assert main(["pretrain", *words, "--labels", str(tmp_path / "some"), "--out", str(tmp_path / "x")]) == 0
    assert "left out 1 utterances without labels: train3" in capsys.readouterr().err
    assert main(["pretrain", *words, "--labels", str(tmp_path / "foreign"), "--out", str(tmp_path / "y")]) == 1
    assert "no labels for cut train0, nor for others" in capsys.readouterr().err
