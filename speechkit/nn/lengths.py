"""Lengths of padded sequences: integer counts, and masks that are True where a frame is valid."""

import torch
from torch import Tensor


def valid_mask(lengths: Tensor, max_length: int) -> Tensor:
    """Lengths `(N,)` to a boolean mask `(N, max_length)`, True on the first `lengths[n]` frames."""
    return torch.arange(max_length, device=lengths.device) < lengths[:, None]


def conv_length(length: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """Number of output frames of a convolution over `length` input frames, at least 0."""
    return ((length + 2 * padding - kernel) // stride + 1).clamp(min=0)


def zero_padding(x: Tensor, mask: Tensor) -> Tensor:
    """Set the invalid frames of `x (N, T, C)` to zero by `mask (N, T)`."""
    return x * mask.unsqueeze(-1).to(x.dtype)
