"""The generator and the discriminator of wav2vec-U (Baevski et al. 2021), which learn phones from unpaired text."""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from speechkit.losses.adversarial import (
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    smoothness_loss,
    symbol_diversity_loss,
)
from speechkit.nn.lengths import valid_mask, zero_padding

NEVER = -1e4  # log-probability of a blank that is none of the symbols; infinity would be in the way of searches


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    """One convolution from features to symbols.

    With `batch_norm` features are normalised first, to that standard deviation before it learns: version 2 has 30 with
    kernel 9 and stride 3 (Liu et al. 2022). Without `has_blank` the blank of decoding is none of the symbols.
    """

    in_dim: int = 512
    kernel: int = 4
    stride: int = 1
    bias: bool = False
    dropout: float = 0.1
    batch_norm: float | None = None
    has_blank: bool = True

    @property
    def strides(self) -> tuple[int, ...]:
        """Of all layers, which is one."""
        return (self.stride,)


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    """Three causal convolutions: to `dim` channels, as many again, and one; `norm` is that of their weights."""

    dim: int = 384
    kernel: int = 6
    norm: Literal["none", "spectral", "weight"] = "none"


@dataclass(frozen=True, kw_only=True)
class GanConfig:
    """Sizes, and the weights of the penalties; the published sweep had 1.5 or 2.0, 0.5 or 0.75, and 2 or 4."""

    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    penalty_weight: float = 1.5
    smoothness_weight: float = 0.5
    diversity_weight: float = 4.0


class Generator(nn.Module):
    """Features `(N, T, in_dim)` to log-probabilities `(N, ceil(T / stride), num_tokens)`, blank is token 0.

    An even kernel sees one more frame behind than ahead. Runs of the most probable symbol are left as they are: each
    frame keeps its place in time, and decoding merges them.
    """

    def __init__(self, config: GeneratorConfig, num_tokens: int) -> None:
        super().__init__()
        self.config = config
        symbols = num_tokens if config.has_blank else num_tokens - 1
        self.norm: nn.BatchNorm1d | None = None
        if config.batch_norm is not None:
            self.norm = nn.BatchNorm1d(config.in_dim)
            nn.init.constant_(self.norm.weight, config.batch_norm)
        self.conv = nn.Conv1d(config.in_dim, symbols, config.kernel, config.stride, bias=config.bias)

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Number of output frames for `lengths (N,)` feature frames."""
        return (lengths + self.config.stride - 1) // self.config.stride

    def logits(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of the symbols of the text, `(N, T', V)`, and their lengths `(N,)`."""
        config, mask = self.config, valid_mask(lengths, features.shape[1])
        x = features
        if self.norm is not None:
            x = torch.zeros_like(x).masked_scatter(mask.unsqueeze(-1), self.norm(x[mask]))
        x = F.dropout(zero_padding(x, mask), config.dropout, self.training).transpose(1, 2)
        x = F.pad(x, (config.kernel // 2, (config.kernel - 1) // 2))
        return self.conv(x).transpose(1, 2), self.output_lengths(lengths)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-probabilities `(N, T', num_tokens)` and their lengths `(N,)`."""
        logits, lengths = self.logits(features, lengths)
        log_probs = logits.float().log_softmax(-1)
        return log_probs if self.config.has_blank else F.pad(log_probs, (1, 0), value=NEVER), lengths


def join_runs(logits: Tensor, lengths: Tensor, *, pick: bool) -> tuple[Tensor, Tensor]:
    """Merge neighbouring frames of `logits (N, T, V)` that have the same best symbol.

    Args:
        lengths: `(N,)`.
        pick: a random frame stands for each run, as in training; otherwise the mean does.

    Returns:
        `(N, T', V)`, zero on padding, and the numbers of runs `(N,)`.
    """
    mask, best = valid_mask(lengths, logits.shape[1]), logits.argmax(-1)
    starts = mask.clone()
    starts[:, 1:] &= best[:, 1:] != best[:, :-1]
    runs = starts.sum(1)
    width = int(runs.max())
    number = starts.cumsum(1).sub_(1).clamp_(min=0)
    sizes = torch.zeros(len(runs), width, dtype=torch.int64, device=runs.device).scatter_add_(1, number, mask.long())
    if pick:
        first = sizes.cumsum(1) - sizes
        place = first + (torch.rand(sizes.shape, device=sizes.device) * sizes).long()
        place = place.clamp(max=logits.shape[1] - 1)
        joined = logits.gather(1, place.unsqueeze(-1).expand(-1, -1, logits.shape[2]))
    else:
        total = logits.new_zeros(len(runs), width, logits.shape[2])
        total = total.scatter_add(1, number.unsqueeze(-1).expand_as(logits), zero_padding(logits, mask))
        joined = total / sizes.clamp(min=1).unsqueeze(-1)
    return zero_padding(joined, valid_mask(runs, width)), runs


@dataclass(frozen=True)
class Critic:
    """The discriminator's convolutions with the present weights.

    The first two have nothing between them: together they are one convolution, of which the first frames lack a part of
    the bias, for the second one's padding is zero. The last one and the mean over frames that follows are a weighted
    sum of frames, in which the last frames of a sequence count for fewer taps. Values and gradients are those of three
    convolutions, for a fraction of their products.

    Attributes:
        weight: `(D, V, 2 K - 1)` of both convolutions.
        bias: `(D, K)`, of the frames 0, 1, ..., K - 2 and all that follow.
        ends: `(D, K + 1)`, a frame's part in the sum by how many of the K taps go beyond the end.
        offset: `(1,)`, the last convolution's bias.
    """

    weight: Tensor
    bias: Tensor
    ends: Tensor
    offset: Tensor

    @classmethod
    def of(cls, first: nn.Conv1d, second: nn.Conv1d, last: nn.Conv1d) -> "Critic":
        """Join three convolutions of one kernel size K."""
        (w1, w2, w3), (b1, b2, b3) = (
            [each.weight for each in (first, second, last)],
            [first.bias, second.bias, last.bias],
        )
        assert b1 is not None
        assert b2 is not None
        assert b3 is not None
        kernel = w1.shape[2]
        weight = F.conv1d(w1.transpose(0, 1), w2.flip(2), padding=kernel - 1).transpose(0, 1)
        taps = torch.einsum("omk,m->ok", w2, b1).flip(1)
        sums = w3[0].flip(1).cumsum(1).flip(1)
        return cls(weight, b2.unsqueeze(1) + taps.cumsum(1), F.pad(sums, (0, 1)), b3)

    def detached(self) -> "Critic":
        """The same, of which nothing learns."""
        return Critic(*(each.detach() for each in (self.weight, self.bias, self.ends, self.offset)))

    def __call__(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Logits `(N,)` of sequences of distributions `(N, T, V)`, zero on padding; all have T frames by default."""
        lengths = torch.full((len(x),), x.shape[1], device=x.device) if lengths is None else lengths
        beyond = torch.arange(x.shape[1], device=x.device) + self.bias.shape[1] - lengths.unsqueeze(1)
        parts = torch.einsum("ndt,dk->ntk", F.gelu(self._hidden(x)), self.ends)
        parts = parts.gather(2, beyond.clamp(0, self.bias.shape[1]).unsqueeze(-1))
        return self.offset + parts.sum((1, 2)) / lengths

    def _hidden(self, x: Tensor) -> Tensor:
        """What goes into the GELU, `(N, D, T)`."""
        place = torch.arange(x.shape[1], device=x.device).clamp(max=self.bias.shape[1] - 1)
        padded = F.pad(x.transpose(1, 2), (self.weight.shape[2] - 1, 0))
        return F.conv1d(padded, self.weight) + self.bias[:, place]


class Discriminator(nn.Module):
    """Sequences of distributions over V symbols to the logit that they are made, the mean of one logit a frame.

    Three causal convolutions with a GELU behind the second one only, which `critic` joins.
    """

    def __init__(self, config: DiscriminatorConfig, symbols: int) -> None:
        super().__init__()
        shapes = ((symbols, config.dim), (config.dim, config.dim), (config.dim, 1))
        self.convs = nn.ModuleList(nn.Conv1d(*shape, config.kernel) for shape in shapes)
        if config.norm != "none":
            for conv in self.convs:
                (spectral_norm if config.norm == "spectral" else weight_norm)(conv)

    def critic(self) -> Critic:
        """With the present weights, and one more power iteration where there is a spectral norm."""
        return Critic.of(*self.convs)


@dataclass(frozen=True)
class GanLoss:
    """The loss of one of the two, summed over `count` utterances, and figures to watch."""

    total: Tensor
    count: int
    figures: dict[str, float]


class Wav2VecU(nn.Module):
    """Generator and discriminator.

    Args:
        num_tokens: as of `Generator`, blank included.
    """

    skips_parameters = True  # an update has gradients for one of the two only

    def __init__(self, config: GanConfig, num_tokens: int) -> None:
        super().__init__()
        self.config = config
        self.symbols = num_tokens if config.generator.has_blank else num_tokens - 1
        self.generator = Generator(config.generator, num_tokens)
        self.discriminator = Discriminator(config.discriminator, self.symbols)

    def forward(
        self, features: Tensor, lengths: Tensor, text: Tensor, text_lengths: Tensor, *, discriminate: bool
    ) -> GanLoss:
        """The loss of the discriminator, or that of the generator.

        Args:
            features: `(N, T, in_dim)` with `lengths (N,)`.
            text: symbols `(M, T')`, counted from 0, with `text_lengths (M,)`; nothing to do with the features.
        """
        if discriminate:
            with torch.no_grad():
                made = self._make(features, lengths)
            return self._discriminator_loss(*made[1:], text, text_lengths)
        return self._generator_loss(*self._make(features, lengths))

    def _make(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of joined runs, their distributions, which are zero on padding, and lengths."""
        logits, lengths = join_runs(*self.generator.logits(features, lengths), pick=self.training)
        return logits, zero_padding(logits.softmax(-1), valid_mask(lengths, logits.shape[1])), lengths

    def _discriminator_loss(self, made: Tensor, lengths: Tensor, text: Tensor, text_lengths: Tensor) -> GanLoss:
        real = F.one_hot(text, self.symbols).to(made.dtype)
        real = zero_padding(real, valid_mask(text_lengths, text.shape[1]))
        critic = self.discriminator.critic()
        made_scores, real_scores = critic(made, lengths), critic(real, text_lengths)
        loss = discriminator_loss(made_scores, real_scores)
        share = torch.rand(min(len(real), len(made)), 1, 1, device=made.device)
        penalty = gradient_penalty(critic, real, made, share)
        right = (made_scores > 0).sum() + (real_scores < 0).sum()
        figures = {
            "discriminator_loss": float(loss.detach()) / len(made),
            "gradient_penalty": float(penalty.detach()) / len(made),
            "discriminator_accuracy": float(right) / (len(made) + len(real)),
        }
        return GanLoss(loss + self.config.penalty_weight * penalty, len(made), figures)

    def _generator_loss(self, logits: Tensor, probs: Tensor, lengths: Tensor) -> GanLoss:
        config, count = self.config, len(probs)
        loss = generator_loss(self.discriminator.critic().detached()(probs, lengths))
        smoothness = smoothness_loss(logits, lengths)
        diversity, perplexity = symbol_diversity_loss(probs, lengths)
        figures = {
            "generator_loss": float(loss.detach()) / count,
            "smoothness_loss": float(smoothness.detach()) / count,
            "diversity_loss": float(diversity.detach()) / count,
            "symbol_perplexity": float(perplexity),
            "made_length": float(lengths.sum()) / count,
        }
        total = loss + config.smoothness_weight * smoothness + config.diversity_weight * diversity
        return GanLoss(total, count, figures)
