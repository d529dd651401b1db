"""A causal Transformer language model: the probability of each token of a sentence after those before it.

The blocks are those of the encoders (`speechkit.nn.transformer`); positions are the sinusoids of Vaswani et al.,
"Attention is all you need" (2017), section 3.5, which have no longest sentence; input and output embeddings are one
matrix (Press and Wolf, "Using the output embedding to improve language models", 2017).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from speechkit.lm.units import END_ID
from speechkit.nn.lengths import Packing
from speechkit.nn.transformer import StackConfig, TransformerStack

SLOWEST_WAVE = 10_000.0
State = tuple[int, ...]


class TransformerLm(nn.Module):
    """Scores sentences of `num_tokens` different tokens, of which number 0 ends each; an odd `dim` is a ValueError."""

    def __init__(self, config: StackConfig, num_tokens: int) -> None:
        super().__init__()
        if config.dim % 2:
            raise ValueError(f"dim {config.dim} must be even: a position is sines and cosines")
        self.config = config
        self.embedding = nn.Parameter(torch.randn(num_tokens, config.dim) * config.dim**-0.5)
        self.blocks = TransformerStack(config, causal=True)
        self.norm = nn.LayerNorm(config.dim, config.norm_eps) if config.norm_first else nn.Identity()

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Log-probability (natural) of each token of `tokens (N, T)`, which end in 0; `(N, T)`, 0 on padding."""
        packing = Packing.of(lengths, tokens.shape[1])
        logits = self._logits(self._hidden(tokens, packing))
        target = packing.pack(tokens.unsqueeze(2)).squeeze(1)
        return packing.unpack(-F.cross_entropy(logits, target, reduction="none").unsqueeze(1)).squeeze(2)

    def log_probs(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Log-probabilities `(N, T, V)` of every token at the place of each of `tokens (N, T)`, 0 on padding."""
        packing = Packing.of(lengths, tokens.shape[1])
        return packing.unpack(self._logits(self._hidden(tokens, packing)).log_softmax(dim=-1))

    def start(self) -> State:
        """What `read` knows before the first token: the tokens before."""
        return ()

    def read(self, states: Sequence[State], tokens: Sequence[int]) -> tuple[Tensor, list[State]]:
        """Read one token after each of some beginnings of sentences, which it sees again as a whole.

        Args:
            states: of the beginnings, as an earlier `read` or `start` gave them.
            tokens: of each beginning the next one; 0 is the first of all sentences.

        Returns:
            Log-probabilities `(N, V)` of what follows, and the states then.
        """
        after = [(*state, token) for state, token in zip(states, tokens, strict=True)]
        lengths = torch.tensor([len(each) for each in after], device=self.embedding.device)
        rows = [torch.tensor([*each[1:], END_ID], device=self.embedding.device) for each in after]
        packing = Packing.of(lengths, int(lengths.max()))
        hidden = packing.unpack(self._hidden(pad_sequence(rows, batch_first=True), packing))
        return self._logits(hidden[torch.arange(len(after)), lengths - 1]).log_softmax(dim=-1), after

    def _hidden(self, tokens: Tensor, packing: Packing) -> Tensor:
        """What the output layer sees at the valid places, `(F, dim)`, from what stands before each."""
        before = F.pad(tokens[:, :-1], (1, 0), value=END_ID)
        x = F.embedding(before, self.embedding) * self.config.dim**0.5
        x = packing.pack(x + sinusoids(tokens.shape[1], self.config.dim, x.device))
        x = F.dropout(x, self.config.dropout, self.training)
        return self.norm(self.blocks(x, packing))  # type: ignore[no-any-return]

    def _logits(self, hidden: Tensor) -> Tensor:
        """Scores `(F, V)` of all tokens."""
        return F.linear(hidden, self.embedding).float()


def sinusoids(count: int, dim: int, device: torch.device, slowest: float = SLOWEST_WAVE) -> Tensor:
    """Embeddings `(count, dim)` of the positions from 0: sines, then cosines, of 1 to `slowest` positions a radian."""
    rates = torch.exp(torch.arange(dim // 2, device=device) * (-math.log(slowest) / max(1, dim // 2 - 1)))
    angles = torch.arange(count, device=device)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)
