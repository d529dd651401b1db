"""Product quantisation of frames by Gumbel softmax (vq-wav2vec, section 3.1; wav2vec 2.0, section 2)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True, kw_only=True)
class QuantiserConfig:
    """`groups` codebooks of `entries` vectors of `entry_dim`, which a linear layer takes to `out_dim`.

    The temperature falls from `start` to `end` by the factor `decay` per update.
    """

    groups: int = 2
    entries: int = 320
    entry_dim: int = 128
    out_dim: int = 256
    start: float = 2.0
    end: float = 0.5
    decay: float = 0.999995
    dropout: float = 0.1

    def temperature(self, update: int) -> float:
        """Softmax temperature at an update."""
        return max(self.end, self.start * self.decay**update)


class Quantised(NamedTuple):
    """Quantised frames `(..., out_dim)`, their codes `(..., G)`, and code probabilities of each group `(G, V)`.

    `mean` are the probabilities by the plain softmax, without noise and temperature, averaged over all frames: the
    diversity loss is taken on them. `used` are shares of frames by the best code.
    """

    vectors: Tensor
    codes: Tensor
    mean: Tensor
    used: Tensor


class GumbelQuantiser(nn.Module):
    """Chooses one entry of each codebook, in training with Gumbel noise and straight-through gradients."""

    def __init__(self, config: QuantiserConfig, in_dim: int) -> None:
        super().__init__()
        self.config = config
        self.logits = nn.Linear(in_dim, config.groups * config.entries)
        nn.init.normal_(self.logits.weight)
        nn.init.zeros_(self.logits.bias)
        self.codebooks = nn.Parameter(torch.rand(config.groups, config.entries, config.entry_dim))
        self.output = nn.Linear(config.groups * config.entry_dim, config.out_dim)

    def forward(self, x: Tensor, temperature: float) -> Quantised:
        """Quantise frames `x (..., in_dim)`."""
        config = self.config
        x = F.dropout(x, config.dropout, self.training)
        logits = self.logits(x).float().view(-1, config.groups, config.entries)
        best = logits.argmax(-1)
        if self.training:
            choice = F.gumbel_softmax(logits, tau=temperature, hard=True)
            codes = choice.detach().argmax(-1)
            entries = torch.einsum("fgv,gvd->fgd", choice.to(self.codebooks.dtype), self.codebooks)
        else:
            codes = best
            entries = self.codebooks[torch.arange(config.groups, device=x.device), codes]
        used = torch.zeros(config.groups, config.entries, device=x.device)
        used.scatter_add_(1, best.T, torch.ones_like(best.T, dtype=used.dtype))
        return Quantised(
            self.output(entries.flatten(1)).view(*x.shape[:-1], config.out_dim),
            codes.view(*x.shape[:-1], config.groups),
            logits.softmax(-1).mean(0),
            used / max(1, len(logits)),
        )


def perplexity(probabilities: Tensor) -> Tensor:
    """Sum over groups of exp(entropy) of `probabilities (G, V)`: between G and G V."""
    entropy: Tensor = -(probabilities * (probabilities + 1e-7).log()).sum(-1)
    return entropy.exp().sum()
