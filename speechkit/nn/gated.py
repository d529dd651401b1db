"""Gated convolutions of Dauphin et al., "Language modeling with gated convolutional networks" (2017), section 2.

They see nothing of the future: frame t of the output depends on frames t - kernel + 1 to t of the input. Read in
pieces, a sequence gives what it gives as a whole, for each block hands on the frames that the next piece needs.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class NormedConv(nn.Module):
    """Convolution with weight norm (Salimans and Kingma, 2016): `(N, T + kernel - 1, in_dim)` to `(N, T, out_dim)`.

    Args:
        std: of the weights at the start.
    """

    folded: Tensor | None

    def __init__(self, in_dim: int, out_dim: int, kernel: int, std: float) -> None:
        super().__init__()
        self.in_dim, self.kernel = in_dim, kernel
        self.direction = nn.Parameter(torch.empty(out_dim, in_dim, kernel).normal_(std=std))
        self.gain = nn.Parameter(_norm(self.direction.detach()))
        self.bias = nn.Parameter(torch.zeros(out_dim))
        self.register_buffer("folded", None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve frames, those before the first output included."""
        weight = self._weight() if self.folded is None else self.folded
        if self.kernel == 1:
            return F.linear(x, weight.squeeze(2), self.bias)
        return F.conv1d(x.transpose(1, 2), weight, self.bias).transpose(1, 2)

    def fold(self) -> None:
        """Compute the weights once, for many short inputs; until the next `train()`."""
        with torch.no_grad():
            self.folded = self._weight()

    def train(self, mode: bool = True) -> "NormedConv":
        """Set the mode; in training the weights are computed anew every time."""
        self.folded = None if mode else self.folded
        return super().train(mode)

    def _weight(self) -> Tensor:
        return self.direction * (self.gain / _norm(self.direction))


def _norm(weight: Tensor) -> Tensor:
    """Euclidean norm `(out, 1, 1)` of the weights of each output."""
    norm: Tensor = torch.linalg.vector_norm(weight, dim=(1, 2), keepdim=True)
    return norm


class GatedBlock(nn.Module):
    """Gated convolutions with a connection around them: one, or with a `bottleneck` three of kernels 1, `kernel`, 1.

    Each takes dropout before it and a gated linear unit after it. The sum of both ways is scaled by sqrt(1/2); where
    the widths differ a linear layer joins them.
    """

    def __init__(self, in_dim: int, width: int, kernel: int, bottleneck: int, dropout: float) -> None:
        super().__init__()
        inner = ((bottleneck, 1), (bottleneck, kernel), (width, 1)) if bottleneck else ((width, kernel),)
        dims = [in_dim, *(dim for dim, _ in inner)]
        self.convs = nn.ModuleList(
            NormedConv(dims[i], 2 * dim, size, math.sqrt(4 * (1 - dropout) / (size * dims[i])))
            for i, (dim, size) in enumerate(inner)
        )
        self.around = None if in_dim == width else NormedConv(in_dim, width, 1, math.sqrt((1 - dropout) / in_dim))
        self.wide = len(inner) // 2  # the convolution of `kernel`
        self.before = (kernel - 1, dims[self.wide])
        self.dropout = dropout

    def start(self, batch: int) -> Tensor:
        """The frames `(N, kernel - 1, dim)` that the wide convolution sees before the first: zeros."""
        return next(self.parameters()).new_zeros(batch, *self.before)

    def forward(self, x: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """Transform `x (N, T, in_dim)` to `(N, T, width)`.

        Args:
            before: frames of the wide convolution, as of `start` or an earlier `forward`.

        Returns:
            The output, and the frames `before` what comes after `x`.
        """
        y, after = x, before
        for place, conv in enumerate(self.convs):
            y = F.dropout(y, self.dropout, self.training)
            if place == self.wide:
                y = torch.cat([before.to(y.dtype), y], dim=1)
                after = y[:, x.shape[1] :]
            y = F.glu(conv(y), dim=2)
        around = x if self.around is None else self.around(x)
        return (around + y) * math.sqrt(0.5), after
