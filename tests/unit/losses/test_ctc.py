import itertools
import math

import pytest
import torch

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


def test_blank_ratio_counts_valid_frames_only() -> None:
    log_probs = torch.tensor([[[2.0, 0], [0, 2], [2, 0], [2, 0]]])
    assert blank_ratio(log_probs, torch.tensor([[True, True, True, False]])) == pytest.approx(2 / 3)
