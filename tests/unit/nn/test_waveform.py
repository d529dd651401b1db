"""The convolutional extractor against torch's convolutions and norms, and torchaudio's extractor."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechkit.nn.strided import strided_conv
from speechkit.nn.waveform import ExtractorConfig, FeatureExtractor, normalise_waveforms, scale_gradient


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (2, 2), (10, 5), (8, 4), (3, 1), (1, 2)])
def test_convolution_and_gradients_are_those_of_torch(kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    frames = 13 * stride
    x = torch.randn(3, frames, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, 4, kernel, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(5, dtype=torch.float64, requires_grad=True)
    found = strided_conv(x, weight, bias, stride)
    assert found.shape == (3, 13, 5)
    found = found[:, : (frames - kernel) // stride + 1]
    expected = F.conv1d(x.transpose(1, 2), weight, bias, stride).transpose(1, 2)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(expected)
    inputs = (x, weight, bias)
    for ours, theirs in zip(
        torch.autograd.grad(found, inputs, weights), torch.autograd.grad(expected, inputs, weights), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def reference(extractor: FeatureExtractor, waveform: Tensor) -> Tensor:
    """One utterance through torch's layers, `(T, dim)`."""
    config = extractor.config
    x = waveform.view(1, 1, -1)
    if config.normalise:
        x = F.layer_norm(x, x.shape[-1:])
    for i, (weight, stride) in enumerate(zip(extractor.weights, config.strides, strict=True)):
        padding = config.paddings[i] if config.paddings else 0
        x = F.conv1d(x, weight, extractor.biases[i] if config.bias else None, stride, padding)
        if config.norm == "layer":
            x = extractor.norms[i](x.transpose(1, 2)).transpose(1, 2)
        elif config.norm == "group":
            x = F.group_norm(x, 1, extractor.norms[i].weight, extractor.norms[i].bias)
        elif config.norm == "first" and i == 0:
            x = F.group_norm(x, config.dim, extractor.gain, extractor.shift)
        x = F.gelu(x) if config.activation == "gelu" else F.relu(x)
    return x[0].T


FIRST = ExtractorConfig(dim=6, kernels=(10, 3, 2), strides=(5, 2, 2), gradient_scale=1.0)
LAYER = ExtractorConfig(
    dim=6, kernels=(10, 3, 2), strides=(5, 2, 2), norm="layer", bias=True, normalise=True, gradient_scale=1.0
)


GROUP = ExtractorConfig(
    dim=6, kernels=(10, 3, 1), strides=(5, 2, 1), norm="group", activation="relu", gradient_scale=1.0
)
PADDED = ExtractorConfig(
    dim=6, kernels=(10, 8, 4, 4), strides=(5, 4, 2, 2), paddings=(3, 2, 1, 1), norm="none", activation="relu",
    bias=True, gradient_scale=1.0,
)  # fmt: skip


@pytest.mark.parametrize(
    "config",
    [FIRST, LAYER, GROUP, replace(PADDED, norm="group"), PADDED],
    ids=["first", "layer", "group", "both", "padded"],
)
def test_a_padded_batch_gives_what_each_utterance_gives_alone(config: ExtractorConfig) -> None:
    """Checklist 4.1: the norm over time of the first layer, or the norm over channels of each."""
    torch.manual_seed(1)
    extractor = FeatureExtractor(config).double()
    for parameter in extractor.parameters():
        nn.init.normal_(parameter)
    waveforms, lengths = torch.randn(3, 403, dtype=torch.float64) + 1.0, torch.tensor([403, 100, 251])
    found, frames = extractor(waveforms, lengths)
    parameters = tuple(extractor.parameters())
    ours, theirs = [], []
    for n, length in enumerate(lengths.tolist()):
        expected = reference(extractor, waveforms[n, :length])
        assert len(expected) == frames[n]
        torch.testing.assert_close(found[n, : frames[n]], expected)
        ours.append(found[n, : frames[n]].sin().sum())
        theirs.append(expected.sin().sum())
    for one, other in zip(
        torch.autograd.grad(torch.stack(ours).sum(), parameters),
        torch.autograd.grad(torch.stack(theirs).sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_gradients_are_scaled_and_a_frozen_extractor_keeps_nothing() -> None:
    """Checklist 4.2 and 4.10."""
    x = torch.ones(3, requires_grad=True)
    scale_gradient(2 * x, 0.1).sum().backward()
    torch.testing.assert_close(x.grad, torch.full((3,), 0.2))
    frozen = FeatureExtractor(ExtractorConfig(dim=4, gradient_scale=0.0))
    found, _ = frozen(torch.randn(1, 800), torch.tensor([800]))
    assert not found.requires_grad


def test_faint_and_silent_waveforms_stay_finite() -> None:
    extractor = FeatureExtractor(FIRST)
    for waveforms in (torch.zeros(1, 400), torch.full((1, 400), 0.5), 1e-12 * torch.randn(1, 400)):
        lengths = torch.tensor([400])
        assert extractor(waveforms, lengths)[0].isfinite().all()
        assert normalise_waveforms(waveforms, lengths).isfinite().all()


def test_equal_lengths_take_the_short_way_through_the_group_norm() -> None:
    torch.manual_seed(2)
    extractor = FeatureExtractor(GROUP).double()
    waveforms = torch.randn(2, 200, dtype=torch.float64)
    together, frames = extractor(waveforms, torch.tensor([200, 200]))
    padded, _ = extractor(F.pad(waveforms, (0, 60)), torch.tensor([200, 200]))
    mixed, _ = extractor(F.pad(waveforms, (0, 60)), torch.tensor([200, 260]))
    torch.testing.assert_close(together[0, : frames[0]], mixed[0, : frames[0]])
    torch.testing.assert_close(together[:, : frames[0]], padded[:, : frames[0]])


def test_paddings_of_cpc_give_a_frame_for_every_160_samples() -> None:
    """FACTS 1, must have 1: 20480 samples are exactly 128 latents."""
    config = ExtractorConfig(
        dim=4, kernels=(10, 8, 4, 4, 4), strides=(5, 4, 2, 2, 2), paddings=(3, 2, 1, 1, 1), norm="none"
    )
    found, frames = FeatureExtractor(config)(torch.randn(1, 20480), torch.tensor([20480]))
    assert (config.hop, config.window, frames.tolist(), found.shape[1]) == (160, 465, [128], 128)


@pytest.mark.parametrize("values", [{"strides": (5,)}, {"norm": "first", "bias": True}, {"paddings": (1,)}])
def test_impossible_layers_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="strides|bias|paddings"):
        ExtractorConfig(**values)  # type: ignore[arg-type]
