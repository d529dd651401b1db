"""Each term of wav2vec-U's losses against a loop in float64, and the penalty's gradient by finite differences."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from speechkit.losses.adversarial import (
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    smoothness_loss,
    symbol_diversity_loss,
)


def cross_entropy(logit: float, label: int) -> float:
    probability = 1 / (1 + math.exp(-logit))
    return -math.log(probability if label else 1 - probability)


def test_labels_of_the_discriminator_are_one_for_made_and_zero_for_real() -> None:
    made, real = torch.tensor([0.3, -2.0, 1.1], dtype=torch.float64), torch.tensor([-0.7, 0.2], dtype=torch.float64)
    expected = sum(cross_entropy(x, 1) for x in made.tolist()) + sum(cross_entropy(x, 0) for x in real.tolist())
    assert float(discriminator_loss(made, real)) == pytest.approx(expected, rel=1e-12)
    # The generator wants the label of what is real.
    assert float(generator_loss(made)) == pytest.approx(sum(cross_entropy(x, 0) for x in made.tolist()), rel=1e-12)


def test_smoothness_is_a_mean_over_all_pairs_of_frames_times_the_batch_with_padding_as_zero() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 6, 4, dtype=torch.float64, generator=generator)
    lengths = [6, 3, 1]
    total = 0.0
    for utterance, length in enumerate(lengths):
        for frame in range(length - 1):
            for symbol in range(4):
                total += float(logits[utterance, frame, symbol] - logits[utterance, frame + 1, symbol]) ** 2
    found = smoothness_loss(logits, torch.tensor(lengths))
    assert float(found) == pytest.approx(3 * total / (3 * 5 * 4), rel=1e-12)
    assert float(smoothness_loss(logits[:, :1], torch.tensor([1, 1, 1]))) == 0


def test_diversity_is_of_the_mean_distribution_over_valid_frames() -> None:
    probs = torch.randn(2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).softmax(-1)
    lengths = [5, 2]
    frames = [probs[n, t] for n, length in enumerate(lengths) for t in range(length)]
    mean = sum(frames) / len(frames)
    assert isinstance(mean, Tensor)
    perplexity = math.exp(-sum(float(p) * math.log(float(p)) for p in mean))
    loss, found = symbol_diversity_loss(probs, torch.tensor(lengths))
    assert float(found) == pytest.approx(perplexity, rel=1e-5)  # there is an epsilon in its logarithm
    assert float(loss) == pytest.approx(2 * (4 - perplexity) / 4, rel=1e-4)


class SmallCritic:
    """A nonlinear discriminator with few weights, whose gradient is written down."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(2)
        self.inner = torch.randn(3, 4, dtype=torch.float64, generator=generator)
        self.outer = torch.randn(4, dtype=torch.float64, generator=generator)

    def __call__(self, x: Tensor) -> Tensor:
        return (torch.tanh(x @ self.inner) @ self.outer).sum(1)

    def penalty(self, x: Tensor) -> float:
        """By the closed form of its gradient."""
        slope = (1 - torch.tanh(x @ self.inner).square()) * self.outer
        gradient = slope @ self.inner.T
        total = 0.0
        for utterance in gradient:
            for symbol in utterance.T:
                total += (math.sqrt(sum(float(value) ** 2 for value in symbol)) - 1) ** 2
        return total


def sequences(count: int, frames: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, frames, 3, dtype=torch.float64, generator=generator).softmax(-1)


def test_penalty_is_that_of_mixtures_cut_to_the_smaller_batch_and_length() -> None:
    critic, real, made = SmallCritic(), sequences(4, 7, 3), sequences(3, 9, 4)
    share = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64).view(3, 1, 1)
    mixed = torch.stack([a * real[n, :7] + (1 - a) * made[n, :7] for n, a in enumerate(share.flatten())])
    found = gradient_penalty(critic, real, made, share)
    assert found.item() == pytest.approx(critic.penalty(mixed), rel=1e-12)
    assert gradient_penalty(critic, made, real, 1 - share).item() == pytest.approx(found.item(), rel=1e-12)


def test_gradient_of_the_penalty_by_finite_differences() -> None:
    critic, real, made = SmallCritic(), sequences(2, 5, 5), sequences(2, 5, 6).requires_grad_()
    share = torch.tensor([0.2, 0.7], dtype=torch.float64).view(2, 1, 1)
    critic.inner.requires_grad_()
    critic.outer.requires_grad_()
    gradient_penalty(critic, real, made, share).backward()
    assert made.grad is None  # nothing in the mixture learns
    mixed = torch.lerp(made.detach(), real, share)
    for weights in (critic.inner, critic.outer):
        assert weights.grad is not None
        expected, flat = weights.grad.flatten(), weights.detach().view(-1)
        for place in range(len(flat)):
            values = []
            for step in (1e-6, -2e-6):
                flat[place] += step
                values.append(critic.penalty(mixed))
            flat[place] += 1e-6
            assert float(expected[place]) == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5, abs=1e-7)


def test_losses_in_lower_precision_are_those_of_cross_entropy() -> None:
    made = torch.tensor([40.0, -40.0])
    assert float(generator_loss(made)) == pytest.approx(float(F.binary_cross_entropy_with_logits(
        made, torch.zeros(2), reduction="sum")))  # fmt: skip
