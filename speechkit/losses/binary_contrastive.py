"""The loss of wav2vec (Schneider et al. 2019, equation 2): is a frame the one k steps later, or a random one?

L_k = - sum over i of log s(z_{i+k} . h_k(c_i)) + lambda E[log s(-z~ . h_k(c_i))], with the logistic function s and
frames z~ drawn uniformly from the same utterance. With lambda their number, the expectation is a sum over those drawn.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from speechkit.nn.lengths import valid_mask
from speechkit.nn.sampled_products import sampled_products


@dataclass(frozen=True)
class BinaryContrastive:
    """Sums over `count` true targets.

    Attributes:
        loss: what is minimised.
        ranked: for each target the share of its negatives with a lower score, plus half of those with the same.
        count: how many there are.
    """

    loss: Tensor
    ranked: Tensor
    count: int


def binary_contrastive_loss(
    predictions: Iterable[Tensor], targets: Tensor, lengths: Tensor, first: int, negatives: int
) -> BinaryContrastive:
    """The loss of all steps, with new negatives for every frame and step.

    Args:
        predictions: for each step h_k(c_i) `(N, T, C)`.
        targets: `(N, T, C)`.
        lengths: `(N,)`, valid frames.
        first: frames from c_i to the target of the first prediction, at least 1; that of the next is one later.
        negatives: how many are drawn for each target.
    """
    kind = torch.promote_types(targets.dtype, torch.float32)
    loss, ranked, count = (torch.zeros((), dtype=kind, device=targets.device) for _ in range(3))
    with torch.autocast(targets.device.type, enabled=False):
        table = targets.flatten(0, 1).to(kind)
        for step, prediction in enumerate(predictions):
            valid, places = draw_places(lengths, targets.shape[1], first + step, negatives)
            scores = sampled_products(prediction.flatten(0, 1).to(kind), table, places.flatten(0, 1))[valid.flatten()]
            loss = loss + F.softplus(-scores[:, 0]).sum() + F.softplus(scores[:, 1:]).sum()
            ranked += (scores[:, :1] - scores[:, 1:]).detach().sign().add(1).mean(1).sum() / 2
            count += valid.sum()
    return BinaryContrastive(loss, ranked, int(count))


def draw_places(lengths: Tensor, width: int, shift: int, negatives: int) -> tuple[Tensor, Tensor]:
    """For each frame of a padded batch the one `shift` frames later, its target, and others of the same utterance.

    These negatives are drawn uniformly and with replacement; the target is never among them.

    Args:
        lengths: `(N,)`, valid frames.
        width: T, frames of the padded batch.
        shift: at least 1.
        negatives: J.

    Returns:
        `(N, T)`, whether a frame has a target, and `(N, T, 1 + J)`, numbers among all N T frames with the target first;
        0 where there is none.
    """
    valid = valid_mask(lengths - shift, width)
    target = torch.arange(shift, shift + width, device=lengths.device)[None, :, None]
    others = (lengths - 1).clamp(min=1)[:, None, None]
    # The remainder of a number of 62 bits is uniform but for one part in 10^14, whatever the length.
    drawn = torch.randint(2**62, (len(lengths), width, negatives), device=lengths.device) % others
    drawn = drawn + (drawn >= target)
    begins = width * torch.arange(len(lengths), device=lengths.device)[:, None, None]
    places = torch.cat([target.expand(len(lengths), -1, -1), drawn], dim=2) + begins
    return valid, torch.where(valid.unsqueeze(2), places, 0)


def loss_of_chance(negatives: int) -> float:
    """The least loss of one target by a score that is the same for all frames: entropy of one among 1 + J."""
    return math.log(negatives + 1) + negatives * math.log((negatives + 1) / negatives)
