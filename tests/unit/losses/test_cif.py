"""The loss of integrate-and-fire against values worked by hand and finite differences."""

import pytest
import torch
from torch.nn import functional as F

from speechkit.losses.cif import SLOPE, cif_loss, running_targets

SEGMENTS = torch.tensor([[0.1, 0.3], [0.3, 0.4], [0.6, 0.9]], dtype=torch.float64)
EDGES = torch.arange(11, dtype=torch.float64) / 10


def test_the_target_rises_by_one_within_a_character_and_rests_in_silence() -> None:
    expected = [0, 0.5, 1, 2, 2, 2, 2 + 1 / 3, 2 + 2 / 3, 3, 3]
    assert running_targets(SEGMENTS, EDGES).tolist() == pytest.approx(expected)


def test_characters_shorter_than_a_frame() -> None:
    segments = torch.tensor([[0.02, 0.05], [0.05, 0.15], [0.15, 0.15]], dtype=torch.float64)
    assert running_targets(segments, EDGES[:4]).tolist() == pytest.approx([1.5, 3, 3])


def test_weights_that_follow_the_target_have_no_loss() -> None:
    targets = running_targets(SEGMENTS, EDGES)[None]
    weights = torch.diff(targets, prepend=torch.zeros(1, 1))
    found = cif_loss(weights, torch.tensor([10]), targets, torch.tensor([3]))
    assert found.item() == pytest.approx(0, abs=1e-12)


def test_the_sum_over_two_utterances_of_which_one_is_padded() -> None:
    """Sums are 0.2, 0.8, 1.6 for 0, 1, 2 and 0.9 for 1: smooth L1 is d^2 below a half."""
    weights = torch.tensor([[0.2, 0.6, 0.8], [0.9, 0.0, 0.0]])
    targets = torch.tensor([[0.0, 1.0, 2.0], [1.0, 7.0, 7.0]])
    found = cif_loss(weights, torch.tensor([3, 1]), targets, torch.tensor([2.0, 1.0]))
    quantity, level, slope = 0.4 + 0.1, (0.04 + 0.04 + 0.16) / 3 + 0.01, 0.2 + 0.4 + 0.2 + 0.1
    assert found.item() == pytest.approx(quantity + level + SLOPE * slope)


def test_gradients() -> None:
    torch.manual_seed(0)
    weights = torch.rand(2, 6, dtype=torch.float64)
    weights[1, 4:] = 0
    weights.requires_grad_()
    targets = torch.rand(2, 6, dtype=torch.float64).cumsum(1)
    lengths, counts = torch.tensor([6, 4]), torch.tensor([3.0, 2.0])
    assert torch.autograd.gradcheck(lambda each: cif_loss(each, lengths, targets, counts), (weights,))
    cif_loss(weights, lengths, targets, counts).backward()
    assert weights.grad is not None
    level = F.smooth_l1_loss(torch.zeros(1), torch.ones(1), beta=0.5).item()
    assert level == 0.75  # linear from half a character on
