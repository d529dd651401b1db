"""Span masking, in time and over channels: the one sampling routine of pre-training, fine-tuning and BERT."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class SpanMaskConfig:
    """Spans of `length` positions; a position begins one with `probability` (fairseq's `mask_prob` is that x length).

    `least` spans are drawn at any rate, where they fit.
    """

    probability: float = 0.065
    length: int = 10
    least: int = 2

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability must be between 0 and 1, not {self.probability}")
        if self.length < 1 or self.least < 0:
            raise ValueError("length must be at least 1, least not negative")


def span_mask(lengths: Sequence[int], max_length: int, config: SpanMaskConfig, *, same_count: bool = False) -> Tensor:
    """Draw masks, True where masked (wav2vec 2.0, section 4.2 and appendix A).

    A sequence of T positions gets p T spans, rounded up or down at random so that the mean is exact. Their starts are
    drawn without replacement from those at which a span fits; spans may overlap. With `same_count` the masks are
    equalised.

    Args:
        lengths: valid positions of each of N sequences; no other is masked.
        max_length: width of the result.
        config: which spans.
        same_count: make the number of masked positions equal.

    Returns:
        `(N, max_length)`, bool, drawn from torch's global generator of the CPU.
    """
    mask = torch.zeros(len(lengths), max_length, dtype=torch.bool)
    for row, length in zip(mask, lengths, strict=True):
        possible = length - config.length + 1
        count = int(config.probability * length + float(torch.rand(())))
        starts = torch.randperm(max(0, possible))[: max(count, config.least)]
        row[(starts[:, None] + torch.arange(config.length)).flatten()] = True
    return equalise(mask) if same_count else mask


def equalise(mask: Tensor) -> Tensor:
    """Take marks from `mask (N, T)` at random until every row has as many as that with the fewest."""
    mask = mask.clone()
    fewest = int(mask.sum(1).min()) if len(mask) else 0
    for row in mask:
        marked = row.nonzero().flatten()
        row[marked[torch.randperm(len(marked))[fewest:].to(marked.device)]] = False
    return mask


class TimeMask(nn.Module):
    """Replaces masked frames by one learned vector."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.rand(dim))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """`x (N, T, dim)` with the frames of `mask (N, T)` replaced."""
        return torch.where(mask.unsqueeze(-1), self.vector.to(x.dtype), x)


def mask_channels(x: Tensor, config: SpanMaskConfig) -> Tensor:
    """Set spans of channels of each utterance of `x (N, T, C)` to zero, the same ones in all its frames."""
    mask = span_mask([x.shape[2]] * len(x), x.shape[2], config)
    return x.masked_fill(mask.to(x.device).unsqueeze(1), 0.0)
