"""Lengths of padded sequences: integer counts, and masks that are True where a frame is valid."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

NO_LABEL = -1  # of a frame that has none


def valid_mask(lengths: Tensor, max_length: int) -> Tensor:
    """Lengths `(N,)` to a boolean mask `(N, max_length)`, True on the first `lengths[n]` frames."""
    return torch.arange(max_length, device=lengths.device) < lengths[:, None]


def fit_labels(labels: Tensor, frames: int) -> Tensor:
    """Labels `(N, T')` as `(N, frames)`: what goes beyond is passed over, what is missing has none."""
    return F.pad(labels[:, :frames], (0, max(0, frames - labels.shape[1])), value=NO_LABEL)


def conv_length(length: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """Number of output frames of a convolution over `length` input frames, at least 0."""
    return ((length + 2 * padding - kernel) // stride + 1).clamp(min=0)


def zero_padding(x: Tensor, mask: Tensor) -> Tensor:
    """Set the invalid frames of `x (N, T, C)` to zero by `mask (N, T)`."""
    return x * mask.unsqueeze(-1).to(x.dtype)


@dataclass(frozen=True)
class Packing:
    """How the valid frames of a padded batch lie end to end.

    Attributes:
        mask: `(N, T)`, True where a frame is valid.
        valid: `(F,)`, places of the valid frames among all N T.
        full: whether there is no padding.
    """

    mask: Tensor
    valid: Tensor
    full: bool

    @classmethod
    def of(cls, lengths: Tensor, max_length: int) -> "Packing":
        """From lengths `(N,)` of a batch that is `max_length` frames wide."""
        mask = valid_mask(lengths, max_length)
        valid = mask.flatten().nonzero().squeeze(1)
        return cls(mask, valid, len(valid) == mask.numel())

    def pack(self, x: Tensor) -> Tensor:
        """The valid frames `(F, C)` of `x (N, T, C)`, or `(F,)` of `(N, T)`."""
        flat = x.flatten(0, 1)
        return flat if self.full else flat.index_select(0, self.valid)

    def unpack(self, x: Tensor) -> Tensor:
        """`x (F, C)` back as `(N, T, C)`, zero on padding."""
        if not self.full:
            x = x.new_zeros(self.mask.numel(), x.shape[1]).index_copy(0, self.valid, x)
        return x.view(*self.mask.shape, -1)
