"""BERT over codes: loss and gradient by the formula, masks, padding, and transformers' BERT with the same weights."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from speechkit.models.code_bert import CodeBert, CodeStackConfig
from speechkit.nn.masking import SpanMaskConfig, span_mask

CODES, DIM = 7, 12
MASK = SpanMaskConfig(probability=0.05, length=10)


def model_of(
    *,
    norm_first: bool = False,
    unknown: int | None = None,
    mask: SpanMaskConfig = MASK,
    layers: int = 2,
    position_kernel: int = 0,
) -> CodeBert:
    torch.manual_seed(0)
    config = CodeStackConfig(
        dim=DIM, layers=layers, heads=3, feed_forward=20, norm_first=norm_first, position_kernel=position_kernel
    )
    model = CodeBert(config, mask, CODES, unknown).double().eval()
    with torch.no_grad():  # nothing is a one or a zero by chance
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Codes of two utterances of 9 and 6, and what is masked; padding holds codes and is marked too."""
    torch.manual_seed(1)
    masked = torch.tensor([[0, 1, 1, 1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 1, 1, 1, 1, 1]]).bool()
    return torch.randint(CODES, (2, 9)), torch.tensor([9, 6]), masked


# The model in numpy, one utterance at a time: section 3 of Vaswani et al. 2017 with BERT's GELU and output layer.


def norm(x: np.ndarray, gain: np.ndarray, bias: np.ndarray) -> np.ndarray:
    centred = x - x.mean(1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5) * gain + bias


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def position(x: np.ndarray, direction: np.ndarray, gain: np.ndarray, bias: np.ndarray, groups: int) -> np.ndarray:
    """The convolutional position embedding `(T, C)`: of an even kernel one frame more is behind than ahead."""
    weight = direction * gain / np.sqrt((direction**2).sum((0, 1)))
    y = np.tile(bias, (len(x), 1))
    for part in np.split(np.arange(DIM), groups):
        for time in range(len(x)):
            for tap in range(weight.shape[2]):
                if 0 <= (place := time + tap - weight.shape[2] // 2) < len(x):
                    y[time, part] += weight[part, :, tap] @ x[place, part]
    return gelu(y)


def by_hand(model: CodeBert, codes: list[int]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Log-probabilities `(T, V)` of an utterance in which <mask> is number V, and the output of each block."""
    w = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    first, heads = model.config.norm_first, model.config.heads

    def affine(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def normed(x: np.ndarray, name: str) -> np.ndarray:
        return norm(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def attend(x: np.ndarray, name: str) -> np.ndarray:
        query, key, value = np.split(affine(x, f"{name}.qkv"), 3, axis=1)
        parts = []
        for part in np.split(np.arange(DIM), heads):
            weights = softmax(query[:, part] @ key[:, part].T / math.sqrt(DIM / heads))
            parts.append(weights @ value[:, part])
        return affine(np.concatenate(parts, 1), f"{name}.attention_out")

    def feed(x: np.ndarray, name: str) -> np.ndarray:
        return affine(gelu(affine(x, f"{name}.feed_forward_in")), f"{name}.feed_forward_out")

    half = DIM // 2
    angles = np.arange(len(codes))[:, None] / 100.0 ** (np.arange(half) / (half - 1))
    x = w["embedding"][codes] * math.sqrt(DIM) + np.concatenate([np.sin(angles), np.cos(angles)], 1)
    if model.config.position_kernel:
        own = (w[f"position.{name}"] for name in ("direction", "gain", "bias"))
        x = x + position(x, *own, model.config.position_groups)
    x = x if first else normed(x, "norm")
    outputs = []
    for number in range(model.config.layers):
        block = f"blocks.{number}"
        if first:
            x = x + attend(normed(x, f"{block}.attention_norm"), block)
            x = x + feed(normed(x, f"{block}.feed_forward_norm"), block)
        else:
            x = normed(x + attend(x, block), f"{block}.attention_norm")
            x = normed(x + feed(x, block), f"{block}.feed_forward_norm")
        outputs.append(x)
    y = normed(gelu(affine(normed(x, "norm") if first else x, "head.0")), "head.2")
    return np.log(softmax(y @ w["embedding"][:CODES].T + w["bias"])), outputs


@pytest.mark.parametrize(("norm_first", "position_kernel"), [(False, 0), (True, 0), (True, 4)])
@pytest.mark.parametrize("unknown", [None, 3])
def test_the_loss_is_the_formula_over_masked_codes_alone(
    norm_first: bool, position_kernel: int, unknown: int | None
) -> None:
    """Checklist 3.6 and 3.4: masked spans, no sentence pairs; codes unknown in training are <mask> and no target."""
    model = model_of(norm_first=norm_first, unknown=unknown, position_kernel=position_kernel)
    codes, lengths, masked = batch()
    codes[0, 3] = codes[0, 4] = 3
    found = model(codes, lengths, masked)
    total, right, count = 0.0, 0, 0
    for row, length, marks in zip(codes.tolist(), lengths.tolist(), masked.tolist(), strict=True):
        read = [CODES if mark or code == unknown else code for code, mark in zip(row, marks, strict=True)][:length]
        log_probs, _ = by_hand(model, read)
        for place in range(length):
            if marks[place] and row[place] != unknown:
                total -= log_probs[place, row[place]]
                right += int(log_probs[place].argmax()) == row[place]
                count += 1
    assert (found.right, found.count) == (right, count)
    assert float(found.total.detach()) == pytest.approx(total, rel=1e-5)  # sinusoids are of single precision
    clean = model.layers(codes, lengths)
    for row, length, *outputs in zip(codes.tolist(), lengths.tolist(), *clean, strict=True):
        read = [CODES if code == unknown else code for code in row[:length]]
        for each, expected in zip(outputs, by_hand(model, read)[1], strict=True):
            np.testing.assert_allclose(each[:length].detach().numpy(), expected, atol=1e-5)
            assert not each[length:].any()


def test_gradients_are_those_of_finite_differences() -> None:
    model, (codes, lengths, masked) = model_of(layers=1), batch()
    names, values = zip(*model.named_parameters(), strict=True)

    def total(*parameters: Tensor) -> Tensor:
        found: Tensor = functional_call(
            model, dict(zip(names, parameters, strict=True)), (codes, lengths, masked)
        ).total
        return found

    inputs = tuple(value.detach().clone().requires_grad_() for value in values)
    assert torch.autograd.gradcheck(total, inputs, fast_mode=True)
    gradients = torch.autograd.grad(total(*inputs), inputs)
    assert all(gradient.abs().sum() > 0 for gradient in gradients)


def test_an_utterance_gets_in_a_batch_what_it_gets_alone() -> None:
    """Neither the padding nor what lies on it is seen, and no number of it is computed on."""
    model, (codes, lengths, masked) = model_of(), batch()
    both = model(codes, lengths, masked)
    alone = [
        model(codes[n : n + 1, :size], lengths[n : n + 1], masked[n : n + 1, :size]) for n, size in ((0, 9), (1, 6))
    ]
    assert both.count == sum(each.count for each in alone)
    assert float(both.total.detach()) == pytest.approx(sum(float(each.total.detach()) for each in alone), rel=1e-12)
    rows: list[int] = []
    for module in [*(block.feed_forward_in for block in model.blocks), model.head[0]]:
        module.register_forward_hook(lambda _, inputs, __: rows.append(len(inputs[0])))
    model(codes, lengths, masked)
    assert rows == [15, 15, both.count]


def test_what_is_masked_is_not_seen() -> None:
    model, (codes, lengths, masked) = model_of(), batch()
    other = torch.where(masked, (codes + 1) % CODES, codes)
    seen: list[Tensor] = []
    model.blocks.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    model(codes, lengths, masked)
    model(other, lengths, masked)
    assert torch.equal(*seen)


@pytest.mark.parametrize(("probability", "length"), [(0.05, 10), (0.015, 10), (0.15, 1), (0.15, 30)])
def test_the_share_of_masked_codes_is_the_exact_one(probability: float, length: int) -> None:
    """Checklist 3.6. Of n starts c = pT are drawn without replacement, and k_t of them cover place t: it stays with
    probability (n - k_t choose c) / (n choose c)."""
    torch.manual_seed(2)
    size, rounds = 400, 1500
    starts, count = size - length + 1, round(probability * size)
    expected = []
    for place in range(size):
        covering = min(place, starts - 1) - max(0, place - length + 1) + 1
        expected.append(1 - math.comb(starts - covering, count) / math.comb(starts, count))
    mask = span_mask([size] * rounds, size, SpanMaskConfig(probability=probability, length=length)).double()
    shares = mask.mean(1)
    error = float(shares.std()) / math.sqrt(rounds)
    assert abs(float(shares.mean()) - np.mean(expected)) < 4 * error + 1e-12
    by_place = mask.mean(0).numpy()
    deviation = np.sqrt(np.array(expected) * (1 - np.array(expected)) / rounds)
    assert (np.abs(by_place - expected) < 4.5 * deviation + 4 / rounds).all()
    if (probability, length) == (0.05, 10):
        assert np.mean(expected) == pytest.approx(0.404, abs=0.001)


def test_masks_are_drawn_by_the_models_settings() -> None:
    model = model_of(mask=SpanMaskConfig(probability=0.02, length=5))
    codes, lengths = torch.zeros(3, 200, dtype=torch.long), torch.tensor([200, 100, 4])
    torch.manual_seed(3)
    expected = span_mask([200, 100, 4], 200, model.mask)
    torch.manual_seed(3)
    found = model(codes, lengths)
    assert found.count == int(expected.sum()) > 0
    assert model(codes[2:, :4], lengths[2:]).count == 0  # no room for a span: a loss of nothing
    assert float(model(codes[2:, :4], lengths[2:]).total.detach()) == 0


def copied(model: CodeBert, other: torch.nn.Module, places: int) -> None:
    """Give transformers' BERT the weights of the model."""
    state, mine = dict(other.state_dict()), dict(model.state_dict())
    bert = "bert.embeddings."
    state[f"{bert}word_embeddings.weight"] = mine["embedding"] * DIM**0.5
    angles = torch.arange(places)[:, None] / 100 ** (torch.arange(DIM // 2).double() / (DIM // 2 - 1))
    state[f"{bert}position_embeddings.weight"] = torch.cat([angles.sin(), angles.cos()], 1)
    state[f"{bert}token_type_embeddings.weight"] = torch.zeros(1, DIM).double()
    names = {f"{bert}LayerNorm": "norm"}
    for number in range(model.config.layers):
        theirs, ours = f"bert.encoder.layer.{number}.", f"blocks.{number}."
        for kind in ("weight", "bias"):
            parts = mine[f"{ours}qkv.{kind}"].chunk(3)
            for name, part in zip(("query", "key", "value"), parts, strict=True):
                state[f"{theirs}attention.self.{name}.{kind}"] = part
        names |= {
            f"{theirs}attention.output.dense": f"{ours}attention_out",
            f"{theirs}attention.output.LayerNorm": f"{ours}attention_norm",
            f"{theirs}intermediate.dense": f"{ours}feed_forward_in",
            f"{theirs}output.dense": f"{ours}feed_forward_out",
            f"{theirs}output.LayerNorm": f"{ours}feed_forward_norm",
        }
    names |= {"cls.predictions.transform.dense": "head.0", "cls.predictions.transform.LayerNorm": "head.2"}
    for name, own in names.items():
        for kind in ("weight", "bias"):
            state[f"{name}.{kind}"] = mine[f"{own}.{kind}"]
    # Of all outputs <mask> alone is none of ours.
    state["cls.predictions.decoder.weight"] = mine["embedding"]
    bias = torch.cat([mine["bias"], torch.tensor([-1e9]).double()])
    state["cls.predictions.decoder.bias"] = state["cls.predictions.bias"] = bias
    other.load_state_dict(state)


def test_it_is_the_bert_of_transformers() -> None:
    """The hidden states of all layers and the loss, with the same weights; transformers takes the mask as ids."""
    transformers = pytest.importorskip("transformers", reason="the comparison needs transformers")
    model, (codes, lengths, masked) = model_of(), batch()
    config = transformers.BertConfig(
        vocab_size=CODES + 1, hidden_size=DIM, num_hidden_layers=2, num_attention_heads=3, intermediate_size=20,
        hidden_act="gelu", max_position_embeddings=9, type_vocab_size=1, layer_norm_eps=1e-5,
        tie_word_embeddings=False,
    )  # fmt: skip
    other = transformers.BertForMaskedLM(config).double().eval()
    copied(model, other, 9)
    valid = torch.arange(9) < lengths[:, None]
    hidden = other(codes, attention_mask=valid.long(), output_hidden_states=True).hidden_states[1:]
    for mine, theirs in zip(model.layers(codes, lengths), hidden, strict=True):
        torch.testing.assert_close(mine[valid], theirs[valid], atol=2e-6, rtol=1e-5)
    chosen = masked & valid
    targets = torch.where(chosen, codes, torch.tensor(-100))
    loss = other(codes.masked_fill(masked, CODES), attention_mask=valid.long(), labels=targets).loss
    found = model(codes, lengths, masked)
    assert float(found.total.detach() / found.count) == pytest.approx(float(loss.detach()), rel=1e-6)
