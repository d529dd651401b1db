"""BERT over the characters of a text (Devlin et al., "BERT: pre-training of deep bidirectional transformers", 2019).

The blocks are those of all models here, with norms after each part; weights of bert-base-chinese give its outputs. An
embedding of something else, such as speech, can be added to each token's. All tokens are of the first segment; the
second row of that table only keeps what was pre-trained.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechkit.common.errors import SpeechkitError
from speechkit.nn.lengths import Packing
from speechkit.nn.prediction import prediction_head
from speechkit.nn.transformer import StackConfig, TransformerStack

SEGMENTS = 2
EMBEDDING_STD = 0.02  # BERT's


@dataclass(frozen=True, kw_only=True)
class TextBertConfig(StackConfig):
    """Sizes of a `TextBert`, whose sequences have at most `positions` tokens; the defaults are those of BERT base."""

    norm_eps: float = 1e-12
    positions: int = 512

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.norm_first:
            raise ValueError("norm_first is false in BERT: its norms stand after each part of a block")
        if self.positions < 2:
            raise ValueError(f"positions must be at least 2, not {self.positions}")


class TextBert(nn.Module):
    """A transformer over `vocab_size` different tokens, with BERT's head for masked ones."""

    def __init__(self, config: TextBertConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.tokens = _embedding(vocab_size, config.dim)
        self.positions = _embedding(config.positions, config.dim)
        self.segments = _embedding(SEGMENTS, config.dim)
        self.norm = nn.LayerNorm(config.dim, config.norm_eps)
        self.blocks = TransformerStack(config)
        self.head = prediction_head(config.dim, config.norm_eps)
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, tokens: Tensor, lengths: Tensor, extra: Tensor | None = None) -> Tensor:
        """What the last block makes of each token.

        Args:
            tokens: `(N, T)`, any on padding.
            lengths: `(N,)` tokens.
            extra: `(N, T, dim)`, added beside the embeddings of token, position and segment, before their norm.

        Returns:
            `(N, T, dim)`, zero on padding.

        Raises:
            SpeechkitError: more tokens than the model has positions.
        """
        packing = Packing.of(lengths, tokens.shape[1])
        return packing.unpack(self.blocks(self._enter(tokens, packing, extra), packing))

    def layers(self, tokens: Tensor, lengths: Tensor) -> list[Tensor]:
        """The outputs of all blocks, each `(N, T, dim)`, zero on padding."""
        packing = Packing.of(lengths, tokens.shape[1])
        return [packing.unpack(each) for each in self.blocks.outputs(self._enter(tokens, packing, None), packing)]

    def predict(self, hidden: Tensor) -> Tensor:
        """Logits `(M, V)` of the tokens that belong where the model gives `hidden (M, dim)`."""
        return F.linear(self.head(hidden), self.tokens.weight, self.bias)

    def _enter(self, tokens: Tensor, packing: Packing, extra: Tensor | None) -> Tensor:
        """What the first block reads, `(F, dim)`."""
        longest = tokens.shape[1]
        if longest > self.config.positions:
            raise SpeechkitError(
                f"a text of {longest} tokens does not fit this BERT, which has {self.config.positions} positions"
            )
        places = self.positions.weight[:longest].expand(len(tokens), -1, -1)
        x = self.tokens(packing.pack(tokens)) + packing.pack(places) + self.segments.weight[0]
        if extra is not None:
            x = x + packing.pack(extra)
        return F.dropout(self.norm(x), self.config.dropout, self.training)


def _embedding(rows: int, dim: int) -> nn.Embedding:
    return nn.Embedding(rows, dim, _weight=torch.randn(rows, dim) * EMBEDDING_STD)
