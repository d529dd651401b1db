"""The convolutional acoustic models: blind to padding, lengths, receptive fields, sizes of the papers."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from speechkit.config.load import load_config
from speechkit.models.convolutional import ConvModel, ConvModelConfig
from speechkit.nn.conv import Activation, ConvLayer
from speechkit.tasks.recognizer import CtcConfig

EGS = Path(__file__).parents[3] / "egs"
LENGTHS = [37, 50, 3, 1]


def small(activation: Activation, strides: tuple[int, ...] = (1, 2, 1), *, weight_norm: bool = True) -> ConvModel:
    torch.manual_seed(0)
    config = ConvModelConfig(
        in_dim=5,
        channels=(8, 6, 7),
        kernels=(5, 4, 3),
        strides=strides,
        activation=activation,
        weight_norm=weight_norm,
        dropout=0.3,
    )
    return ConvModel(config, num_tokens=4)


@pytest.mark.parametrize("activation", ["prelu", "glu"])
@pytest.mark.parametrize("strides", [(1, 1, 1), (1, 2, 1), (2, 3, 1)])
def test_a_padded_batch_gives_each_utterance_what_it_gets_alone(
    activation: Activation, strides: tuple[int, ...]
) -> None:
    model = small(activation, strides).eval()
    sequences = [torch.randn(length, 5) for length in LENGTHS]
    batch = torch.full((4, 50, 5), 7.7)
    for row, sequence in zip(batch, sequences, strict=True):
        row[: len(sequence)] = sequence
    together, lengths = model(batch, torch.tensor(LENGTHS))
    assert lengths.tolist() == model.output_lengths(torch.tensor(LENGTHS)).tolist()
    for row, length, sequence in zip(together, lengths.tolist(), sequences, strict=True):
        alone, alone_lengths = model(sequence[None], torch.tensor([len(sequence)]))
        assert alone.shape[1] == alone_lengths.item() == length
        torch.testing.assert_close(row[:length], alone[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together.exp().sum(-1), torch.ones(together.shape[:2]))


@pytest.mark.parametrize(("kernel", "stride"), [(5, 1), (4, 1), (5, 2), (4, 2), (1, 3)])
def test_a_layer_is_the_formula(kernel: int, stride: int) -> None:
    torch.manual_seed(1)
    layer = ConvLayer(3, 2, kernel, stride, "glu", 0.0, weight_norm=True).double()
    with torch.no_grad():
        assert layer.gain is not None
        layer.gain.uniform_(0.5, 2)
        layer.bias.normal_()
    x = torch.randn(1, 7, 3, dtype=torch.float64)
    found, lengths = layer(x, torch.tensor([7]))
    behind = (kernel - 1) // 2
    rows = []
    for start in range(0, 7, stride):
        values = []
        for channel in range(4):
            direction = layer.weight[channel] / layer.weight[channel].square().sum().sqrt()
            taps = [(start - behind + k, k) for k in range(kernel) if 0 <= start - behind + k < 7]
            total = sum((x[0, frame] * direction[:, k]).sum() for frame, k in taps)
            values.append(layer.gain[channel] * total + layer.bias[channel])
        rows.append(torch.stack([values[0] * torch.sigmoid(values[2]), values[1] * torch.sigmoid(values[3])]))
    assert lengths.tolist() == [len(rows)]
    torch.testing.assert_close(found[0], torch.stack(rows))


def seen(model: ConvModel, frames: int, output: int) -> tuple[int, int]:
    """First and last input frame that an output frame changes with."""
    x = torch.randn(1, frames, model.layers[0].weight.shape[1], dtype=torch.float64)
    lengths = torch.tensor([frames])
    before = model(x, lengths)[0][0, output]
    changing = []
    for frame in range(frames):
        other = x.clone()
        other[0, frame] += 1e3  # much, for the end of a long way through many layers
        if not torch.equal(model(other, lengths)[0][0, output], before):
            changing.append(frame)
    return changing[0], changing[-1]


@torch.no_grad()
def test_receptive_field_and_stride() -> None:
    # kernels 5, 4 and 3, the second at stride 2: 2 + 1 + 2 frames behind, 2 + 2 + 2 ahead
    for activation in ("prelu", "glu"):
        assert seen(small(activation).double().eval(), 40, 10) == (20 - 5, 20 + 6)


@torch.no_grad()
def test_receptive_fields_of_the_papers() -> None:
    """Narrow copies of the published stacks: 29 frames on TIMIT, and what growing kernels sum to on WSJ."""
    timit = load_config(CtcConfig, EGS / "timit/conf/paper/conv.yaml").conv
    wsj = load_config(CtcConfig, EGS / "wsj/conf/paper/gated-conv.yaml").conv
    for config, field in ((timit, 1 + 7 * 4), (wsj, 1 + 12 + sum(range(2, 15)) + 20)):
        assert config is not None
        narrow = ConvModelConfig(
            in_dim=2,
            channels=(4,) * len(config.kernels),
            kernels=config.kernels,
            strides=config.strides,
            activation=config.activation,
            weight_norm=config.weight_norm,
            dropout=0.0,
        )
        torch.manual_seed(0)
        first, last = seen(ConvModel(narrow, 3).double().eval(), 2 * field, field)
        assert last - first + 1 == field


def test_sizes_of_the_papers() -> None:
    timit = load_config(CtcConfig, EGS / "timit/conf/paper/conv.yaml").conv
    wsj = load_config(CtcConfig, EGS / "wsj/conf/paper/gated-conv.yaml").conv
    assert timit is not None
    assert wsj is not None
    # channels in, channels that the convolution gives, kernel: each line of wav2letter's file
    published = [
        (80, 200, 13), (100, 200, 3), (100, 200, 4), (100, 250, 5), (125, 250, 6), (125, 300, 7), (150, 350, 8),
        (175, 400, 9), (200, 450, 10), (225, 500, 11), (250, 500, 12), (250, 500, 13), (250, 600, 14), (300, 600, 15),
        (300, 750, 21), (375, 1000, 1),
    ]  # fmt: skip
    gated = sum(inside * outside * kernel + 2 * outside for inside, outside, kernel in published) + 31 * 501
    plain = (80 * 5 + 1) * 1000 + 6 * (1000 * 5 + 1) * 1000 + 7 + 40 * 1001
    for config, tokens, expected in ((timit, 40, plain), (wsj, 31, gated)):
        assert sum(each.numel() for each in ConvModel(config, tokens).parameters()) == expected
    assert round(plain / 1e6, 1) == 30.4
    assert round(gated / 1e6, 1) == 17.2


@pytest.mark.parametrize("path", ["timit/conf/conv.yaml", "wsj/conf/gated-conv.yaml"])
def test_models_of_the_miniatures_fit_a_laptop_and_give_a_frame_every_20_ms(path: str) -> None:
    config = load_config(CtcConfig, EGS / path).conv
    assert config is not None
    model = ConvModel(config, 50)
    assert sum(each.numel() for each in model.parameters()) < 3e6
    assert model.output_lengths(torch.tensor([100, 101])).tolist() == [50, 51]


@pytest.mark.parametrize("activation", ["prelu", "glu"])
def test_the_scale_of_the_features_arrives_at_the_last_layer(activation: Activation) -> None:
    """In training, dropout included: neither vanishing nor growing over many layers."""
    torch.manual_seed(0)
    config = ConvModelConfig(
        in_dim=96, channels=(96,) * 12, kernels=(3,) * 12, strides=(1,) * 12, activation=activation, dropout=0.25
    )
    x, squares = torch.randn(4, 200, 96), []
    for layer in ConvModel(config, 3).layers:
        x, _ = layer(x, torch.full((4,), 200))
        squares.append(float(x.detach().square().mean()))
    assert squares[0] == pytest.approx(1, rel=0.15)
    assert 1 / 3 < squares[-1] < 3


def test_every_parameter_gets_a_gradient() -> None:
    model = small("glu")
    F.nll_loss(model(torch.randn(2, 20, 5), torch.tensor([20, 11]))[0].flatten(0, 1), torch.arange(20) % 4).backward()
    assert [name for name, each in model.named_parameters() if each.grad is None or not each.grad.any()] == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kernels": (5,)}, r"kernels \(1\).*an entry for each layer"),
        ({"channels": (), "kernels": (), "strides": ()}, "an entry for each layer"),
        ({"strides": (1, 1, 1, 1, 1, 1, 0)}, "at least 1"),
        ({"dropout": 1.0}, "dropout must be in"),
    ],
)
def test_what_cannot_be_built_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ConvModelConfig(**changes)  # type: ignore[arg-type]
