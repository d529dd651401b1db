"""Greedy CTC decoding: the best token of every frame, repeats merged, blanks removed."""

import torch
from torch import Tensor


def greedy(log_probs: Tensor, lengths: Tensor) -> list[list[int]]:
    """Token ids per utterance from `log_probs (N, T, V)` and `lengths (N,)`; blank is token 0."""
    best = log_probs.argmax(dim=-1).cpu()
    results = []
    for path, length in zip(best, lengths.tolist(), strict=True):
        merged = torch.unique_consecutive(path[:length])
        results.append(merged[merged != 0].tolist())
    return results
