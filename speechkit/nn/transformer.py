"""The transformer: a stack of self-attention blocks, and the encoder with its convolutional position embedding."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from speechkit.nn.lengths import Packing, zero_padding


@dataclass(frozen=True, kw_only=True)
class StackConfig:
    """Sizes of a `TransformerStack`; `layer_drop` is a probability per block, `norm_eps` what norms add to a variance.

    With `checkpointing` activations inside of blocks are computed a second time on the way back instead of being kept.
    """

    dim: int = 768
    layers: int = 12
    heads: int = 12
    feed_forward: int = 3072
    norm_first: bool = False
    dropout: float = 0.1
    attention_dropout: float = 0.1
    activation_dropout: float = 0.0
    layer_drop: float = 0.0
    norm_eps: float = 1e-5
    checkpointing: bool = False

    def __post_init__(self) -> None:
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} must be a multiple of heads {self.heads}")


@dataclass(frozen=True, kw_only=True)
class TransformerConfig(StackConfig):
    """Sizes of a `TransformerEncoder`; its position embedding is `position_kernel` frames wide."""

    position_kernel: int = 128
    position_groups: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dim % self.position_groups:
            raise ValueError(f"dim {self.dim} must be a multiple of position_groups {self.position_groups}")


class ConvPositionEmbedding(nn.Module):
    """Relative position from a grouped, weight-normalised convolution (wav2vec 2.0, section 2).

    An even kernel yields one frame too many, which is dropped.
    """

    def __init__(self, dim: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        weight = torch.empty(dim, dim // groups, kernel).normal_(std=(4 / (kernel * dim)) ** 0.5)
        self.direction = nn.Parameter(weight)
        self.gain = nn.Parameter(_tap_norm(weight))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        """`(N, T, dim)`, zero on padding, to the embedding of the same shape."""
        weight = self.direction * (self.gain / _tap_norm(self.direction))
        y = F.conv1d(x.transpose(1, 2), weight, self.bias, padding=weight.shape[2] // 2, groups=self.groups)
        return F.gelu(y[..., : x.shape[1]].transpose(1, 2))


def _tap_norm(weight: Tensor) -> Tensor:
    """Euclidean norm `(1, 1, k)` of each tap of a kernel: the dimension that weight norm leaves is the time."""
    norm: Tensor = torch.linalg.vector_norm(weight, dim=(0, 1), keepdim=True)
    return norm


class TransformerBlock(nn.Module):
    """Self-attention and feed-forward, with layer norm before (`norm_first`) or after each.

    In a `causal` block a frame attends to itself and those before it.
    """

    def __init__(self, config: StackConfig, causal: bool = False) -> None:
        super().__init__()
        self.config, self.causal = config, causal
        self.attention_norm = nn.LayerNorm(config.dim, config.norm_eps)
        self.qkv = nn.Linear(config.dim, 3 * config.dim)
        self.attention_out = nn.Linear(config.dim, config.dim)
        self.feed_forward_norm = nn.LayerNorm(config.dim, config.norm_eps)
        self.feed_forward_in = nn.Linear(config.dim, config.feed_forward)
        self.feed_forward_out = nn.Linear(config.feed_forward, config.dim)

    def forward(self, x: Tensor, packing: Packing) -> Tensor:
        """Transform the valid frames `x (F, dim)` of a batch."""
        if self.config.norm_first:
            x = x + self._attend(self.attention_norm(x), packing)
            return x + self._feed_forward(self.feed_forward_norm(x))
        x = self.attention_norm(x + self._attend(x, packing))
        y: Tensor = self.feed_forward_norm(x + self._feed_forward(x))
        return y

    def _attend(self, x: Tensor, packing: Packing) -> Tensor:
        config = self.config
        padded = packing.unpack(self.qkv(x))
        batch, frames, _ = padded.shape
        query, key, value = padded.view(batch, frames, 3, config.heads, -1).permute(2, 0, 3, 1, 4)
        # Padding lies behind all valid frames, so that none of them sees it where attention is causal.
        mask = None if packing.full or self.causal else packing.mask[:, None, None, :]
        dropout = config.attention_dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout, is_causal=self.causal)
        y = self.attention_out(packing.pack(y.transpose(1, 2).reshape(batch, frames, config.dim)))
        return F.dropout(y, config.dropout, self.training)

    def _feed_forward(self, x: Tensor) -> Tensor:
        config = self.config
        y = F.dropout(F.gelu(self.feed_forward_in(x)), config.activation_dropout, self.training)
        return F.dropout(self.feed_forward_out(y), config.dropout, self.training)


class TransformerStack(nn.ModuleList):
    """Blocks one after the other; in training each is left out with probability `layer_drop`."""

    def __init__(self, config: StackConfig, causal: bool = False) -> None:
        super().__init__(TransformerBlock(config, causal) for _ in range(config.layers))
        self.config = config
        self.skips_parameters = config.layer_drop > 0

    def forward(self, x: Tensor, packing: Packing) -> Tensor:
        """Transform the valid frames `x (F, dim)` of a batch."""
        for block in self:
            if self.training and self.config.layer_drop and torch.rand(()) < self.config.layer_drop:
                continue
            x = self._run(block, x, packing)
        return x

    def outputs(self, x: Tensor, packing: Packing) -> Iterator[Tensor]:
        """What each block gives, `(F, dim)`, none left out."""
        for block in self:
            x = self._run(block, x, packing)
            yield x

    def _run(self, block: nn.Module, x: Tensor, packing: Packing) -> Tensor:
        if self.config.checkpointing and self.training and torch.is_grad_enabled():
            y: Tensor = checkpoint(block, x, packing, use_reentrant=False)
            return y
        return block(x, packing)  # type: ignore[no-any-return]


class TransformerEncoder(nn.Module):
    """Position embedding and a stack of blocks; `(N, T, dim)` and lengths to `(N, T, dim)`.

    Blocks see valid frames only, laid end to end; padding comes back as zeros.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.position = ConvPositionEmbedding(config.dim, config.position_kernel, config.position_groups)
        self.norm = nn.LayerNorm(config.dim, config.norm_eps)
        self.blocks = TransformerStack(config)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Encode a padded batch."""
        packing = Packing.of(lengths, x.shape[1])
        x = self.blocks(self._enter(x, packing), packing)
        return packing.unpack(self.norm(x) if self.config.norm_first else x)

    def layers(self, x: Tensor, lengths: Tensor, count: int | None = None) -> list[Tensor]:
        """The outputs of the first `count` blocks (all if None), each `(N, T, dim)`, without the norm at the end."""
        packing = Packing.of(lengths, x.shape[1])
        outputs = self.blocks.outputs(self._enter(x, packing), packing)
        return [packing.unpack(each) for each in itertools.islice(outputs, count)]

    def _enter(self, x: Tensor, packing: Packing) -> Tensor:
        x = x if packing.full else zero_padding(x, packing.mask)
        x = packing.pack(x + self.position(x))
        if not self.config.norm_first:
            x = self.norm(x)
        return F.dropout(x, self.config.dropout, self.training)
