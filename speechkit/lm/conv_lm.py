"""A convolutional language model: gated convolutions over the tokens before each one (Dauphin et al. 2017).

The blocks are `speechkit.nn.gated`. Large vocabularies take the adaptive softmax of Grave et al., "Efficient softmax
approximation for GPUs" (2017): a full softmax of the frequent tokens and of one class for each cluster of rarer ones,
which have fewer dimensions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechkit.lm.units import END_ID
from speechkit.nn.gated import GatedBlock, NormedConv
from speechkit.nn.lengths import Packing

EMBEDDING_STD = 0.1
CLUSTER_FACTOR = 4  # each cluster has fewer dimensions by this
State = tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class GatedBlockConfig:
    """`repeat` equal blocks, whose convolution is `bottleneck` wide if that is not 0."""

    width: int
    kernel: int = 5
    bottleneck: int = 0
    repeat: int = 1

    def __post_init__(self) -> None:
        if min(self.width, self.kernel, self.repeat) < 1 or self.bottleneck < 0:
            raise ValueError("width, kernel and repeat are at least 1, bottleneck at least 0")


@dataclass(frozen=True, kw_only=True)
class ConvLmConfig:
    """Sizes of a `ConvLm`.

    Attributes:
        projection: width of a linear layer between the last block and the output, 0 for none.
        cutoffs: tokens of the adaptive softmax before each cluster, in order of their frequency; those beyond the
            vocabulary count for nothing, and without any the softmax is a full one.
    """

    embedding: int = 128
    blocks: tuple[GatedBlockConfig, ...] = (GatedBlockConfig(width=512),)
    projection: int = 0
    cutoffs: tuple[int, ...] = ()
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if not self.blocks:
            raise ValueError("there is at least one block")
        if any(first >= second for first, second in pairwise((0, *self.cutoffs))):
            raise ValueError(f"cutoffs rise from 1, unlike {list(self.cutoffs)}")
        if self.width < CLUSTER_FACTOR ** len(self.cutoffs):
            raise ValueError(f"{len(self.cutoffs)} cutoffs leave nothing of width {self.width} for the last cluster")

    @property
    def width(self) -> int:
        """Dimensions that the output layer sees."""
        return self.projection or self.blocks[-1].width


class ConvLm(nn.Module):
    """Scores sentences of `num_tokens` different tokens, of which number 0 ends each."""

    def __init__(self, config: ConvLmConfig, num_tokens: int) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Parameter(torch.randn(num_tokens, config.embedding) * EMBEDDING_STD)
        dims = [config.blocks[0].width]
        self.enter = NormedConv(config.embedding, dims[0], 1, math.sqrt((1 - config.dropout) / config.embedding))
        self.blocks = nn.ModuleList()
        for block in config.blocks:
            for _ in range(block.repeat):
                self.blocks.append(GatedBlock(dims[-1], block.width, block.kernel, block.bottleneck, config.dropout))
                dims.append(block.width)
        self.leave = None
        if config.projection:
            self.leave = NormedConv(dims[-1], config.projection, 1, math.sqrt((1 - config.dropout) / dims[-1]))
        cutoffs = [each for each in config.cutoffs if each < num_tokens]
        self.output: nn.AdaptiveLogSoftmaxWithLoss | nn.Linear
        if cutoffs:
            self.output = nn.AdaptiveLogSoftmaxWithLoss(config.width, num_tokens, cutoffs, div_value=CLUSTER_FACTOR)
        else:
            self.output = nn.Linear(config.width, num_tokens)
        self.skips_parameters = bool(cutoffs)  # clusters of which a batch has no token

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Log-probability (natural) of each token of `tokens (N, T)`, which end in 0; `(N, T)`, 0 on padding."""
        packing = Packing.of(lengths, tokens.shape[1])
        hidden, target = self._hidden(tokens, packing), packing.pack(tokens.unsqueeze(2)).squeeze(1)
        if isinstance(self.output, nn.AdaptiveLogSoftmaxWithLoss):
            log_probs = self.output(hidden, target).output.float()
        else:
            log_probs = -F.cross_entropy(self.output(hidden).float(), target, reduction="none")
        return packing.unpack(log_probs.unsqueeze(1)).squeeze(2)

    def log_probs(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Log-probabilities `(N, T, V)` of every token at the place of each of `tokens (N, T)`, 0 on padding."""
        packing = Packing.of(lengths, tokens.shape[1])
        return packing.unpack(self._log_probs(self._hidden(tokens, packing)))

    def start(self) -> State:
        """What `read` knows before the first token."""
        for module in self.modules():
            if isinstance(module, NormedConv):
                module.fold()
        return tuple(each.squeeze(0) for each in self._before(1))

    def read(self, states: Sequence[State], tokens: Sequence[int]) -> tuple[Tensor, list[State]]:
        """Read one token after each of some beginnings of sentences.

        Args:
            states: of the beginnings, as an earlier `read` or `start` gave them.
            tokens: of each beginning the next one; 0 is the first of all sentences.

        Returns:
            Log-probabilities `(N, V)` of what follows, and the states then.
        """
        before = [torch.stack(layer) for layer in zip(*states, strict=True)]
        x = F.embedding(torch.tensor(tokens, device=self.embedding.device), self.embedding)[:, None]
        x, after = self._run(x, before)
        rows = [list(layer.unbind()) for layer in after]
        return self._log_probs(x.squeeze(1)), list(zip(*rows, strict=True))

    def _hidden(self, tokens: Tensor, packing: Packing) -> Tensor:
        """What the output layer sees at the valid places, `(F, width)`, from what stands before each."""
        x = F.embedding(F.pad(tokens[:, :-1], (1, 0), value=END_ID), self.embedding)
        return packing.pack(self._run(x, self._before(len(x)))[0])

    def _before(self, batch: int) -> list[Tensor]:
        return [block.start(batch) for block in self.blocks]  # type: ignore[operator]

    def _run(self, x: Tensor, before: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Embeddings `(N, T, embedding)` to what the output layer sees, after the frames before them."""
        dropout, after = self.config.dropout, []
        x = self.enter(F.dropout(x, dropout, self.training))
        for block, frames in zip(self.blocks, before, strict=True):
            x, last = block(x, frames)
            after.append(last)
        if self.leave is not None:
            x = self.leave(x)
        return F.dropout(x, dropout, self.training), after

    def _log_probs(self, hidden: Tensor) -> Tensor:
        """Log-probabilities `(F, V)`."""
        if isinstance(self.output, nn.AdaptiveLogSoftmaxWithLoss):
            return self.output.log_prob(hidden).float()
        return self.output(hidden).float().log_softmax(dim=-1)  # type: ignore[no-any-return]
