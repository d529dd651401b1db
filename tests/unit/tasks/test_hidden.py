"""A layer of a model as features of another one: stored by the command, and trained on by the command."""

from pathlib import Path

import pytest
import torch
import yaml
from sounds import read_sound, write_sounds

from speechkit.cli import main
from speechkit.common.errors import SpeechkitError
from speechkit.common.seeds import seed_everything
from speechkit.config.load import from_dict
from speechkit.data.batches import load_cuts, stored_features
from speechkit.features.cmvn import Cmvn, CmvnStats
from speechkit.models.wav2vec2 import Wav2Vec2
from speechkit.tasks.pretrain import PretrainConfig, load_encoder, save_pretrained
from speechkit.tasks.recognizer import CtcConfig, Recognizer, initialised
from speechkit.tasks.sources import Layer
from speechkit.text.lang import make_lang

ENCODER = {
    "extractor": {"dim": 16},
    "transformer": {
        "dim": 24, "layers": 2, "heads": 2, "feed_forward": 32, "position_kernel": 8, "position_groups": 4,
    },
}  # fmt: skip
RECOGNISER = {
    "model": {
        "in_dim": 24, "strides": [1], "dilations": [1],
        "transformer": {
            "dim": 16, "layers": 1, "heads": 2, "feed_forward": 16, "position_kernel": 4, "position_groups": 2,
        },
    },
    "batches": {"max_duration": 10, "workers": 0, "normalisation": "speaker"},
    "augment": {"frequency_masks": 0, "time_width": 0},
    "train": {"max_updates": 2, "validate_every": 2, "average_best": 1},
}  # fmt: skip
STATISTICS = Cmvn(CmvnStats.of(torch.randn(9, 24)))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings, and beside them a model that was not trained."""
    folder = write_sounds(tmp_path_factory.mktemp("sounds"), train=4)
    config = from_dict(PretrainConfig, {"wav2vec2": {"encoder": ENCODER}}, "test")
    seed_everything(0)
    save_pretrained(folder / "model", config, Wav2Vec2(config.wav2vec2).state_dict())
    return folder


def extract(data: Path, out: Path, *more: str) -> int:
    return main(["features", "--in", str(data), "--out", str(out), "--nj", "1", *more])


@pytest.mark.parametrize("nj", ["1", "2"])
def test_hidden_states_are_stored_beside_their_statistics(data: Path, tmp_path: Path, nj: str) -> None:
    layer = ["--checkpoint", str(data / "model"), "--layer", "2"]
    assert extract(data, tmp_path / "hidden", *layer, "--nj", nj) == 0
    encoder, every = load_encoder(data / "model"), []
    for split in ("train", "dev"):
        for cut in load_cuts(tmp_path / f"hidden/cuts_{split}.jsonl.gz"):
            waveform = torch.from_numpy(read_sound(data, cut.id))
            hidden = encoder(waveform[None], torch.tensor([len(waveform)]))
            (found,) = stored_features([cut])
            expected = hidden.layers[1][0]
            assert found.shape == expected.shape == (cut.features.num_frames, cut.features.num_features)
            assert (found - expected).abs().max() <= 2**-9 + 1e-6
            assert (cut.features.frame_shift, cut.features.type) == (0.02, "layer-2")
            every += [expected] if split == "train" else []
    statistics = Cmvn.load(tmp_path / "hidden/cmvn.safetensors").stats()
    torch.testing.assert_close(
        statistics.total / statistics.count, torch.cat(every).mean(0).double(), atol=1e-4, rtol=0
    )


def test_a_model_is_trained_on_them(data: Path, tmp_path: Path) -> None:
    """Frames are 20 ms, and nothing else has to be said."""
    assert extract(data, tmp_path / "hidden", "--checkpoint", str(data / "model"), "--layer", "1") == 0
    make_lang("char", ["a"]).save(tmp_path / "lang")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(RECOGNISER))
    folders = ["--data", str(tmp_path / "hidden"), "--lang", str(tmp_path / "lang"), "--out", str(tmp_path / "exp")]
    assert main(["train", "--config", str(tmp_path / "config.yaml"), *folders]) == 0
    recognizer = Recognizer.load(tmp_path / "exp/final")
    cut = next(iter(load_cuts(tmp_path / "hidden/cuts_dev.jsonl.gz")))
    assert recognizer.frame_shift(cut) == pytest.approx(0.02)
    batch = recognizer.dataset(Cmvn.load(tmp_path / "hidden/cmvn.safetensors"))[[cut]]
    assert batch.lengths.tolist() == [recognizer.num_frames(cut)] == [cut.features.num_frames]


def test_layers_of_a_fine_tuned_model(data: Path, tmp_path: Path) -> None:
    """They are those of its encoder; a model of features has none."""
    config, weights = initialised(CtcConfig(), data / "model")
    recognizer = Recognizer(config, make_lang("char", ["a"]), Cmvn())
    recognizer.load_encoder(weights)
    recognizer.save(tmp_path / "tuned", recognizer.module.state_dict())
    waveforms = [torch.from_numpy(read_sound(data, "dev0"))]
    assert torch.equal(Layer(tmp_path / "tuned", 2)(waveforms)[0], Layer(data / "model", 2)(waveforms)[0])
    plain = Recognizer(from_dict(CtcConfig, RECOGNISER, "test"), make_lang("char", ["a"]), STATISTICS)
    plain.save(tmp_path / "plain", plain.module.state_dict())
    with pytest.raises(SpeechkitError, match="reads features; name a pre-trained or fine-tuned model"):
        Layer(tmp_path / "plain", 1)


def test_what_does_not_go_together(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layer = ["--checkpoint", str(data / "model"), "--layer", "1"]
    for arguments, code, message in (
        (["--layer", "1"], 2, "--checkpoint and --layer go together"),
        (["--checkpoint", str(data / "model"), "--layer", "3"], 1, "has layers 1 to 2, not 3"),
        ([*layer, "--speeds", "0.9,1.0"], 2, "--config, --set and --speeds are for log-mel features"),
    ):
        assert extract(data, tmp_path / "x", *arguments) == code
        assert message in capsys.readouterr().err
