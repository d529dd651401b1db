"""Time derivatives of features, as Kaldi's `add-deltas` computes them.

The filter of order k is that of order k - 1 convolved with n / (2 sum n^2), n = -w .. w; frames beyond the ends are
those at the ends. Each order is one filter on the features themselves, so edges differ from derivatives of derivatives.
"""

import torch
from torch import Tensor


def delta_filters(order: int = 2, window: int = 2) -> list[Tensor]:
    """Filters of the orders 0 to `order`, of length 1, 2w + 1, 4w + 1 ..., float64."""
    if order < 0 or window < 1:
        raise ValueError(f"deltas of order {order} over a window of {window} frames do not exist")
    taps = torch.arange(-window, window + 1, dtype=torch.float64)
    slope = (taps / taps.square().sum()).flip(0)
    filters = [torch.ones(1, dtype=torch.float64)]
    for _ in range(order):
        padded = torch.nn.functional.pad(filters[-1], (2 * window, 2 * window)).unfold(0, 2 * window + 1, 1)
        filters.append(padded @ slope)
    return filters


def add_deltas(features: Tensor, order: int = 2, window: int = 2) -> Tensor:
    """Features `(T, C)` with their derivatives behind them, `(T, (order + 1) C)`."""
    if len(features) == 0:
        return features.new_empty(0, features.shape[1] * (order + 1))
    parts = []
    for taps in delta_filters(order, window):
        reach = len(taps) // 2
        padded = torch.cat([features[:1].expand(reach, -1), features, features[-1:].expand(reach, -1)])
        part = torch.zeros_like(features)
        for offset, weight in enumerate(taps.tolist()):
            part.add_(padded[offset : offset + len(features)], alpha=weight)
        parts.append(part)
    return torch.cat(parts, dim=1)
