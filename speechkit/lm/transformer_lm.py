"""A causal Transformer language model: the probability of each token of a sentence after those before it.

The blocks are those of the encoders (`speechkit.nn.transformer`); positions are the sinusoids of Vaswani et al.,
"Attention is all you need" (2017), section 3.5, which have no longest sentence; input and output embeddings are one
matrix (Press and Wolf, "Using the output embedding to improve language models", 2017).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechkit.lm.units import END_ID
from speechkit.nn.lengths import Packing
from speechkit.nn.transformer import StackConfig, TransformerStack

SLOWEST_WAVE = 10_000.0


class TransformerLm(nn.Module):
    """Scores sentences of `num_tokens` different tokens, of which number 0 ends each; an odd `dim` is a ValueError."""

    def __init__(self, config: StackConfig, num_tokens: int) -> None:
        super().__init__()
        if config.dim % 2:
            raise ValueError(f"dim {config.dim} must be even: a position is sines and cosines")
        self.config = config
        self.embedding = nn.Parameter(torch.randn(num_tokens, config.dim) * config.dim**-0.5)
        self.blocks = TransformerStack(config, causal=True)
        self.norm = nn.LayerNorm(config.dim) if config.norm_first else nn.Identity()

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Log-probability (natural) of each token of `tokens (N, T)`, which end in 0; `(N, T)`, 0 on padding."""
        packing = Packing.of(lengths, tokens.shape[1])
        logits = self._logits(tokens, packing)
        target = packing.pack(tokens.unsqueeze(2)).squeeze(1)
        return packing.unpack(-F.cross_entropy(logits, target, reduction="none").unsqueeze(1)).squeeze(2)

    def log_probs(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Log-probabilities `(N, T, V)` of every token at the place of each of `tokens (N, T)`, 0 on padding."""
        packing = Packing.of(lengths, tokens.shape[1])
        return packing.unpack(self._logits(tokens, packing).log_softmax(dim=-1))

    def _logits(self, tokens: Tensor, packing: Packing) -> Tensor:
        """Scores `(F, V)` of what may stand at the valid places, from what stands before each."""
        before = F.pad(tokens[:, :-1], (1, 0), value=END_ID)
        x = F.embedding(before, self.embedding) * self.config.dim**0.5
        x = packing.pack(x + sinusoids(tokens.shape[1], self.config.dim, x.device))
        x = F.dropout(x, self.config.dropout, self.training)
        return F.linear(self.norm(self.blocks(x, packing)), self.embedding).float()


def sinusoids(count: int, dim: int, device: torch.device, slowest: float = SLOWEST_WAVE) -> Tensor:
    """Embeddings `(count, dim)` of the positions from 0: sines, then cosines, of 1 to `slowest` positions a radian."""
    rates = torch.exp(torch.arange(dim // 2, device=device) * (-math.log(slowest) / max(1, dim // 2 - 1)))
    angles = torch.arange(count, device=device)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)
