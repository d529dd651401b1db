"""Convolutions over feature frames: subsampling, residual blocks and plain or gated layers, all blind to padding."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechkit.nn.lengths import conv_length, valid_mask, zero_padding


class ConvSubsampling(nn.Module):
    """Convolutions of kernel 3 from feature bins to the model's width, one per entry of `strides`.

    Input `(N, T, in_dim)` and lengths `(N,)`; output `(N, T', dim)` and lengths, where
    T' is T divided by the product of the strides, rounded up at each layer.
    """

    kernel = 3

    def __init__(self, in_dim: int, dim: int, strides: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        widths = (in_dim, *(dim for _ in strides))
        self.strides = strides
        self.convs = nn.ModuleList(
            nn.Conv1d(widths[i], widths[i + 1], self.kernel, stride, padding=self.kernel // 2)
            for i, stride in enumerate(strides)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in strides)
        self.dropout = dropout

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Number of frames after all layers."""
        for stride in self.strides:
            lengths = conv_length(lengths, self.kernel, stride, self.kernel // 2)
        return lengths

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Subsample a padded batch."""
        for conv, norm, stride in zip(self.convs, self.norms, self.strides, strict=True):
            x = zero_padding(x, valid_mask(lengths, x.shape[1]))
            lengths = conv_length(lengths, self.kernel, stride, self.kernel // 2)
            x = F.gelu(norm(conv(x.transpose(1, 2)).transpose(1, 2)))
            x = F.dropout(x, self.dropout, self.training)
        return x, lengths


class ConvBlock(nn.Module):
    """Residual time-delay block: layer norm, dilated convolution, GELU, linear, dropout; `(N, T, dim)` to the same."""

    def __init__(self, dim: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.conv = nn.Conv1d(dim, dim, kernel, padding=dilation * (kernel // 2), dilation=dilation)
        self.out = nn.Linear(dim, dim)
        self.dropout = dropout

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Transform valid frames; `mask (N, T)` keeps padding out of the receptive field."""
        y = zero_padding(self.norm(x), mask)
        y = F.gelu(self.conv(y.transpose(1, 2)).transpose(1, 2))
        return x + F.dropout(self.out(y), self.dropout, self.training)


Activation = Literal["prelu", "glu"]
PRELU_SLOPE = 0.25  # of negative inputs, before it learns
GATE_SCALE = 0.1  # of the weights of gates, before they learn: all begin half open


class ConvLayer(nn.Module):
    """Convolution, activation, dropout: `(N, T, in_dim)` to `(N, ceil(T / stride), dim)`.

    An even kernel sees one more frame ahead than behind. The activation "glu" is that of gated convolutions (Dauphin et
    al. 2017); with `weight_norm` each output channel has a direction and a length of its own. Weights begin such that
    the mean square of what comes in goes on through activation and dropout, as in Gehring et al. 2017, section 3.5.
    """

    def __init__(
        self,
        in_dim: int,
        dim: int,
        kernel: int,
        stride: int,
        activation: Activation,
        dropout: float,
        *,
        weight_norm: bool,
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.dropout = kernel, stride, dropout
        gated = activation == "glu"
        self.prelu = None if gated else nn.PReLU(init=PRELU_SLOPE)
        variance = 4.0 if gated else 2 / (1 + PRELU_SLOPE**2)
        deviation = (variance * (1 - dropout) / (in_dim * kernel)) ** 0.5
        self.weight = nn.Parameter(torch.empty(2 * dim if gated else dim, in_dim, kernel).normal_(std=deviation))
        with torch.no_grad():
            self.weight[dim:] *= GATE_SCALE
        self.bias = nn.Parameter(torch.zeros(len(self.weight)))
        self.gain: nn.Parameter | None = None
        if weight_norm:
            self.gain = nn.Parameter(torch.linalg.vector_norm(self.weight.detach(), dim=(1, 2)))

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Number of frames after the layer, rounded up."""
        return (lengths + self.stride - 1) // self.stride

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Convolve the valid frames of a padded batch."""
        weight: Tensor = self.weight
        if self.gain is not None:
            weight = F.normalize(weight.flatten(1), dim=1).view_as(weight) * self.gain[:, None, None]
        x = zero_padding(x, valid_mask(lengths, x.shape[1])).transpose(1, 2)
        y = F.conv1d(F.pad(x, ((self.kernel - 1) // 2, self.kernel // 2)), weight, self.bias, self.stride)
        y = F.glu(y, dim=1) if self.prelu is None else self.prelu(y)
        return F.dropout(y.transpose(1, 2), self.dropout, self.training), self.output_lengths(lengths)
