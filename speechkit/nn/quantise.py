"""Product quantisation of frames, by Gumbel softmax (vq-wav2vec, section 3.1; wav2vec 2.0, section 2) or k-means."""

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


@dataclass(frozen=True, kw_only=True)
class KmeansQuantiserConfig:
    """`groups` parts of a frame, each replaced by the nearest of `entries` vectors; `shared` by all groups or not.

    `commitment` is gamma of equation 3 of vq-wav2vec.
    """

    groups: int = 2
    entries: int = 320
    shared: bool = False
    commitment: float = 0.25


class NearestVectors(NamedTuple):
    """Frames `(N, T, C)` made of codebook vectors, their codes `(N, T, G)`, and the loss that draws both together."""

    vectors: Tensor
    codes: Tensor
    loss: Tensor


class KmeansQuantiser(nn.Module):
    """Replaces each part of a frame by the nearest vector; gradients pass as if it had not (vq-wav2vec, section 3.2).

    Before that each part has a projection of its own and is normalised over the utterance.
    """

    def __init__(self, config: KmeansQuantiserConfig, dim: int) -> None:
        super().__init__()
        if dim % config.groups:
            raise ValueError(f"frames of {dim} values cannot be cut into {config.groups} equal groups")
        self.config = config
        self.projection = nn.Conv1d(dim, dim, 1, groups=config.groups, bias=False)
        self.norm = nn.GroupNorm(config.groups, dim)
        books = 1 if config.shared else config.groups
        self.codebooks = nn.Parameter(0.01 * torch.randn(books, config.entries, dim // config.groups))

    def forward(self, x: Tensor) -> NearestVectors:
        """Quantise frames `x (N, T, C)` of utterances without padding."""
        frames = self.norm(self.projection(x.transpose(1, 2))).transpose(1, 2)
        parts = frames.unflatten(2, (self.config.groups, -1))
        books = self.codebooks.expand(self.config.groups, -1, -1)
        # |z - e|^2 without |z|^2, which is the same for all e.
        distances = books.square().sum(-1) - 2 * torch.einsum("ntgd,gvd->ntgv", parts, books)
        codes = distances.argmin(-1)
        nearest = books[torch.arange(self.config.groups, device=x.device), codes].flatten(2)
        loss = F.mse_loss(nearest, frames.detach()) + self.config.commitment * F.mse_loss(frames, nearest.detach())
        return NearestVectors(frames + (nearest - frames).detach(), codes, loss)


def perplexity(probabilities: Tensor) -> Tensor:
    """Sum over groups of exp(entropy) of `probabilities (G, V)`: between G and G V."""
    entropy: Tensor = -(probabilities * (probabilities + 1e-7).log()).sum(-1)
    return entropy.exp().sum()
