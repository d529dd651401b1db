"""Means over segments of padded sequences."""

from torch import Tensor
from torch.nn import functional as F


def segment_means(x: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
    """The mean of the frames from `starts` to before `ends` of each segment, `(N, S, C)`, zero where there are none.

    Sums are differences of cumulative sums in float64, so that the cost does not depend on the number of segments.

    Args:
        x: frames `(N, T, C)`.
        starts, ends: integers `(N, S)` with `0 <= starts <= ends <= T`; both are the same on padding.
    """
    sums = F.pad(x.double().cumsum(dim=1), (0, 0, 1, 0))
    width = x.shape[2]

    def until(frames: Tensor) -> Tensor:
        return sums.gather(1, frames[:, :, None].expand(-1, -1, width))

    counts = (ends - starts).clamp(min=1)
    means: Tensor = (until(ends) - until(starts)) / counts[:, :, None]
    return means.to(x.dtype)
