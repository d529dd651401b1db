"""Losses of wav2vec-U's generator and discriminator (Baevski et al. 2021, section 3.1), as its published code has them.

The discriminator tells made sequences (label 1) from real ones (label 0). Equation 1 of the paper has the other labels
and, before the second term, a sign that its code has not. Sums over utterances, unless a function says otherwise.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from speechkit.nn.lengths import valid_mask
from speechkit.nn.quantise import perplexity


def discriminator_loss(made: Tensor, real: Tensor) -> Tensor:
    """Binary cross entropy of the discriminator's logits for made `(N,)` and real `(M,)` sequences."""
    return F.softplus(-made).sum() + F.softplus(real).sum()


def generator_loss(made: Tensor) -> Tensor:
    """Binary cross entropy of the logits `(N,)` for made sequences, with the label of real ones."""
    return F.softplus(made).sum()


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, made: Tensor, share: Tensor) -> Tensor:
    """How far the discriminator's gradient is from length 1 between real and made sequences (Gulrajani et al. 2017).

    The gradient is that in a mixture of both, and its length is taken over time: a number for each utterance and
    symbol. Of the longer batch, and of the longer sequences, the end is left out.

    Args:
        critic: sequences of distributions `(N, T, V)` to logits `(N,)`, each of its own sequence alone.
        real, made: `(N, T, V)` and `(N', T', V)`.
        share: of the real sequence in each mixture, `(min(N, N'), 1, 1)`.

    Returns:
        `(length - 1)^2`, summed.
    """
    count, frames = (min(real.shape[axis], made.shape[axis]) for axis in (0, 1))
    real, made = real[:count, :frames].detach(), made[:count, :frames].detach()
    mixed = (share * real + (1 - share) * made).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
    penalty: Tensor = (gradient.norm(dim=1) - 1).square().sum()
    return penalty


def smoothness_loss(logits: Tensor, lengths: Tensor) -> Tensor:
    """Squared difference of neighbouring frames of `logits (N, T, V)`: its mean over N, T - 1 and V, times N.

    Pairs on padding count as no difference.
    """
    steps = (logits[:, 1:] - logits[:, :-1]).square()
    valid = valid_mask(lengths - 1, steps.shape[1]).unsqueeze(-1)
    return (steps * valid).sum() / max(1, steps[0].numel())


def symbol_diversity_loss(probs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """How far the symbols of a batch are from being used alike: `(V - perplexity) / V` times N, and the perplexity.

    The perplexity is that of the mean of `probs (N, T, V)` over all valid frames. (The published code counts padding
    in as frames in which all symbols are alike, by which the loss depends on how lengths differ within a batch.)
    """
    symbols = probs.shape[-1]
    mean = probs[valid_mask(lengths, probs.shape[1])].mean(0)
    found = perplexity(mean)
    return (symbols - found) / symbols * len(probs), found.detach()
