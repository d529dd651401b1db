"""Frames pooled into segments: means where the cluster stays the same, then means of neighbours (Baevski et al. 2021,
section 3.2)."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Spans = npt.NDArray[np.int64]


def segments(labels: npt.NDArray[np.integer]) -> Spans:
    """The runs of equal `labels (T,)`: first frame of each and that behind it, `(S, 2)`."""
    changes = np.flatnonzero(labels[1:] != labels[:-1]) + 1
    edges = np.concatenate([[0], changes, [len(labels)]]) if len(labels) else np.zeros(1)
    return np.stack([edges[:-1], edges[1:]], axis=1).astype(np.int64)


def segment_means(frames: Tensor, spans: Spans) -> Tensor:
    """Means `(S, D)` of `frames (T, D)` inside of spans `(S, 2)` that follow each other without gaps."""
    lengths = torch.from_numpy(spans[:, 1] - spans[:, 0])
    owners = torch.repeat_interleave(torch.arange(len(spans)), lengths)
    sums = torch.zeros(len(spans), frames.shape[1], dtype=torch.float64).index_add_(0, owners, frames.double())
    return (sums / lengths.unsqueeze(1)).to(frames.dtype)


def pair_means(frames: Tensor) -> Tensor:
    """Means of each two neighbours of `frames (S, D)`, `(ceil(S / 2), D)`; of an odd number the last stays alone."""
    padded = torch.cat([frames, frames[-1:]]) if len(frames) % 2 else frames
    return padded.view(-1, 2, frames.shape[1]).mean(1)


def pair_spans(spans: Spans) -> Spans:
    """The spans of what `pair_means` makes of these."""
    ends = np.concatenate([spans[1::2, 1], spans[-1:, 1] if len(spans) % 2 else spans[:0, 1]])
    return np.stack([spans[::2, 0], ends], axis=1)
