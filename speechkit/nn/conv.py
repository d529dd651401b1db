"""Convolutions over feature frames: subsampling and residual blocks, both blind to padding."""

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
