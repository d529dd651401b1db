"""Connectionist temporal classification (Graves et al. 2006), blank is token 0."""

import functools
import importlib.util
import itertools

import torch
from torch import Tensor
from torch.nn import functional as F

from speechkit.fsa.ctc_batch import ctc_graphs
from speechkit.fsa.intersect import total_scores


def ctc_loss(log_probs: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> Tensor:
    """Sum over the batch of -log p(target | input), in nats.

    `log_probs (N, T, V)`, `lengths (N,)`, `targets (N, S)` padded with anything, `target_lengths (N,)`.
    An utterance with fewer frames than `min_frames` asks for has no path and gives infinity: leave it out beforehand.
    """
    if log_probs.device.type == "cpu" and log_probs.dtype == torch.float32 and _compiles():
        graphs = ctc_graphs(targets, target_lengths)
        return -total_scores(log_probs, lengths, graphs, engine="torch").sum().float()
    # torch's own is slower on the CPU (tools/bench/ctc.py), but it has float64 and a CUDA kernel. Graphs on CUDA have
    # not been measured; they start several small kernels per frame.
    return F.ctc_loss(log_probs.transpose(0, 1), targets, lengths, target_lengths, blank=0, reduction="sum")


@functools.lru_cache(maxsize=1)
def _compiles() -> bool:
    return importlib.util.find_spec("numba") is not None


def min_frames(tokens: list[int]) -> int:
    """The fewest frames on which CTC can emit `tokens`: one each, and a blank between equal neighbours."""
    return len(tokens) + sum(a == b for a, b in itertools.pairwise(tokens))


def blank_ratio(log_probs: Tensor, mask: Tensor) -> float:
    """Share of valid frames (`mask (N, T)`) whose best token is the blank."""
    best = log_probs.argmax(dim=-1)
    return float(((best == 0) & mask).sum() / torch.clamp(mask.sum(), min=1))
