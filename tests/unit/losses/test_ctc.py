import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from speechkit.losses.ctc import blank_ratio, ctc_loss, min_frames


def collapse(path: tuple[int, ...]) -> list[int]:
    return [token for before, token in itertools.pairwise((0, *path)) if token not in (before, 0)]


@pytest.mark.parametrize("target", [[1], [1, 1], [1, 2, 1], [2, 2]])
def test_loss_is_minus_log_of_the_sum_over_all_paths(target: list[int]) -> None:
    torch.manual_seed(0)
    log_probs = torch.randn(1, 5, 3, dtype=torch.float64).log_softmax(-1)
    paths = [path for path in itertools.product(range(3), repeat=5) if collapse(path) == target]
    total = sum(math.exp(sum(float(log_probs[0, t, token]) for t, token in enumerate(path))) for path in paths)
    loss = ctc_loss(log_probs, torch.tensor([5]), torch.tensor([target]), torch.tensor([len(target)]))
    assert float(loss) == pytest.approx(-math.log(total), rel=1e-9)
    assert min_frames(target) == min(sum(1 for _ in path) for path in shortest_paths(target))


def shortest_paths(target: list[int]) -> list[tuple[int, ...]]:
    for length in range(1, 7):
        found = [path for path in itertools.product(range(3), repeat=length) if collapse(path) == target]
        if found:
            return found
    raise AssertionError("no path")


def test_padding_of_a_batch_counts_for_nothing() -> None:
    torch.manual_seed(1)
    log_probs = torch.randn(2, 9, 4).log_softmax(-1)
    lengths, targets, target_lengths = torch.tensor([9, 6]), torch.tensor([[1, 2, 3], [3, 0, 0]]), torch.tensor([3, 1])
    together = ctc_loss(log_probs, lengths, targets, target_lengths)
    alone = ctc_loss(log_probs[:1], lengths[:1], targets[:1], target_lengths[:1])
    alone = alone + ctc_loss(log_probs[1:, :6], lengths[1:], targets[1:, :1], target_lengths[1:])
    torch.testing.assert_close(together, alone)


def test_single_precision_is_as_good_as_double() -> None:
    """Compiled graphs for float32, torch's own for float64; gradients compared where they meet, at the logits."""
    torch.manual_seed(2)
    logits = (4 * torch.randn(5, 80, 20)).requires_grad_()
    lengths, target_lengths = torch.tensor([80, 50, 71, 33, 8]), torch.tensor([20, 11, 0, 16, 3])
    targets = torch.randint(1, 20, (5, 20))
    loss = ctc_loss(logits.log_softmax(-1), lengths, targets, target_lengths)
    (gradient,) = torch.autograd.grad(loss, logits)
    log_probs = logits.double().log_softmax(-1).transpose(0, 1)
    expected = F.ctc_loss(log_probs, targets, lengths, target_lengths, reduction="sum")
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, logits)[0], rtol=1e-5, atol=1e-5)


def test_no_path_is_infinite_without_a_gradient() -> None:
    log_probs = torch.randn(2, 3, 4).log_softmax(-1).requires_grad_()
    loss = ctc_loss(log_probs, torch.tensor([3, 2]), torch.tensor([[1, 2], [1, 1]]), torch.tensor([2, 2]))
    assert loss == math.inf
    loss.backward()
    assert log_probs.grad is not None
    assert log_probs.grad.sum((1, 2)).tolist() == pytest.approx([-3, 0])


def test_blank_ratio_counts_valid_frames_only() -> None:
    log_probs = torch.tensor([[[2.0, 0], [0, 2], [2, 0], [2, 0]]])
    assert blank_ratio(log_probs, torch.tensor([[True, True, True, False]])) == pytest.approx(2 / 3)
