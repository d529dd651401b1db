"""The convolutional language model against its formula in float64, its own definition, and padding."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from speechkit.lm.conv_lm import ConvLm, ConvLmConfig, GatedBlockConfig
from speechkit.lm.transformer_lm import TransformerLm
from speechkit.nn.transformer import StackConfig

Array = npt.NDArray[np.float64]
VOCAB = 13
LENGTHS = [7, 1, 12, 4]
BLOCKS = (
    GatedBlockConfig(width=8, kernel=4),
    GatedBlockConfig(width=8, kernel=3, bottleneck=5, repeat=2),
    GatedBlockConfig(width=16, kernel=2, bottleneck=6),
)


def make(cutoffs: tuple[int, ...] = (), projection: int = 0, dropout: float = 0.0) -> ConvLm:
    torch.manual_seed(0)
    config = ConvLmConfig(embedding=6, blocks=BLOCKS, cutoffs=cutoffs, projection=projection, dropout=dropout)
    model = ConvLm(config, VOCAB)
    for parameter in model.parameters():  # gains and biases too
        nn.init.normal_(parameter, std=0.5)
    return model.eval()


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(1, VOCAB, (len(LENGTHS), max(LENGTHS)), generator=generator)
    for row, length in zip(tokens, LENGTHS, strict=True):
        row[length - 1] = 0
    return tokens, torch.tensor(LENGTHS)


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def log_softmax(x: Array) -> Array:
    return np.asarray(x - x.max() - np.log(np.exp(x - x.max()).sum()))


def convolved(weights: dict[str, Array], name: str, frames: Sequence[Array]) -> list[Array]:
    """Each output from the frames up to its own, one product at a time; weights have the length of their gain."""
    direction = weights[f"{name}.direction"]
    length = np.sqrt((direction**2).sum(axis=(1, 2), keepdims=True))
    weight, kernel = weights[f"{name}.gain"] * direction / length, direction.shape[2]
    found = []
    for place in range(len(frames)):
        y = weights[f"{name}.bias"].copy()
        for tap in range(kernel):
            if (seen := place - kernel + 1 + tap) >= 0:
                y += weight[:, :, tap] @ frames[seen]
        found.append(y)
    return found


def by_hand(model: ConvLm, tokens: Sequence[int]) -> list[Array]:
    """What the output layer sees for each token of one sentence: Dauphin et al. 2017, figure 1 and section 2."""
    weights = {name: value.detach().double().numpy() for name, value in model.state_dict().items()}
    x = convolved(weights, "enter", [weights["embedding"][token] for token in [0, *tokens[:-1]]])
    for number, block in enumerate(model.blocks):
        y = x
        for place in range(len(block.convs)):  # type: ignore[arg-type]
            y = convolved(weights, f"blocks.{number}.convs.{place}", y)
            y = [both[: len(both) // 2] * sigmoid(both[len(both) // 2 :]) for both in y]
        around = f"blocks.{number}.around"
        x = convolved(weights, around, x) if f"{around}.bias" in weights else x
        x = [(each + other) / math.sqrt(2) for each, other in zip(x, y, strict=True)]
    return convolved(weights, "leave", x) if "leave.bias" in weights else x


def full_softmax(model: ConvLm, hidden: Array) -> Array:
    """Log-probabilities of all tokens; in clusters that of the cluster and that of the token in it (Grave et al.)."""
    weights = {name: value.detach().double().numpy() for name, value in model.output.state_dict().items()}
    if isinstance(model.output, nn.Linear):
        return log_softmax(weights["weight"] @ hidden + weights["bias"])
    ends = model.output.cutoffs  # the last one is the vocabulary's size
    head = log_softmax(weights["head.weight"] @ hidden)
    found = [head[: ends[0]]]
    for number in range(len(ends) - 1):
        inside = weights[f"tail.{number}.1.weight"] @ (weights[f"tail.{number}.0.weight"] @ hidden)
        found.append(head[ends[0] + number] + log_softmax(inside))
    return np.concatenate(found)


SHAPES = pytest.mark.parametrize(("cutoffs", "projection"), [((), 0), ((), 4), ((4, 9), 0), ((5, 99), 17)])


@SHAPES
def test_log_probabilities_are_those_of_the_formula(cutoffs: tuple[int, ...], projection: int) -> None:
    model, (tokens, lengths) = make(cutoffs, projection), batch()
    with torch.no_grad():
        scores, everything = model(tokens, lengths), model.log_probs(tokens, lengths)
    for row, length in enumerate(LENGTHS):
        expected = np.stack([full_softmax(model, each) for each in by_hand(model, tokens[row, :length].tolist())])
        assert np.exp(expected).sum(axis=1) == pytest.approx(1)
        np.testing.assert_allclose(everything[row, :length].numpy(), expected, atol=2e-5)
        chosen = expected[np.arange(length), tokens[row, :length].numpy()]
        np.testing.assert_allclose(scores[row, :length].numpy(), chosen, atol=2e-5)
        assert not scores[row, length:].any()


@SHAPES
def test_the_future_changes_nothing(cutoffs: tuple[int, ...], projection: int) -> None:
    model, (tokens, lengths) = make(cutoffs, projection), batch()
    tokens, lengths = tokens[2:3], lengths[2:3]
    with torch.no_grad():
        before = model.log_probs(tokens, lengths)
        for place in range(tokens.shape[1]):
            changed = tokens.clone()
            changed[0, place:] = (changed[0, place:] + 1) % VOCAB
            after = model.log_probs(changed, lengths)
            assert torch.equal(after[0, : place + 1], before[0, : place + 1])
            if place + 1 < tokens.shape[1]:
                assert not torch.allclose(after[0, place + 1], before[0, place + 1], atol=1e-4)


def transformer() -> TransformerLm:
    torch.manual_seed(0)
    return TransformerLm(StackConfig(dim=16, layers=2, heads=2, feed_forward=24, norm_first=True), VOCAB).eval()


@pytest.mark.parametrize("kind", ["conv", "adaptive", "transformer"])
def test_reading_token_by_token_gives_the_scores_of_whole_sentences(kind: str) -> None:
    model = {"conv": make, "adaptive": lambda: make((4, 9)), "transformer": transformer}[kind]()
    tokens, lengths = batch()
    with torch.inference_mode():
        whole = model.log_probs(tokens, lengths)
        states, before = [model.start() for _ in LENGTHS], [0] * len(LENGTHS)
        for place in range(max(LENGTHS)):  # sentences end at different places: the batch shrinks
            going = [row for row, length in enumerate(LENGTHS) if place < length]
            found, after = model.read([states[row] for row in going], [before[row] for row in going])
            torch.testing.assert_close(found, whole[going, place], atol=1e-5, rtol=1e-5)
            for row, state in zip(going, after, strict=True):
                states[row], before[row] = state, int(tokens[row, place])


def test_one_state_goes_on_in_several_ways() -> None:
    model = make()
    with torch.inference_mode():
        _, (first,) = model.read([model.start()], [0])
        together, _ = model.read([first, first], [3, 5])
        for row, token in enumerate((3, 5)):
            alone, _ = model.read([first], [token])
            torch.testing.assert_close(together[row : row + 1], alone)
        assert not torch.allclose(together[0], together[1])


def test_folded_weights_are_forgotten_in_training() -> None:
    model = make()
    model.start()
    model.train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)
    tokens, lengths = batch()
    with torch.no_grad():
        scores = model.eval()(tokens, lengths)
        expected = full_softmax(model, by_hand(model, tokens[0, :7].tolist())[-1])[0]
    assert float(scores[0, 6]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("cutoffs", [(), (4, 9)])
def test_gradients_are_those_of_sentences_alone(cutoffs: tuple[int, ...]) -> None:
    model = make(cutoffs).train()
    tokens, lengths = batch()
    model(tokens, lengths).sum().backward()
    together = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}  # type: ignore[union-attr]
    model.zero_grad()
    for row, length in enumerate(LENGTHS):
        model(tokens[row : row + 1, :length], torch.tensor([length])).sum().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, together[name], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"cutoffs": (1, 2, 3, 4, 5)}, "leave nothing of width 512"),
        ({"cutoffs": (5, 5)}, "cutoffs rise"),
        ({"cutoffs": (0,)}, "cutoffs rise"),
        ({"blocks": ()}, "at least one block"),
    ],
)
def test_impossible_sizes_are_refused(values: dict[str, tuple[int, ...]], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ConvLmConfig(**values)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1"):
        GatedBlockConfig(width=0)
