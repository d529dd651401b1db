"""The loss of wav2vec against its formula, and its negatives against their distribution."""

import math

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from speechkit.losses.binary_contrastive import binary_contrastive_loss, draw_places, loss_of_chance

STEPS, WIDTH, DIM, NEGATIVES, FIRST = 3, 9, 4, 5, 2
LENGTHS = torch.tensor([9, 4, 2])


def batch(seed: int = 0) -> tuple[list[Tensor], Tensor]:
    """Predictions of each step and targets, float64."""
    torch.manual_seed(seed)
    shape = (len(LENGTHS), WIDTH, DIM)
    predictions = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for _ in range(STEPS)]
    return predictions, torch.randn(shape, dtype=torch.float64, requires_grad=True)


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


def by_hand(predictions: list[Tensor], targets: Tensor, places: list[Tensor]) -> tuple[float, int]:
    """The formula, one product after the other, with given negatives; and its number of targets."""
    total, count = 0.0, 0
    for k, (h, drawn) in enumerate(zip(predictions, places, strict=True)):
        for n, length in enumerate(LENGTHS.tolist()):
            for i in range(length - FIRST - k):
                positive = sum(float(a * b) for a, b in zip(h[n, i], targets[n, i + FIRST + k], strict=True))
                total -= log_sigmoid(positive)
                for place in drawn[n, i, 1:].tolist():
                    z = targets[n, place - n * WIDTH]
                    total -= log_sigmoid(-sum(float(a * b) for a, b in zip(h[n, i], z, strict=True)))
                count += 1
    return total, count


def test_it_is_the_formula() -> None:
    predictions, targets = batch()
    torch.manual_seed(7)
    found = binary_contrastive_loss(predictions, targets, LENGTHS, FIRST, NEGATIVES)
    torch.manual_seed(7)
    places = [draw_places(LENGTHS, WIDTH, FIRST + k, NEGATIVES)[1] for k in range(STEPS)]
    expected, count = by_hand([each.detach() for each in predictions], targets.detach(), places)
    assert found.loss.item() == pytest.approx(expected, rel=1e-12)
    # 7 + 6 + 5 targets of the first utterance, 2 + 1 of the second, none of the third.
    assert found.count == count == 21


def test_finite_differences() -> None:
    torch.manual_seed(1)
    inputs = tuple(torch.randn(2, 5, 2, dtype=torch.float64, requires_grad=True) for _ in range(3))

    def loss(*inputs: Tensor) -> Tensor:
        torch.manual_seed(8)
        return binary_contrastive_loss(inputs[:2], inputs[2], torch.tensor([5, 3]), 1, 3).loss

    assert torch.autograd.gradcheck(loss, inputs)


def test_targets_that_win_and_scores_of_nothing() -> None:
    """A prediction along its target and away from all else is right; equal scores lose (1 + J) log 2 each."""
    targets = torch.eye(6)[None]
    ahead = (6 * torch.eye(6).roll(-1, 0) - 3)[None]  # of frame i: 3 for frame i + 1, -3 for others
    found = binary_contrastive_loss([ahead], targets, torch.tensor([6]), 1, 4)
    assert (float(found.ranked), found.count) == (5, 5)
    assert float(found.loss) == pytest.approx(5 * 5 * math.log1p(math.exp(-3)), rel=1e-5)
    nothing = binary_contrastive_loss([torch.zeros(1, 6, 6)], targets, torch.tensor([6]), 1, 4)
    assert float(nothing.loss) == pytest.approx(5 * 5 * math.log(2), rel=1e-5)
    assert float(nothing.ranked) == 2.5


def test_chance_is_the_best_of_equal_scores() -> None:
    scores = torch.linspace(-4, 0, 4001, dtype=torch.float64)
    losses = torch.nn.functional.softplus(-scores) + 10 * torch.nn.functional.softplus(scores)
    assert loss_of_chance(10) == pytest.approx(float(losses.min()), abs=1e-6)


@pytest.mark.parametrize("shift", [1, 3])
def test_negatives_are_uniform_over_the_other_frames(shift: int) -> None:
    """Of every frame and step, by chi-square over many draws; the positive and other utterances are never there."""
    torch.manual_seed(9)
    lengths, width, count = torch.tensor([6, 8]), 8, 6000
    valid, places = draw_places(lengths, width, shift, count)
    for n, length in enumerate(lengths.tolist()):
        assert valid[n].tolist() == [frame + shift < length for frame in range(width)]
        for frame in range(length - shift):
            positive, drawn = places[n, frame, 0] - n * width, places[n, frame, 1:] - n * width
            assert positive == frame + shift
            counts = torch.bincount(drawn, minlength=length).tolist()
            assert len(counts) == length
            assert counts.pop(frame + shift) == 0
            assert chisquare(counts).pvalue > 1e-4
    assert not places[~valid].any()


def test_negatives_are_new_for_every_frame_step_and_call() -> None:
    torch.manual_seed(10)
    calls = [draw_places(torch.tensor([500]), 500, 1, 10)[1][0, :, 1:] for _ in range(2)]
    share = float((calls[0] == calls[1]).float().mean())
    assert share < 0.01
    assert float((calls[0][:-2] == calls[0][1:-1]).float().mean()) < 0.01


def test_utterances_without_any_target() -> None:
    predictions, targets = batch()
    found = binary_contrastive_loss(predictions, targets, torch.tensor([2, 1, 0]), FIRST, NEGATIVES)
    assert (float(found.loss), found.count) == (0.0, 0)
    found.loss.backward()  # type: ignore[no-untyped-call]
