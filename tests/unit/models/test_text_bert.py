"""BERT over characters: padding, what is added to its input, and what it refuses. Parity is in tests/unit/interop."""

import pytest
import torch
from torch import Tensor, nn

from speechkit.common.errors import SpeechkitError
from speechkit.models.text_bert import TextBert, TextBertConfig

VOCABULARY, DIM = 9, 12
SIZES = TextBertConfig(dim=DIM, layers=2, heads=3, feed_forward=20, positions=7)


def model_of(config: TextBertConfig = SIZES) -> TextBert:
    torch.manual_seed(0)
    model = TextBert(config, VOCABULARY).double().eval()
    with torch.no_grad():  # nothing is a one or a zero by chance
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return model


def batch() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randint(VOCABULARY, (3, 6)), torch.tensor([6, 2, 4])


def test_padding_changes_nothing() -> None:
    model, (tokens, lengths) = model_of(), batch()
    extra = torch.randn(3, 6, DIM, dtype=torch.double)
    with torch.inference_mode():
        together = model(tokens, lengths, extra)
        for row, length in enumerate(lengths.tolist()):
            part = slice(row, row + 1), slice(length)
            alone = model(tokens[part], lengths[row : row + 1], extra[part])
            torch.testing.assert_close(together[row, :length], alone[0])
            assert (together[row, length:] == 0).all()


def test_extra_is_added_to_the_embeddings_before_their_norm() -> None:
    """As if the tokens had other vectors: each of these rows has a token of its own."""
    model, tokens, lengths = model_of(), torch.tensor([[3, 5, 1], [2, 7, 8]]), torch.tensor([3, 3])
    extra = torch.randn(2, 3, DIM, dtype=torch.double)
    with torch.inference_mode():
        found = model(tokens, lengths, extra)
        model.tokens.weight[tokens.flatten()] += extra.flatten(0, 1)
        torch.testing.assert_close(found, model(tokens, lengths))


def test_the_head_by_its_formula() -> None:
    """Dense layer, GELU, norm; then the product with the matrix of the input, and a bias."""
    model, hidden = model_of(), torch.randn(4, DIM, dtype=torch.double)
    dense, norm = model.head[0], model.head[2]
    x = hidden @ dense.weight.T + dense.bias
    x = x * 0.5 * (1 + torch.erf(x / 2**0.5))
    x = x - x.mean(1, keepdim=True)
    x = x / (x.pow(2).mean(1, keepdim=True) + 1e-12).sqrt() * norm.weight + norm.bias
    torch.testing.assert_close(model.predict(hidden), x @ model.tokens.weight.T + model.bias)


def test_all_norms_have_the_epsilon_of_the_configuration() -> None:
    norms = [each for each in model_of().modules() if isinstance(each, nn.LayerNorm)]
    assert [each.eps for each in norms] == [1e-12] * 6


def test_what_does_not_fit() -> None:
    with pytest.raises(SpeechkitError, match="a text of 8 tokens does not fit this BERT, which has 7 positions"):
        model_of()(torch.zeros(1, 8, dtype=torch.long), torch.tensor([8]))
    with pytest.raises(ValueError, match="norm_first is false in BERT"):
        TextBertConfig(norm_first=True)
