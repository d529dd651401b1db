"""Fine-tuning of a pre-trained encoder by the commands: on tones it learns words, freezes what it should, resumes."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from torch import nn

from speechkit.cli import main
from speechkit.data.batches import Batch
from speechkit.models.finetuned import FinetunedEncoder
from speechkit.models.speech_encoder import SpeechEncoderConfig
from speechkit.nn.masking import SpanMaskConfig
from speechkit.nn.transformer import TransformerConfig
from speechkit.nn.waveform import ExtractorConfig
from speechkit.tasks.ctc import CtcTask
from speechkit.train.checkpoint import load_tensors

RATE = 16000
TONES = {"one": 500, "two": 1000, "six": 1500}
ENCODER = {
    "extractor": {"dim": 32, "kernels": [160, 4], "strides": [80, 4], "norm": "layer", "bias": True},
    "transformer": {
        "dim": 32, "layers": 2, "heads": 2, "feed_forward": 32, "position_kernel": 8, "position_groups": 4,
        "norm_first": True,
    },
    "time_mask": {"probability": 0.1, "length": 3},
}  # fmt: skip
PRETRAINING = {
    "method": "wav2vec2",
    "wav2vec2": {
        "encoder": ENCODER, "negatives": 10, "quantiser": {"entries": 8, "entry_dim": 4, "out_dim": 8},
    },
    "shortest": 0.1, "longest": 1.0, "batches": {"max_duration": 4.0, "workers": 0, "buckets": 1},
    "train": {"max_updates": 4, "validate_every": 4, "average_best": 1},
}  # fmt: skip
FINETUNING = {
    "finetune": {
        "head_updates": 10, "layer_drop": 0.1, "activation_dropout": 0.0,
        "time_mask": {"probability": 0.01, "length": 3, "least": 0},
        "channel_mask": {"probability": 0.01, "length": 4, "least": 0},
    },
    "batches": {"max_duration": 6.0, "workers": 0, "buckets": 1},
    "train": {
        "max_updates": 100, "validate_every": 50, "save_every": 5, "log_every": 20, "average_best": 1,
        "schedule": {"peak": 0.005, "warmup": 0.1, "hold": 0.4, "decay": "exponential"},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Words as tones of 60 ms with 40 ms of silence after each, a language, and a pre-trained model."""
    folder = tmp_path_factory.mktemp("récipe x")
    rng = np.random.default_rng(0)
    cuts = []
    for number in range(12):
        words = [str(word) for word in rng.choice(list(TONES), size=4)]
        time = np.arange(960) / RATE
        sounds = [[0.3 * np.sin(2 * np.pi * TONES[word] * time), np.zeros(640)] for word in words]
        waveform = np.concatenate([part for pair in sounds for part in pair]) + rng.normal(0, 0.003, size=6400)
        path = folder / f"utt{number}.wav"
        soundfile.write(path, waveform, RATE, subtype="PCM_16")
        recording = Recording.from_file(path, recording_id=f"utt{number}")
        supervision = SupervisionSegment(f"utt{number}", f"utt{number}", 0, recording.duration, text=" ".join(words))
        cuts.append(MonoCut(f"utt{number}", 0, recording.duration, 0, recording=recording, supervisions=[supervision]))
    for split in ("train", "dev", "test"):
        CutSet.from_cuts(cuts).to_file(folder / f"cuts_{split}.jsonl.gz")
    (folder / "pretrain.yaml").write_text(yaml.safe_dump(PRETRAINING))
    (folder / "finetune.yaml").write_text(yaml.safe_dump(FINETUNING))
    lang = ["lang", "--cuts", str(folder / "cuts_train.jsonl.gz"), "--unit", "word", "--out", str(folder / "lang")]
    assert main(lang) == 0
    pretrain = ["pretrain", "--config", str(folder / "pretrain.yaml"), "--data", str(folder)]
    assert main([*pretrain, "--out", str(folder / "pretrained")]) == 0
    return folder


def command(recipe: Path) -> list[str]:
    config = ["--config", str(recipe / "finetune.yaml")]
    return ["train", *config, "--data", str(recipe), "--lang", str(recipe / "lang")]


def finetune(recipe: Path, out: Path, *more: str) -> int:
    init = ["--init", str(recipe / "pretrained/final"), "--out", str(out)]
    return main([*command(recipe), *init, *more])


def encoder_weights(folder: Path) -> dict[str, torch.Tensor]:
    weights = load_tensors(folder / "model.safetensors")
    return {name.removeprefix("encoder."): each for name, each in weights.items() if name.startswith("encoder.")}


@pytest.mark.parametrize("loss", ["ctc", "lfmmi"])
def test_words_are_learnt_and_decoded_without_features(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], loss: str
) -> None:
    """There is no cmvn.safetensors beside the cuts: a model of waveforms needs none."""
    assert finetune(recipe, tmp_path / "exp", "--set", f"loss={loss}", "--set", "lfmmi.warmup_updates=40") == 0
    decode = ["decode", "--checkpoint", str(tmp_path / "exp/final"), "--cuts", str(recipe / "cuts_test.jsonl.gz")]
    assert main([*decode, "--out", str(tmp_path / "greedy")]) == 0
    assert main(["score", "--dir", str(tmp_path / "greedy"), "--lang", str(recipe / "lang")]) == 0
    assert "%WER 0.00 [ 0 / 48" in capsys.readouterr().out.splitlines()[-1]


def test_the_extractor_stays_and_the_output_layer_learns_first(recipe: Path, tmp_path: Path) -> None:
    """Checklist 4.10, section 4.3 of the paper: after `head_updates` the rest of the encoder learns too."""
    before = encoder_weights(recipe / "pretrained/final")
    for updates, learning in ((10, False), (15, True)):
        assert finetune(recipe, tmp_path / f"{updates}", "--set", f"train.max_updates={updates}") == 0
        after = encoder_weights(tmp_path / f"{updates}/final")
        for name, weight in before.items():
            assert torch.equal(after[name], weight) == (name.startswith("extractor.") or not learning), name


def test_a_resumed_training_gives_the_same_bytes(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    updates = ["--set", "train.max_updates=25"]
    assert finetune(recipe, tmp_path / "whole", *updates) == 0
    loss = CtcTask.loss

    def killed(task: CtcTask, model: nn.Module, batch: Batch) -> tuple[torch.Tensor, float, dict[str, float]]:
        if task.update() == 17:
            raise KeyboardInterrupt
        return loss(task, model, batch)

    with monkeypatch.context() as patch:
        patch.setattr(CtcTask, "loss", killed)
        assert finetune(recipe, tmp_path / "parts", *updates) == 130
    assert finetune(recipe, tmp_path / "parts", *updates) == 0
    first, second = ((tmp_path / name / "final/model.safetensors").read_bytes() for name in ("whole", "parts"))
    assert first == second


@pytest.mark.parametrize(
    ("folder", "message"),
    [("nowhere", "is not a pre-trained model"), ("exp/final", "holds a model of ctc, not a pre-trained one")],
)
def test_what_is_no_pretrained_model_is_refused(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], folder: str, message: str
) -> None:
    assert finetune(recipe, tmp_path / "exp", "--set", "train.max_updates=1") == 0
    init = tmp_path / folder
    assert main([*command(recipe), "--init", str(init), "--out", str(tmp_path / "x")]) == 1
    assert message in capsys.readouterr().err


def model() -> FinetunedEncoder:
    torch.manual_seed(0)
    transformer = TransformerConfig(
        dim=32, layers=2, heads=2, feed_forward=32, position_kernel=8, position_groups=4, dropout=0.0,
        attention_dropout=0.0,
    )  # fmt: skip
    return FinetunedEncoder(
        SpeechEncoderConfig(
            extractor=ExtractorConfig(dim=16),
            transformer=transformer,
            time_mask=SpanMaskConfig(probability=0.1, length=3),
            channel_mask=SpanMaskConfig(probability=0.05, length=4, least=1),
            input_dropout=0.0,
        ),
        num_tokens=5,
    )


def test_padding_is_blank_and_changes_nothing() -> None:
    """Checklist 4.10: beyond its frames an utterance emits blanks; alone it gives what it gives in a batch."""
    recogniser, waveforms = model().eval(), torch.randn(2, 8000)
    log_probs, lengths = recogniser(waveforms, torch.tensor([8000, 4000]))
    alone, _ = recogniser(waveforms[1:, :4000], torch.tensor([4000]))
    assert lengths.tolist() == [24, 12]
    torch.testing.assert_close(log_probs[1, :12], alone[0], atol=1e-5, rtol=1e-4)
    assert torch.equal(log_probs[1, 12:].exp(), torch.eye(5)[0].expand(12, 5))


def test_frames_and_channels_are_masked_in_training_only() -> None:
    """Checklist 4.10: time masks use the learned vector, channel masks write zeros."""
    recogniser, waveforms, lengths = model(), torch.randn(2, 8000), torch.tensor([8000, 8000])
    seen: list[torch.Tensor] = []
    recogniser.encoder.transformer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    recogniser.train()(waveforms, lengths)
    recogniser.eval()(waveforms, lengths)
    masked, plain = seen
    silenced = (masked == 0).all(1)
    assert silenced.sum(1).min() >= 4  # channels of each utterance
    replaced = (masked != plain).any(-1) & (masked - plain).masked_fill(silenced[:, None], 0).abs().sum(-1).gt(1e-4)
    assert replaced.any()
    vector = recogniser.encoder.time_mask.vector.masked_fill(silenced[0], 0)
    torch.testing.assert_close(masked[0][replaced[0]], vector.expand(int(replaced[0].sum()), -1))
    assert not (plain == 0).all(1).any()
