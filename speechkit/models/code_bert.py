"""BERT over discrete codes of speech (vq-wav2vec: Baevski, Schneider and Auli 2020, sections 4 and 5.3).

The codes of masked spans are predicted from the others; there is no next-sentence task and there are no marks of
sentence ends. All codes of a span become <mask>: the paper names no other replacement. Positions are the sinusoids of
`speechkit.lm.transformer_lm`, of faster waves: a model has to learn which codes are neighbours. The output layer is
BERT's, with the matrix of the input.
"""

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechkit.lm.transformer_lm import sinusoids
from speechkit.nn.lengths import Packing
from speechkit.nn.masking import SpanMaskConfig, span_mask
from speechkit.nn.prediction import PredictionLoss, prediction_head, prediction_loss
from speechkit.nn.transformer import ConvPositionEmbedding, StackConfig, TransformerStack

SLOWEST_WAVE = 100.0  # codes a radian


@dataclass(frozen=True, kw_only=True)
class CodeStackConfig(StackConfig):
    """With a `position_kernel` of so many codes, positions are those of wav2vec 2.0's convolution too.

    Sinusoids alone are the paper's; from little data attention does not learn by them which codes are neighbours.
    """

    position_kernel: int = 0
    position_groups: int = 4


class CodeBert(nn.Module):
    """A transformer over `num_codes` different codes.

    The code numbered `unknown`, where there is one, stands for all that were not seen in training. It is read as <mask>
    and is no target, since training has no example of it.
    """

    def __init__(
        self, config: CodeStackConfig, mask: SpanMaskConfig, num_codes: int, unknown: int | None = None
    ) -> None:
        super().__init__()
        self.config, self.mask, self.num_codes, self.unknown = config, mask, num_codes, unknown
        dim = config.dim
        self.embedding = nn.Parameter(torch.randn(num_codes + 1, dim) * dim**-0.5)  # the last is <mask>
        self.position: nn.Module | None = None
        if config.position_kernel:
            self.position = ConvPositionEmbedding(dim, config.position_kernel, config.position_groups)
        self.norm = nn.LayerNorm(dim, config.norm_eps)
        self.blocks = TransformerStack(config)
        self.head = prediction_head(dim, config.norm_eps)
        self.bias = nn.Parameter(torch.zeros(num_codes))

    def forward(self, codes: Tensor, lengths: Tensor, masked: Tensor | None = None) -> PredictionLoss:
        """The loss of a batch, over masked codes.

        Args:
            codes: `(N, T)`, anything on padding.
            lengths: `(N,)` codes.
            masked: `(N, T)`; drawn where None.
        """
        packing = Packing.of(lengths, codes.shape[1])
        if masked is None:
            masked = span_mask(lengths.tolist(), codes.shape[1], self.mask)
        flat, chosen = packing.pack(codes), packing.pack(masked.to(codes.device))
        targets = chosen & (flat != self.unknown) if self.unknown is not None else chosen
        x = self.blocks(self._enter(flat.masked_fill(chosen, self.num_codes), packing), packing)
        x = x[targets]
        logits = F.linear(self.head(self.norm(x) if self.config.norm_first else x), self.embedding[:-1], self.bias)
        return prediction_loss(logits, flat[targets])

    def layers(self, codes: Tensor, lengths: Tensor, count: int | None = None) -> list[Tensor]:
        """The outputs of the first `count` blocks (all if None), each `(N, T, dim)`, nothing masked, zero on padding.

        With `norm_first` they are without the norm at the end, as those of `speechkit.nn.transformer`.
        """
        packing = Packing.of(lengths, codes.shape[1])
        outputs = self.blocks.outputs(self._enter(packing.pack(codes), packing), packing)
        return [packing.unpack(each) for each in itertools.islice(outputs, count)]

    def _enter(self, flat: Tensor, packing: Packing) -> Tensor:
        """What the first block reads, `(F, dim)`, of the valid codes `(F,)`."""
        if self.unknown is not None:
            flat = flat.masked_fill(flat == self.unknown, self.num_codes)
        dim, shape = self.config.dim, packing.mask.shape
        places = sinusoids(shape[1], dim, flat.device, SLOWEST_WAVE).expand(*shape, dim)
        x = F.embedding(flat, self.embedding) * dim**0.5 + packing.pack(places)
        if self.position is not None:
            x = x + packing.pack(self.position(packing.unpack(x)))
        return F.dropout(x if self.config.norm_first else self.norm(x), self.config.dropout, self.training)
