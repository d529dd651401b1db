"""The transformer encoder: self-attention blocks over a convolutional position embedding."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechkit.nn.lengths import valid_mask, zero_padding


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Sizes of a `TransformerEncoder`; `position_kernel` frames wide, `layer_drop` a probability per block."""

    dim: int = 768
    layers: int = 12
    heads: int = 12
    feed_forward: int = 3072
    position_kernel: int = 128
    position_groups: int = 16
    norm_first: bool = False
    dropout: float = 0.1
    attention_dropout: float = 0.1
    activation_dropout: float = 0.0
    layer_drop: float = 0.0

    def __post_init__(self) -> None:
        if self.dim % self.heads or self.dim % self.position_groups:
            raise ValueError(
                f"dim {self.dim} must be a multiple of heads {self.heads} and position_groups {self.position_groups}"
            )


class ConvPositionEmbedding(nn.Module):
    """Relative position from a grouped, weight-normalised convolution (wav2vec 2.0, section 2).

    An even kernel yields one frame too many, which is dropped.
    """

    def __init__(self, dim: int, kernel: int, groups: int) -> None:
        super().__init__()
        conv = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=groups)
        nn.init.normal_(conv.weight, std=(4 / (kernel * dim)) ** 0.5)
        assert conv.bias is not None
        nn.init.zeros_(conv.bias)
        self.conv = nn.utils.parametrizations.weight_norm(conv, dim=2)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, T, dim)`, zero on padding, to the embedding of the same shape."""
        return F.gelu(self.conv(x.transpose(1, 2))[..., : x.shape[1]].transpose(1, 2))


class TransformerBlock(nn.Module):
    """Self-attention and feed-forward, with layer norm before (`norm_first`) or after each."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.attention_norm = nn.LayerNorm(config.dim)
        self.qkv = nn.Linear(config.dim, 3 * config.dim)
        self.attention_out = nn.Linear(config.dim, config.dim)
        self.feed_forward_norm = nn.LayerNorm(config.dim)
        self.feed_forward_in = nn.Linear(config.dim, config.feed_forward)
        self.feed_forward_out = nn.Linear(config.feed_forward, config.dim)

    def forward(self, x: Tensor, key_mask: Tensor | None) -> Tensor:
        """`x (N, T, dim)`; `key_mask (N, 1, 1, T)` True where a frame may be attended to, None without padding."""
        if self.config.norm_first:
            x = x + self._attend(self.attention_norm(x), key_mask)
            return x + self._feed_forward(self.feed_forward_norm(x))
        x = self.attention_norm(x + self._attend(x, key_mask))
        y: Tensor = self.feed_forward_norm(x + self._feed_forward(x))
        return y

    def _attend(self, x: Tensor, key_mask: Tensor | None) -> Tensor:
        config = self.config
        batch, frames, dim = x.shape
        shape = (batch, frames, 3, config.heads, dim // config.heads)
        query, key, value = self.qkv(x).view(shape).permute(2, 0, 3, 1, 4)
        dropout = config.attention_dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(query, key, value, attn_mask=key_mask, dropout_p=dropout)
        y = self.attention_out(y.transpose(1, 2).reshape(batch, frames, dim))
        return F.dropout(y, config.dropout, self.training)

    def _feed_forward(self, x: Tensor) -> Tensor:
        config = self.config
        y = F.dropout(F.gelu(self.feed_forward_in(x)), config.activation_dropout, self.training)
        return F.dropout(self.feed_forward_out(y), config.dropout, self.training)


class TransformerEncoder(nn.Module):
    """Position embedding and a stack of blocks; `(N, T, dim)` and lengths to `(N, T, dim)`."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.position = ConvPositionEmbedding(config.dim, config.position_kernel, config.position_groups)
        self.norm = nn.LayerNorm(config.dim)
        self.blocks = nn.ModuleList(TransformerBlock(config) for _ in range(config.layers))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Encode a padded batch; padded frames come back undefined."""
        mask = valid_mask(lengths, x.shape[1])
        x = zero_padding(x, mask)
        x = x + self.position(x)
        if not self.config.norm_first:
            x = self.norm(x)
        x = F.dropout(x, self.config.dropout, self.training)
        key_mask = None if bool(mask.all()) else mask[:, None, None, :]
        for block in self.blocks:
            if self.training and self.config.layer_drop and torch.rand(()) < self.config.layer_drop:
                continue
            x = block(x, key_mask)
        return self.norm(x) if self.config.norm_first else x
