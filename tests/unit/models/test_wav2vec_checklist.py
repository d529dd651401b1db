"""The checklist of wav2vec, line by line: `test_2_NN_...` is line NN.

Line 10 is about letters, not about the model.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechkit.config.load import load_config
from speechkit.models import wav2vec
from speechkit.models.wav2vec import Wav2Vec, Wav2VecConfig, Wav2VecEncoder, Wav2VecEncoderConfig
from speechkit.nn.aggregator import AggregatorConfig
from speechkit.nn.waveform import UtteranceNorm
from speechkit.tasks.pretrain import PretrainConfig
from speechkit.train.schedule import learning_rate

PAPER = Path(__file__).parents[3] / "egs/librispeech/conf/paper"
SIZES = ("base", "large")
FIELDS = {"base": 3345, "large": 12945}  # samples


def paper(size: str) -> PretrainConfig:
    return load_config(PretrainConfig, PAPER / f"wav2vec_{size}_pretrain.yaml")


def small(size: str = "base", dim: int = 4) -> Wav2VecEncoderConfig:
    """The paper's layers, narrower."""
    config = paper(size).wav2vec.encoder
    return replace(config, extractor=replace(config.extractor, dim=dim))


def without_norms(encoder: Wav2VecEncoder, monkeypatch: pytest.MonkeyPatch) -> Wav2VecEncoder:
    """In float64, with positive weights, so that every sample in a field shows; norms, over all of time, are away."""
    monkeypatch.setattr(UtteranceNorm, "forward", lambda self, x, lengths: x)
    for parameter in encoder.parameters():
        parameter.data.abs_()
    return encoder.double()


def reference(encoder: Wav2VecEncoder, waveform: Tensor) -> tuple[Tensor, Tensor]:
    """z and c `(dim, T)` of one waveform through torch's layers."""
    config = encoder.config
    z = waveform.view(1, 1, -1)
    for weight, stride, norm in zip(
        encoder.extractor.weights, config.extractor.strides, encoder.extractor.norms, strict=True
    ):
        z = F.group_norm(F.conv1d(z, weight, stride=stride), 1, norm.weight, norm.bias).relu()
    z = (z.abs() + 1).log()
    c = z
    for conv, norm in zip(encoder.aggregator.convs, encoder.aggregator.norms, strict=True):
        padded = F.pad(c, (conv.kernel_size[0] - 1, 0), mode="replicate")
        y = F.group_norm(conv(padded), 1, norm.weight, norm.bias).relu()
        c = (y + c) * 0.5**0.5 if config.aggregator.skip else y
    return z[0], c[0]


@pytest.mark.parametrize("size", SIZES)
def test_2_01_group_norm_of_one_group_in_both_networks(size: str) -> None:
    """Over channels and time, and in float32 where other things are in bfloat16; a batch gives what each gives."""
    torch.manual_seed(0)
    encoder = Wav2VecEncoder(small(size, dim=8))
    for name, parameter in encoder.named_parameters():
        if "norms" in name:
            nn.init.uniform_(parameter, 0.5, 1.5)
    waveforms, lengths = torch.randn(2, 8000), torch.tensor([8000, 3000])
    waveforms[1, 3000:] = 7.0
    hidden = encoder(waveforms, lengths)
    for n, length in enumerate(lengths.tolist()):
        frames = int(hidden.lengths[n])
        for found, expected in zip(hidden.layers, reference(encoder, waveforms[n, :length]), strict=True):
            torch.testing.assert_close(found[n, :frames], expected.T, rtol=1e-3, atol=1e-4)
    seen: list[torch.dtype] = []
    for norm in [*encoder.extractor.norms, *encoder.aggregator.norms]:
        norm.register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        encoder(waveforms, lengths)
    assert len(seen) == len(encoder.config.extractor.kernels) + len(encoder.config.aggregator.kernels)
    assert set(seen) == {torch.float32}


@pytest.mark.parametrize("size", SIZES)
def test_2_02_causality_receptive_field_and_stride(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """465 samples of a frame, 3345 or 12945 of a context vector, 160 from one to the next: by changing samples."""
    torch.manual_seed(1)
    config = small(size)
    encoder, field = without_norms(Wav2VecEncoder(config), monkeypatch), FIELDS[size]
    frame = (field - 465) // 160  # the first whose field lies within
    waveform = torch.rand(1, field + 160 + 1000, dtype=torch.float64)
    whole = torch.tensor([waveform.shape[1]])
    plain = encoder(waveform, whole)

    def changed(sample: int) -> list[list[int]]:
        """Frames of each layer that a sample changes."""
        other = waveform.clone()
        other[0, sample] += 1e6
        layers = zip(encoder(other, whole).layers, plain.layers, strict=True)
        return [(one != two).any(2)[0].nonzero().flatten().tolist() for one, two in layers]

    # The field of context vector t is samples 160 (t - frame) to 160 (t - frame) + field - 1.
    for t in (frame, frame + 1):
        first = 160 * (t - frame)
        inside = [t in changed(sample)[1] for sample in (first, first + field // 2, first + field - 1)]
        assert all(inside)
        assert t not in changed(first + field)[1]
        assert first == 0 or t not in changed(first - 1)[1]
        frames = [t in changed(sample)[0] for sample in (160 * t - 1, 160 * t, 160 * t + 464, 160 * t + 465)]
        assert frames == [False, True, True, False]
    assert (config.window, config.hop, config.frame_rate) == (465, 160, 100)
    assert config.window + (config.aggregator.window - 1) * config.hop == field


def test_2_02_padding_on_the_left_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first frame is repeated: a constant stays one from the first context vector on. No frame is lost."""
    encoder = without_norms(Wav2VecEncoder(small()), monkeypatch)
    context = encoder.aggregator(torch.ones(1, 5, 4, dtype=torch.float64), torch.tensor([5]))
    torch.testing.assert_close(context, context[:, :1].expand(-1, 5, -1))
    whole = torch.rand(1, 20, 4, dtype=torch.float64)
    for frames in range(1, 20):
        torch.testing.assert_close(
            encoder.aggregator(whole[:, :frames], torch.tensor([frames])),
            encoder.aggregator(whole, torch.tensor([20]))[:, :frames],
        )


def test_2_03_2_04_binary_loss_and_its_number_of_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    """A logistic loss of each target and each of ten negatives (their formula and distribution: losses/): predictions
    of nothing give eleven times log 2 for each of the targets, of which there are T - k for step k."""
    torch.manual_seed(2)
    model = Wav2Vec(Wav2VecConfig(encoder=small(), offset=1))
    for parameter in model.predictions.parameters():
        nn.init.zeros_(parameter)
    loss = model(torch.randn(2, 16000), torch.tensor([16000, 4000]))
    targets = sum(frames - k for frames in (98, 23) for k in range(1, 13))
    assert (loss.count, model.config.negatives, model.config.steps) == (targets, 10, 12)
    assert float(loss.total) == pytest.approx(11 * 0.693147 * targets, rel=1e-5)
    assert loss.figures()["loss_m"] == pytest.approx(11 * 0.693147, rel=1e-5)


def test_2_05_affine_predictions_of_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """h_k has a matrix and a bias of its own, and predicts the frame that is offset + k - 1 later."""
    seen: dict[str, object] = {}

    def spy(predictions: object, targets: Tensor, lengths: Tensor, first: int, negatives: int) -> object:
        seen.update(predictions=list(predictions), targets=targets, first=first)  # type: ignore[call-overload]
        return binary(seen["predictions"], targets, lengths, first, negatives)

    binary = wav2vec.binary_contrastive_loss
    monkeypatch.setattr(wav2vec, "binary_contrastive_loss", spy)
    torch.manual_seed(3)
    model = Wav2Vec(Wav2VecConfig(encoder=small(), steps=3))
    assert [name for name, _ in model.predictions.named_parameters()] == [
        f"{k}.{part}" for k in range(3) for part in ("weight", "bias")
    ]
    waveforms, lengths = torch.randn(1, 8000), torch.tensor([8000])
    model(waveforms, lengths).total.backward()
    z, c = model.encoder(waveforms, lengths).layers
    torch.testing.assert_close(seen["targets"], z)
    for step, found in zip(model.predictions, seen["predictions"], strict=True):  # type: ignore[call-overload]
        torch.testing.assert_close(found, c @ step.weight.T + step.bias)
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


@pytest.mark.parametrize("size", SIZES)
def test_2_06_warm_up_and_cosine(size: str) -> None:
    train = paper(size).train
    rates = [learning_rate(train.schedule, update, train.max_updates) for update in (0, 500, train.max_updates)]
    assert rates == pytest.approx([1e-7, 5e-3, 1e-6])
    assert train.schedule.decay == "cosine"
    assert train.max_updates == 400_000


@pytest.mark.parametrize("size", SIZES)
def test_2_07_crops(size: str) -> None:
    """To the shortest utterance of a batch, at most 150,000 samples, ten of them in a batch."""
    config = paper(size)
    assert config.longest * 16000 == 150_000
    assert config.batches.max_duration == 10 * config.longest


def test_2_08_context_vectors_are_what_is_used() -> None:
    """512 values a hundred times a second; layer 1 is z, layer 2, the last one, c."""
    config = paper("base").wav2vec.encoder
    assert (config.num_layers, config.frame_rate) == (2, 100)
    encoder = Wav2VecEncoder(config).eval()
    with torch.inference_mode():
        hidden = encoder(torch.randn(1, 4000), torch.tensor([4000]))
        first = encoder(torch.randn(1, 4000), torch.tensor([4000]), 1)
    assert [layer.shape for layer in hidden.layers] == [(1, 23, 512)] * 2
    assert (len(first.layers), hidden.frame_rate) == (1, 100)


def test_2_09_compression_residual_scale_and_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    """log(|z| + 1); sums of two layers times sqrt(0.5), in large models only; offset = ceil(465 / 160)."""
    encoder = without_norms(Wav2VecEncoder(small("large")), monkeypatch)
    plain = Wav2VecEncoder(replace(encoder.config, log_compression=False)).double()
    plain.load_state_dict(encoder.state_dict())
    waveforms, lengths = torch.rand(1, 2000, dtype=torch.float64), torch.tensor([2000])
    torch.testing.assert_close(encoder.extract(waveforms, lengths)[0], plain.extract(waveforms, lengths)[0].log1p())
    for conv in encoder.aggregator.convs:
        for parameter in conv.parameters():
            nn.init.zeros_(parameter)
    x = torch.rand(1, 5, 4, dtype=torch.float64)
    torch.testing.assert_close(encoder.aggregator(x, torch.tensor([5])), x * 0.5**6)  # twelve layers
    assert paper("large").wav2vec.encoder.aggregator == AggregatorConfig(kernels=tuple(range(2, 14)), skip=True)
    assert paper("base").wav2vec.encoder.aggregator == AggregatorConfig(kernels=(3,) * 9)
    assert [paper(size).wav2vec.first_target for size in SIZES] == [3, 3]
    assert Wav2VecConfig(offset=1).first_target == 1
    with pytest.raises(ValueError, match="offset must be at least 1"):
        Wav2VecConfig(offset=0)
