"""The Transformer language model against torch's own layers, its own definition, and padding."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from speechkit.lm.transformer_lm import TransformerLm, sinusoids
from speechkit.nn.transformer import StackConfig

CPU = torch.device("cpu")
VOCAB = 11
LENGTHS = [7, 1, 12, 4]


def make(norm_first: bool = True, **options: float) -> TransformerLm:
    torch.manual_seed(0)
    config = StackConfig(dim=16, layers=3, heads=4, feed_forward=24, norm_first=norm_first, **options)  # type: ignore[arg-type]
    model = TransformerLm(config, VOCAB)
    for parameter in model.parameters():  # norms and biases too
        nn.init.normal_(parameter, std=0.5)
    return model.eval()


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(1, VOCAB, (len(LENGTHS), max(LENGTHS)), generator=generator)
    for row, length in zip(tokens, LENGTHS, strict=True):
        row[length - 1] = 0
    return tokens, torch.tensor(LENGTHS)


def torch_log_probs(model: TransformerLm, tokens: Tensor) -> Tensor:
    """Log-probabilities `(T, V)` along one sentence, by `torch.nn.TransformerEncoder` with the same weights."""
    config = model.config
    layer = nn.TransformerEncoderLayer(
        config.dim, config.heads, config.feed_forward, 0.0, "gelu", batch_first=True, norm_first=config.norm_first
    )
    stack = nn.TransformerEncoder(layer, config.layers, model.norm if config.norm_first else None, False)
    names = {
        "self_attn.in_proj_": "qkv.", "self_attn.out_proj.": "attention_out.", "linear1.": "feed_forward_in.",
        "linear2.": "feed_forward_out.", "norm1.": "attention_norm.", "norm2.": "feed_forward_norm.",
    }  # fmt: skip
    for theirs, ours in zip(stack.layers, model.blocks, strict=True):
        state = ours.state_dict()
        theirs.load_state_dict(
            {f"{their}{kind}": state[f"{our}{kind}"] for their, our in names.items() for kind in ("weight", "bias")}
        )
    count, half = len(tokens), config.dim // 2
    angles = [[place / 10_000 ** (index / (half - 1)) for index in range(half)] for place in range(count)]
    positions = torch.tensor(np.concatenate([np.sin(angles), np.cos(angles)], axis=1), dtype=torch.float32)
    before = torch.cat([torch.zeros(1, dtype=torch.int64), tokens[:-1]])
    x = model.embedding[before] * math.sqrt(config.dim) + positions
    mask = nn.Transformer.generate_square_subsequent_mask(count)
    return (stack.eval()(x[None], mask=mask, is_causal=True)[0] @ model.embedding.T).log_softmax(-1)


@pytest.mark.parametrize("norm_first", [True, False])
def test_it_is_torchs_transformer_with_a_causal_mask(norm_first: bool) -> None:
    model, (tokens, lengths) = make(norm_first), batch()
    with torch.no_grad():
        found, scores = model.log_probs(tokens, lengths), model(tokens, lengths)
        for row, length in enumerate(LENGTHS):
            expected = torch_log_probs(model, tokens[row, :length])
            torch.testing.assert_close(found[row, :length], expected, atol=1e-4, rtol=1e-4)
            each = expected[torch.arange(length), tokens[row, :length]]
            torch.testing.assert_close(scores[row, :length], each, atol=1e-4, rtol=1e-4)
            assert not scores[row, length:].any()


def test_the_future_changes_nothing() -> None:
    model, (tokens, lengths) = make(), batch()
    tokens, lengths = tokens[2:3], lengths[2:3]
    with torch.no_grad():
        before = model.log_probs(tokens, lengths)
        for place in range(tokens.shape[1]):
            changed = tokens.clone()
            changed[0, place:] = (changed[0, place:] + 1) % VOCAB
            after = model.log_probs(changed, lengths)
            assert torch.equal(after[0, : place + 1], before[0, : place + 1])
            if place + 1 < tokens.shape[1]:
                assert not torch.allclose(after[0, place + 1 :], before[0, place + 1 :], atol=1e-3)


def test_a_sentence_has_the_sum_of_what_each_step_gives() -> None:
    model, (tokens, lengths) = make(), batch()
    with torch.no_grad():
        together = model(tokens, lengths)
        for row, length in enumerate(LENGTHS):
            total = 0.0
            for place in range(length):  # the token at `place` of a prefix is not seen: any will do
                prefix = torch.cat([tokens[row, :place], torch.tensor([5])])[None]
                total += float(model.log_probs(prefix, torch.tensor([place + 1]))[0, place, tokens[row, place]])
            assert float(together[row].sum()) == pytest.approx(total, abs=1e-4)


def test_all_short_sentences_and_longer_prefixes_sum_to_one() -> None:
    model = make()
    one, two = torch.zeros(1, 1, dtype=torch.int64), torch.zeros(VOCAB - 1, 2, dtype=torch.int64)
    two[:, 0] = torch.arange(1, VOCAB)
    with torch.no_grad():
        ended = float(model(one, torch.tensor([1])).exp()) + float(
            model(two, torch.full((VOCAB - 1,), 2)).sum(1).exp().sum()
        )
        log_probs = model.log_probs(two, torch.full((VOCAB - 1,), 2))
        longer = log_probs[:, 0].gather(1, two[:, :1]).exp() * log_probs[:, 1, 1:].exp().sum(1, keepdim=True)
    assert ended + float(longer.sum()) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_are_those_of_sentences_alone(checkpointing: bool) -> None:
    model = make(dropout=0.0, attention_dropout=0.0, checkpointing=checkpointing).train()
    tokens, lengths = batch()
    model(tokens, lengths).sum().backward()
    together = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}  # type: ignore[union-attr]
    model.zero_grad()
    for row, length in enumerate(LENGTHS):
        model(tokens[row : row + 1, :length], torch.tensor([length])).sum().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, together[name], atol=1e-3, rtol=1e-3)


def test_positions_are_waves_of_falling_rates() -> None:
    found = sinusoids(30, 8, CPU)
    torch.testing.assert_close(found[0], torch.tensor([0.0] * 4 + [1.0] * 4))
    torch.testing.assert_close(found[:, 0], torch.arange(30.0).sin())
    torch.testing.assert_close(found[:, 7], (torch.arange(30.0) / 10_000).cos())
