"""A padded batch gives each utterance what it gets alone."""

import pytest
import torch

from speechkit.models.acoustic import AcousticModel, AcousticModelConfig
from speechkit.nn.conv import ConvSubsampling
from speechkit.nn.transformer import TransformerConfig, TransformerEncoder

LENGTHS = [37, 50, 3, 1]


def transformer(norm_first: bool) -> TransformerConfig:
    return TransformerConfig(
        dim=16, layers=2, heads=2, feed_forward=32, position_kernel=8, position_groups=4, norm_first=norm_first
    )


def padded(sequences: list[torch.Tensor]) -> torch.Tensor:
    batch = torch.full((len(sequences), max(map(len, sequences)), sequences[0].shape[1]), 7.7)
    for row, sequence in zip(batch, sequences, strict=True):
        row[: len(sequence)] = sequence
    return batch


@pytest.mark.parametrize("norm_first", [False, True])
def test_transformer(norm_first: bool) -> None:
    torch.manual_seed(0)
    encoder = TransformerEncoder(transformer(norm_first)).eval()
    sequences = [torch.randn(length, 16) for length in LENGTHS]
    together = encoder(padded(sequences), torch.tensor(LENGTHS))
    for row, sequence in zip(together, sequences, strict=True):
        alone = encoder(sequence[None], torch.tensor([len(sequence)]))[0]
        torch.testing.assert_close(row[: len(sequence)], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("strides", [(1, 2), (2, 2), (3,)])
def test_acoustic_model_and_its_output_lengths(strides: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    config = AcousticModelConfig(in_dim=5, strides=strides, dilations=(1, 2), transformer=transformer(True))
    model = AcousticModel(config, num_tokens=7).eval()
    sequences = [torch.randn(length, 5) for length in LENGTHS]
    together, lengths = model(padded(sequences), torch.tensor(LENGTHS))
    assert lengths.tolist() == model.output_lengths(torch.tensor(LENGTHS)).tolist()
    for row, length, sequence in zip(together, lengths.tolist(), sequences, strict=True):
        alone, alone_lengths = model(sequence[None], torch.tensor([len(sequence)]))
        assert alone.shape[1] == alone_lengths.item() == length
        torch.testing.assert_close(row[:length], alone[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together.exp().sum(-1), torch.ones(together.shape[:2]))


def test_subsampling_rounds_up_at_each_layer() -> None:
    layer = ConvSubsampling(4, 8, (2, 2), dropout=0.0)
    lengths = layer.output_lengths(torch.arange(1, 10))
    assert lengths.tolist() == [1, 1, 1, 1, 2, 2, 2, 2, 3]


def test_every_parameter_gets_a_gradient() -> None:
    torch.manual_seed(0)
    config = AcousticModelConfig(in_dim=5, dilations=(1,), transformer=transformer(True))
    model = AcousticModel(config, num_tokens=7)
    log_probs, _ = model(torch.randn(2, 20, 5), torch.tensor([20, 11]))
    log_probs[..., 3].sum().backward()
    missing = [
        name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    # the bias of the keys shifts all scores of a query alike, which softmax cannot see; it is part of qkv.bias
    assert missing == []


def test_a_width_that_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of heads"):
        TransformerConfig(dim=10, heads=3)
