"""Product quantisation of frames, by Gumbel softmax (vq-wav2vec, section 3.1; wav2vec 2.0, section 2) or k-means."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechkit.nn.lengths import valid_mask
from speechkit.nn.waveform import UtteranceNorm


@dataclass(frozen=True, kw_only=True)
class QuantiserConfig:
    """`groups` codebooks of `entries` vectors of `entry_dim`, or one for all groups if `shared`.

    A linear layer takes them to `out_dim`; where that is None they are joined as they are. Entries are chosen by
    logits of one linear layer or, with `hidden`, of two with ReLU between, as vq-wav2vec's are. The temperature falls
    from `start` to `end` by the factor `decay` per update or, with `anneal`, in a straight line over so many updates.
    """

    groups: int = 2
    entries: int = 320
    entry_dim: int = 128
    out_dim: int | None = 256
    shared: bool = False
    hidden: int | None = None
    start: float = 2.0
    end: float = 0.5
    decay: float = 0.999995
    anneal: int | None = None
    dropout: float = 0.1

    @property
    def dim(self) -> int:
        """Values of a quantised frame."""
        return self.out_dim or self.groups * self.entry_dim

    def temperature(self, update: int) -> float:
        """Softmax temperature at an update."""
        if self.anneal:
            return max(self.end, self.start - (self.start - self.end) * update / self.anneal)
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
        self.logits = _logits(in_dim, config.hidden, config.groups * config.entries)
        books = 1 if config.shared else config.groups
        self.codebooks = nn.Parameter(torch.rand(books, config.entries, config.entry_dim))
        self.output = nn.Linear(config.groups * config.entry_dim, config.out_dim) if config.out_dim else nn.Identity()

    def forward(self, x: Tensor, temperature: float) -> Quantised:
        """Quantise frames `x (..., in_dim)`."""
        config = self.config
        x = F.dropout(x, config.dropout, self.training)
        logits = self.logits(x).float().view(-1, config.groups, config.entries)
        best = logits.argmax(-1)
        books = self.codebooks.expand(config.groups, -1, -1)
        if self.training:
            choice = F.gumbel_softmax(logits, tau=temperature, hard=True)
            codes = choice.detach().argmax(-1)
            entries = torch.einsum("fgv,gvd->fgd", choice.to(books.dtype), books)
        else:
            codes = best
            entries = books[torch.arange(config.groups, device=x.device), codes]
        return Quantised(
            self.output(entries.flatten(1)).view(*x.shape[:-1], config.dim),
            codes.view(*x.shape[:-1], config.groups),
            logits.softmax(-1).mean(0),
            code_shares(best, config.entries),
        )


def _logits(in_dim: int, hidden: int | None, count: int) -> nn.Module:
    if hidden:
        return nn.Sequential(nn.Linear(in_dim, hidden), nn.ReLU(), nn.Linear(hidden, count))
    layer = nn.Linear(in_dim, count)
    nn.init.normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def code_shares(codes: Tensor, entries: int) -> Tensor:
    """`(G, V)`, how many of `codes (F, G)` are each entry, as shares."""
    shares = torch.zeros(codes.shape[1], entries, device=codes.device)
    shares.scatter_add_(1, codes.T, torch.ones_like(codes.T, dtype=shares.dtype))
    return shares / max(1, len(codes))


@dataclass(frozen=True, kw_only=True)
class KmeansQuantiserConfig:
    """`groups` parts of a frame, each replaced by the nearest of `entries` vectors; `shared` by all groups or not.

    `commitment` is gamma of equation 3 of vq-wav2vec. The vectors begin with a standard deviation of `spread`, the
    frames have 1: small ones, as those of the paper's code, leave the choice to the few that are found first.
    """

    groups: int = 2
    entries: int = 320
    shared: bool = False
    commitment: float = 0.25
    spread: float = 0.01


class NearestVectors(NamedTuple):
    """Frames `(N, T, C)` made of codebook vectors, their codes `(N, T, G)`, the shares `(G, V)` of each code among all
    valid frames, and the loss that draws both together, as a mean over the values of these frames."""

    vectors: Tensor
    codes: Tensor
    used: Tensor
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
        self.norm = UtteranceNorm(dim, config.groups)
        books = 1 if config.shared else config.groups
        self.codebooks = nn.Parameter(config.spread * torch.randn(books, config.entries, dim // config.groups))

    def forward(self, x: Tensor, lengths: Tensor) -> NearestVectors:
        """Quantise frames `x (N, T, C)` of utterances of `lengths (N,)`; frames beyond mean nothing."""
        frames = self.norm(self.projection(x.transpose(1, 2)).transpose(1, 2), lengths)
        books = self.codebooks.expand(self.config.groups, -1, -1)
        codes = nearest(frames, books)
        chosen = books[torch.arange(self.config.groups, device=x.device), codes].flatten(2)
        mask = valid_mask(lengths, x.shape[1])
        valid, theirs = frames[mask], chosen[mask]
        loss = F.mse_loss(theirs, valid.detach()) + self.config.commitment * F.mse_loss(valid, theirs.detach())
        used = code_shares(codes[mask], self.config.entries)
        return NearestVectors(frames + (chosen - frames).detach(), codes, used, loss)


@torch.no_grad()
def nearest(frames: Tensor, books: Tensor) -> Tensor:
    """The entry `(N, T, G)` of each of `books (G, V, D)` that is nearest to its part of `frames (N, T, G D)`."""
    with torch.autocast(frames.device.type, enabled=False):
        parts = frames.view(*frames.shape[:2], len(books), -1)
        # |z - e|^2 without |z|^2, which is the same for all e.
        return (books.square().sum(-1) - 2 * torch.einsum("ntgd,gvd->ntgv", parts, books)).argmin(-1)


def perplexity(probabilities: Tensor) -> Tensor:
    """Sum over groups of exp(entropy) of `probabilities (G, V)`: between G and G V."""
    entropy: Tensor = -(probabilities * (probabilities + 1e-7).log()).sum(-1)
    return entropy.exp().sum()


def fewest_codes(groups: int, entries: int) -> float:
    """A perplexity of codes below which a training has collapsed: next to one code in each group, or 1.5 % of all."""
    return max(1.05 * groups, 0.015 * groups * entries)
