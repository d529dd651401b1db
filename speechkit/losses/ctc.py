"""Connectionist temporal classification (Graves et al. 2006), blank is token 0."""

import itertools

import torch
from torch import Tensor
from torch.nn import functional as F


def ctc_loss(log_probs: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> Tensor:
    """Sum over the batch of -log p(target | input), in nats.

    `log_probs (N, T, V)`, `lengths (N,)`, `targets (N, S)` padded with anything, `target_lengths (N,)`.
    An utterance with fewer frames than `min_frames` asks for has no path and gives infinity: leave it out beforehand.
    """
    return F.ctc_loss(log_probs.transpose(0, 1), targets, lengths, target_lengths, blank=0, reduction="sum")


def min_frames(tokens: list[int]) -> int:
    """The fewest frames on which CTC can emit `tokens`: one each, and a blank between equal neighbours."""
    return len(tokens) + sum(a == b for a, b in itertools.pairwise(tokens))


def blank_ratio(log_probs: Tensor, mask: Tensor) -> float:
    """Share of valid frames (`mask (N, T)`) whose best token is the blank."""
    best = log_probs.argmax(dim=-1)
    return float(((best == 0) & mask).sum() / torch.clamp(mask.sum(), min=1))
