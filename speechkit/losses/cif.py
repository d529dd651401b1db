"""Loss of continuous integrate-and-fire on utterances of which it is known where their characters lie."""

import torch
from torch import Tensor
from torch.nn import functional as F

from speechkit.nn.lengths import valid_mask

BETA = 0.5  # of smooth L1: the error of the running sum, in characters, from which on it counts linearly
SLOPE = 0.3


def running_targets(segments: Tensor, edges: Tensor) -> Tensor:
    """What the weights should sum up to at the end of each frame, `(T,)`.

    The sum rises evenly by one within a character and not at all between characters.

    Args:
        segments: start and end of each character, `(S, 2)`, in seconds and in order.
        edges: where frames begin and end, `(T + 1,)`, in seconds.
    """
    starts, ends = segments[:, 0], segments[:, 1]
    inside = (edges[1:, None] - starts) / (ends - starts).clamp(min=1e-6)
    return inside.clamp(0, 1).sum(dim=1)


def cif_loss(weights: Tensor, lengths: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
    """Sum over the utterances of three terms.

    The first is the quantity loss of Dong and Xu 2020 (section 3.2), the absolute difference of the sum of the weights
    and the number of characters. It alone does not say where a character ends. The other two are ours, and need
    segments: the mean over the frames of smooth L1 between running sum and target, and, times `SLOPE`, the sum over the
    frames of the absolute difference between weight and increase of the target. The latter keeps silence without
    weight, and sees an error where it is made and not in all that follows.

    Args:
        weights: `(N, T)`, zero on padding.
        lengths: frames `(N,)`.
        targets: `(N, T)` of `running_targets`, padded with anything.
        counts: characters `(N,)`.
    """
    mask = valid_mask(lengths, weights.shape[1])
    sums = weights.double().cumsum(dim=1).to(weights.dtype)
    increases = torch.diff(targets, dim=1, prepend=targets.new_zeros(len(targets), 1))
    quantity = (weights.sum(dim=1) - counts).abs()
    level = (F.smooth_l1_loss(sums, targets, reduction="none", beta=BETA) * mask).sum(dim=1) / lengths
    slope = ((weights - increases).abs() * mask).sum(dim=1)
    return (quantity + level + SLOPE * slope).sum()
