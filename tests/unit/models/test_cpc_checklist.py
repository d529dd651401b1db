"""The checklist of CPC, line by line: `test_1_NN_...` is line NN. The loss itself is in losses/test_infonce.py.

Line 6, a state carried from window to window, is an option that is left out: the state is zero before each.
"""

import json
import math
from pathlib import Path

import pytest
import torch
import yaml
from lhotse import CutSet
from sounds import write_sounds
from torch import Tensor, nn
from torch.nn import functional as F

from speechkit.cli import main
from speechkit.config.load import load_config
from speechkit.losses.infonce import NegativesConfig, info_nce
from speechkit.models.cpc import Cpc, CpcConfig, CpcEncoder, CpcEncoderConfig, CpcExtractorConfig
from speechkit.tasks.pretrain import PretrainConfig, load_encoder
from speechkit.tasks.sources import Layer

PAPER = Path(__file__).parents[3] / "egs/librispeech/conf/paper/cpc_pretrain.yaml"
PRETRAINING = {
    "method": "cpc", "cpc": {"encoder": {"extractor": {"dim": 16}, "context_dim": 12}, "steps": 3},
    "shortest": 0.3, "longest": 0.3, "batches": {"max_duration": 1.2, "speakers": 2, "workers": 0},
    "train": {"max_updates": 3, "validate_every": 3, "average_best": 1},
}  # fmt: skip


def small(**changes: object) -> CpcConfig:
    encoder = CpcEncoderConfig(extractor=CpcExtractorConfig(dim=32), context_dim=24)
    return CpcConfig(encoder=encoder, **changes)  # type: ignore[arg-type]


def encoder_with_long_memory() -> CpcEncoder:
    torch.manual_seed(0)
    encoder = CpcEncoder(small().encoder).double().eval()
    nn.init.constant_(encoder.context.bias_ih_l0, 0.5)
    return encoder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three updates by the command on recordings of five sounds by two speakers."""
    folder = write_sounds(tmp_path_factory.mktemp("sounds"))
    for split in ("train", "dev"):
        path = folder / f"cuts_{split}.jsonl.gz"
        cuts = list(CutSet.from_file(path))
        for number, cut in enumerate(cuts):
            cut.supervisions[0].speaker = "ab"[number % 2]
        CutSet.from_cuts(cuts).to_file(path)
    (folder / "config.yaml").write_text(yaml.safe_dump(PRETRAINING))
    arguments = ["--config", str(folder / "config.yaml"), "--data", str(folder), "--out", str(folder / "model")]
    assert main(["pretrain", *arguments]) == 0
    return folder


def changed_frames(encoder: CpcEncoder, waveform: Tensor, sample: int, layer: int) -> list[int]:
    """Frames of a layer that are others when one sample is another."""
    other = waveform.clone()
    other[0, sample] += 1.0
    lengths = torch.tensor([waveform.shape[1]])
    with torch.no_grad():
        first, second = (encoder(each, lengths).layers[layer - 1][0] for each in (waveform, other))
    return (first != second).any(1).nonzero().flatten().tolist()


def test_1_01_160_samples_a_frame_and_128_latents_of_20480() -> None:
    """Kernels 10,8,4,4,4 and strides 5,4,2,2,2 of 512 channels with paddings 3,2,1,1,1."""
    config = CpcEncoderConfig()
    extractor = config.extractor
    assert (extractor.kernels, extractor.strides, extractor.paddings) == (
        (10, 8, 4, 4, 4), (5, 4, 2, 2, 2), (3, 2, 1, 1, 1),
    )  # fmt: skip
    assert (extractor.dim, extractor.activation, extractor.norm, extractor.gradient_scale) == (512, "relu", "none", 1.0)
    assert (config.hop, config.frame_rate, config.context_dim, config.num_layers) == (160, 100, 256, 2)
    torch.manual_seed(0)
    encoder = CpcEncoder(small().encoder)
    waveforms, lengths = torch.randn(2, 20480), torch.tensor([20480, 20480])
    hidden = encoder(waveforms, lengths)
    assert [tuple(each.shape) for each in hidden.layers] == [(2, 128, 32), (2, 128, 24)]
    assert hidden.lengths.tolist() == [128, 128]
    assert hidden.frame_rate == 100
    assert len(encoder(waveforms, lengths, 1).layers) == 1
    # The same as plain convolutions.
    x = waveforms.unsqueeze(1)
    for weight, bias, stride, padding in zip(
        encoder.extractor.weights, encoder.extractor.biases, extractor.strides, extractor.paddings, strict=True
    ):
        x = F.relu(F.conv1d(x, weight, bias, stride, padding))
    torch.testing.assert_close(hidden.layers[0], x.transpose(1, 2), rtol=1e-4, atol=1e-4)


def test_1_01_field_and_stride_measured_by_samples() -> None:
    """Frame t sees the 465 samples from 160 t - 153 on, and no others."""
    encoder = encoder_with_long_memory()
    waveform = torch.randn(1, 3200, dtype=torch.float64)
    seen: dict[int, list[int]] = {5: [], 6: []}
    for sample in range(640, 1280):
        frames = changed_frames(encoder, waveform, sample, layer=1)
        for frame, samples in seen.items():
            if frame in frames:
                samples.append(sample)
    for frame, samples in seen.items():
        assert (samples[0], samples[-1]) == (160 * frame - 153, 160 * frame - 153 + 464)
        assert len(samples) > 450  # the others meet only units that are off


def test_1_02_the_context_is_causal() -> None:
    """A sample changes c_t from the first frame that sees it on, and no frame before that."""
    encoder = encoder_with_long_memory()
    waveform = torch.randn(1, 3200, dtype=torch.float64)
    for sample in (0, 1111, 1600, 3000):
        first = max(0, -(-(sample + 153 - 464) // 160))
        latents, contexts = (changed_frames(encoder, waveform, sample, layer) for layer in (1, 2))
        assert latents[0] == contexts[0] == first
        assert contexts == list(range(first, 20))
        assert latents[-1] <= first + 3
    # c_t is the same whatever comes later, and does not know z_{t+1}.
    whole = encoder(waveform, torch.tensor([3200])).layers
    alone = encoder.context(whole[0][:, :8])[0]
    torch.testing.assert_close(alone, whole[1][:, :8])


def test_1_02_padding_changes_nothing() -> None:
    encoder = encoder_with_long_memory()
    waveforms, lengths = torch.randn(2, 3200, dtype=torch.float64), torch.tensor([3200, 2000])
    batch = encoder(waveforms, lengths)
    alone = encoder(waveforms[1:, :2000], lengths[1:])
    assert batch.lengths.tolist() == [20, int(alone.lengths)]
    for together, single in zip(batch.layers, alone.layers, strict=True):
        torch.testing.assert_close(together[1, : int(alone.lengths)], single[0])


def test_1_03_a_predictor_for_each_step_and_an_average_over_steps() -> None:
    """W_k from 24 to 32 without bias; the last k positions have no step k; shorter windows leave steps out."""
    torch.manual_seed(1)
    model = Cpc(small(negatives=NegativesConfig(count=6)))
    assert [tuple(each.weight.shape) for each in model.predictors] == [(32, 24)] * 12
    assert all(each.bias is None for each in model.predictors)
    waveforms = torch.randn(3, 3200)
    for samples, steps in ((3200, 12), (1600, 9)):
        lengths = torch.full((3,), samples)
        torch.manual_seed(2)
        loss = model(waveforms[:, :samples], lengths)
        frames = samples // 160
        assert loss.steps.count.tolist() == [3 * max(0, frames - k) for k in range(1, 13)]
        average = sum(float(loss.steps.loss[k - 1].detach()) / (3 * (frames - k)) for k in range(1, steps + 1)) / steps
        assert loss.figures()["loss_m"] == pytest.approx(average, rel=1e-5)
        assert float(loss.total.detach()) / loss.count == pytest.approx(average, rel=1e-5)
        loss.total.backward()
        for k, each in enumerate(model.predictors, start=1):
            assert each.weight.grad is not None
            assert bool(each.weight.grad.abs().sum() > 0) == (k <= steps)
        model.zero_grad()
    # Every part learns.
    model(waveforms, torch.full((3,), 3200)).total.backward()
    assert all(each.grad is not None and bool(each.grad.abs().sum() > 0) for each in model.parameters())


def test_1_04_accuracy_of_every_step_against_chance(trained: Path) -> None:
    """The positive is at index 0 of 1 + negatives; equal scores are a loss of log(1 + negatives), and a collapse."""
    config = small(negatives=NegativesConfig(count=127))
    model = Cpc(config)
    torch.manual_seed(3)
    latents, context, lengths = torch.randn(2, 64, 32), torch.randn(2, 64, 24), torch.tensor([64, 64])
    for each in model.predictors:
        nn.init.zeros_(each.weight)
    sums = info_nce(context, latents, lengths, model.predictors, config.negatives)
    torch.testing.assert_close(sums.loss / sums.count, torch.full((12,), math.log(128)))
    assert model.collapse().chance == pytest.approx(math.log(128))
    rng_model = Cpc(config)
    shares = info_nce(context, latents, lengths, rng_model.predictors, config.negatives)
    assert float((shares.right / shares.count).mean()) == pytest.approx(1 / 128, abs=0.015)
    rows = [json.loads(line) for line in (trained / "model/log.jsonl").read_text().splitlines()]
    names = {f"accuracy_{step}" for step in (1, 2, 3)} | {"accuracy", "loss_m"}
    assert {row["kind"] for row in rows if names <= row.keys()} == {"train", "dev"}


def test_1_05_negatives_follow_the_policy(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All five rows of the paper's table 2 are trained by the command; what each draws is in test_infonce.py."""
    for source, current in (("mixed", "true"), ("mixed", "false"), ("speaker", "true"), ("speaker", "false"),
                            ("sequence", "true")):  # fmt: skip
        arguments = ["--config", str(trained / "config.yaml"), "--data", str(trained)]
        arguments += ["--set", f"cpc.negatives.source={source}", "--set", f"cpc.negatives.current={current}"]
        assert main(["pretrain", *arguments, "--out", str(tmp_path / f"{source}-{current}")]) == 0
    capsys.readouterr()
    arguments = ["--config", str(trained / "config.yaml"), "--data", str(trained), "--out", str(tmp_path / "none")]
    assert main(["pretrain", *arguments, "--set", "cpc.negatives.source=sequence", "--set",
                 "cpc.negatives.current=false"]) == 2  # fmt: skip
    assert "set current to true" in capsys.readouterr().err


def test_1_06_the_state_is_zero_before_each_window() -> None:
    encoder = encoder_with_long_memory()
    waveform = torch.randn(1, 1600, dtype=torch.float64)
    first = encoder(waveform, torch.tensor([1600])).layers[1]
    encoder(torch.randn(1, 1600, dtype=torch.float64), torch.tensor([1600]))
    assert torch.equal(encoder(waveform, torch.tensor([1600])).layers[1], first)


def test_1_07_frozen_frames_at_100_hz(trained: Path) -> None:
    """What the probe and the features read is c_t of the trained encoder, in evaluation, which nothing changes."""
    encoder, source = load_encoder(trained / "model/final"), Layer(trained / "model/final", 2)
    waveform = 0.1 * torch.randn(8000)
    (frames,) = source([waveform])
    assert (source.frame_rate, tuple(frames.shape)) == (100, (50, 12))
    assert torch.equal(frames, encoder(waveform[None], torch.tensor([8000])).layers[1][0])
    before = (trained / "model/final/model.safetensors").read_bytes()
    arguments = [
        "--train",
        str(trained / "cuts_train.jsonl.gz"),
        "--test",
        str(trained / "cuts_dev.jsonl.gz"),
        "--nj",
        "1",
    ]
    layer = ["--checkpoint", str(trained / "model/final"), "--layer", "2"]
    assert main(["probe", *arguments, *layer, "--out", str(trained / "probe")]) == 0
    assert json.loads((trained / "probe/probe.json").read_text())["frame_rate"] == 100
    assert (trained / "model/final/model.safetensors").read_bytes() == before


def test_1_08_the_score_is_the_sum_over_dimensions() -> None:
    """As in the paper, where later code takes the mean: z and W c of ones in D dimensions score D."""
    predictor = nn.Linear(2, 8, bias=False)
    nn.init.constant_(predictor.weight, 0.5)
    latents = torch.zeros(1, 3, 8)
    latents[0, 1] = 1.0  # the positive of frame 0; its only negatives are frames 0 and 2, of score 0
    config = NegativesConfig(count=4, source="sequence")
    sums = info_nce(torch.ones(1, 3, 2), latents, torch.tensor([3]), [predictor], config)
    first = math.log(1 + 4 * math.exp(-8))
    assert float(sums.loss[0].detach()) > first  # of frame 0; frame 1 has a positive of score 0
    only = info_nce(torch.ones(1, 2, 2), latents[:, :2], torch.tensor([2]), [predictor], config)
    assert float(only.loss[0].detach()) == pytest.approx(first, rel=1e-3)


def test_the_papers_configuration() -> None:
    config = load_config(PretrainConfig, PAPER)
    assert config.method == "cpc"
    assert config.cpc == CpcConfig()
    assert (config.shortest, config.longest) == (1.28, 1.28)
    assert config.batches.max_duration / config.longest == 8
    assert (config.train.schedule.peak, config.train.betas, config.train.weight_decay) == (2e-4, (0.9, 0.999), 0.0)
    assert config.train.max_updates == 300_000
    convolutions = 512 * 10 + 512 + 512 * 512 * (8 + 4 + 4 + 4) + 4 * 512
    gru = 3 * 256 * (512 + 256 + 2)
    assert sum(each.numel() for each in Cpc(config.cpc).parameters()) == convolutions + gru + 12 * 256 * 512
