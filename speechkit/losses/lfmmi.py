"""Lattice-free maximum mutual information (Povey et al., Interspeech 2016; Hadian et al., Interspeech 2018).

For utterance u, F_u = log p(X_u | numerator_u) - log p(X_u | denominator): both sums run over all paths of as many
frames as the utterance has, without pruning and in the log domain, and carry the same language model weights. The
gradient at a frame is the difference of two distributions over the columns, so each of its rows sums to zero.

It follows that F does not change when a number is added to all columns of a frame: a log-softmax before the loss
changes neither F nor the gradient of the network's outputs. Raw outputs (Kaldi, pychain) and log-probabilities (k2)
differ only in what is done besides: `limited` and its penalties hold raw outputs within bounds.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from speechkit.fsa.graph import GraphBatch
from speechkit.fsa.intersect import total_scores


@dataclass(frozen=True)
class Mmi:
    """The objective of a batch.

    Attributes:
        loss: minus the sum of F over the utterances that have one, in nats; float64, differentiable.
        objective: F of each utterance, detached, `(N,)` float64; -inf where the numerator has no path.
    """

    loss: Tensor
    objective: Tensor

    @property
    def has_path(self) -> Tensor:
        """Which utterances count, `(N,)` bool."""
        return torch.isfinite(self.objective)


def lfmmi(
    scores: Tensor, lengths: Tensor, numerators: GraphBatch, denominators: GraphBatch, *, engine: str = "auto"
) -> Mmi:
    """The objective of a batch; F is at most 0 where each numerator is a sub-graph of its denominator.

    Args:
        scores: log-probabilities or raw outputs, `(N, T, V)`.
        lengths: numbers of frames, `(N,)`.
        numerators: a graph for each utterance.
        denominators: a graph for each utterance, usually the same one (`GraphBatch.shared`).
        engine: of `speechkit.fsa.intersect`.

    An utterance without a path, such as one with too few frames for its transcript, adds nothing to the loss and gets
    no gradient.
    """
    num = total_scores(scores, lengths, numerators, engine=engine)
    den = total_scores(scores, lengths, denominators, engine=engine)
    has_path = torch.isfinite(num) & torch.isfinite(den)
    loss = torch.where(has_path, den - num, torch.zeros_like(num)).sum()
    return Mmi(loss, torch.where(has_path, num - den, torch.full_like(num, -torch.inf)).detach())


def limited(outputs: Tensor, bound: float) -> Tensor:
    """Raw outputs `(N, T, V)` clamped to +-`bound`, as both Kaldi and pychain do before the forward-backward."""
    return outputs.clamp(-bound, bound)


def output_penalty(outputs: Tensor, mask: Tensor, bound: float, out_of_range: float, l2: float) -> Tensor:
    """Kaldi's penalties on raw outputs `(N, T, V)`, summed over the valid frames, `mask (N, T)`.

    `out_of_range` / 2 times the square of what exceeds +-`bound`, which has no other gradient, plus `l2` / 2 times the
    square of the outputs (KD src/chain/chain-training.h).
    """
    excess = (outputs.abs() - bound).clamp(min=0)
    each = out_of_range / 2 * excess.square() + l2 / 2 * outputs.square()
    return each.sum(dim=-1).masked_fill(~mask, 0.0).sum()
