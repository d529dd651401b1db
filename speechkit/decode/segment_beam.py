"""Beam search where the number of tokens is known: one for each segment of an utterance, many utterances at once."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

Step = Callable[[Tensor, Tensor], Tensor]


def segment_beam(step: Step, counts: Tensor, beam: int, margin: float = math.inf) -> list[list[int]]:
    """The most probable tokens of each utterance that a beam of so many hypotheses finds.

    All hypotheses of an utterance have the same length, and need no correction for it. An utterance ends with its last
    segment, and those that go on share the batches.

    Args:
        step: from the utterances `(R,)` and the tokens so far `(R, t)` of R hypotheses to the log-probabilities
            `(R, V)` of what comes next; -inf for what may not.
        counts: segments of each utterance, `(N,)`.
        beam: hypotheses of an utterance that are kept.
        margin: those are dropped whose log-probability lies so much below the best.
    """
    found: list[list[int]] = [[] for _ in counts]
    utterances = torch.nonzero(counts > 0).squeeze(1)
    tokens = torch.zeros(len(utterances), 1, 0, dtype=torch.int64)
    scores = torch.zeros(len(utterances), 1)
    place = 0
    while len(utterances):
        tokens, scores = _extended(step, utterances, tokens, scores, beam)
        scores = scores.masked_fill(scores < scores[:, :1] - margin, -math.inf)
        place += 1
        ended = counts[utterances] == place
        for utterance, best in zip(utterances[ended].tolist(), tokens[ended, 0].tolist(), strict=True):
            found[utterance] = best
        utterances, tokens, scores = utterances[~ended], tokens[~ended], scores[~ended]
    return found


def _extended(step: Step, utterances: Tensor, tokens: Tensor, scores: Tensor, beam: int) -> tuple[Tensor, Tensor]:
    """The best hypotheses `(U, B', t + 1)` that are one token longer than `(U, B, t)`, best first, and their scores."""
    alive = torch.isfinite(scores)
    row, column = torch.nonzero(alive, as_tuple=True)
    following = step(utterances[row], tokens[alive])
    totals = torch.full((*scores.shape, following.shape[1]), -math.inf)
    totals[row, column] = scores[alive][:, None] + following
    best, where = totals.flatten(1).topk(min(beam, totals[0].numel()))
    source = torch.div(where, following.shape[1], rounding_mode="floor")
    before = tokens.gather(1, source[..., None].expand(-1, -1, tokens.shape[2]))
    return torch.cat([before, (where % following.shape[1])[..., None]], 2), best
