"""BERT-ASR: a text BERT that hears the segment of each character (Huang et al. 2021, "Speech recognition by simply
fine-tuning BERT").

P(y) is the product over t of P(y_t | y_1 .. y_(t-1), F_1 .. F_t) (equation 4). The input for y_t is

    [CLS] y_1 ... y_(t-1) [MASK]

and the acoustic embedding of F_i is added at position i beside those of token, position and segment: [CLS] has none,
[MASK] has that of F_t, and y_t is predicted there. Which position bears F_t the paper does not say.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechkit.models.text_bert import EMBEDDING_STD, TextBert, TextBertConfig
from speechkit.nn.lengths import valid_mask, zero_padding
from speechkit.nn.segment_mean import segment_means


@dataclass(frozen=True, kw_only=True)
class AcousticEmbeddingConfig:
    """From features of `in_dim` to one vector for each segment.

    `encoder` "average" is the mean over the segment, "conv1d-resnet" has `blocks` residual blocks of two convolutions
    over the whole utterance before it (sections 3.3.1 and 3.3.2); their number, `channels` and `kernel` are ours.
    """

    encoder: Literal["average", "conv1d-resnet"] = "average"
    in_dim: int = 83
    channels: int = 256
    blocks: int = 3
    kernel: int = 5
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel is odd, so that a frame lies in its middle, not {self.kernel}")


class ResidualBlock(nn.Module):
    """Two convolutions over `(N, T, C)` and a way around them, blind to padding."""

    def __init__(self, channels: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv1d(channels, channels, kernel, padding=kernel // 2) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(2))
        self.dropout = dropout

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Transform the frames of `mask (N, T)`."""
        y = x
        for conv, norm in zip(self.convs, self.norms, strict=True):
            y = zero_padding(F.relu(norm(y)), mask)
            y = conv(y.transpose(1, 2)).transpose(1, 2)
        return x + F.dropout(y, self.dropout, self.training)


class AcousticEmbedding(nn.Module):
    """Features and segments to acoustic embeddings of BERT's width."""

    def __init__(self, config: AcousticEmbeddingConfig, dim: int) -> None:
        super().__init__()
        self.config = config
        width = config.in_dim
        self.entry: nn.Module = nn.Identity()
        self.blocks = nn.ModuleList()
        if config.encoder == "conv1d-resnet":
            width = config.channels
            self.entry = nn.Linear(config.in_dim, width)
            self.blocks.extend(ResidualBlock(width, config.kernel, config.dropout) for _ in range(config.blocks))
        self.output = nn.Linear(width, dim)
        # As small as BERT's own embeddings at their start, or BERT would have to learn its text anew beside them.
        nn.init.normal_(self.output.weight, std=EMBEDDING_STD * width**-0.5)
        nn.init.zeros_(self.output.bias)

    def forward(self, features: Tensor, lengths: Tensor, segments: Tensor, counts: Tensor) -> Tensor:
        """Embeddings `(N, S, dim)`, zero beyond the segments of an utterance.

        Args:
            features: `(N, T, in_dim)` with `lengths (N,)`.
            segments: first frame and the frame after the last, `(N, S, 2)`; 0 beyond `counts (N,)`.
        """
        x: Tensor = self.entry(features)
        mask = valid_mask(lengths, x.shape[1])
        for block in self.blocks:
            x = block(x, mask)
        embedded = self.output(segment_means(x, segments[..., 0], segments[..., 1]))
        return zero_padding(embedded, valid_mask(counts, segments.shape[1]))


@dataclass(frozen=True, kw_only=True)
class BertAsrModelConfig:
    """BERT's sizes, which are those of the BERT that it begins with, and the acoustic embedding's."""

    bert: TextBertConfig = field(default_factory=TextBertConfig)
    acoustic: AcousticEmbeddingConfig = field(default_factory=AcousticEmbeddingConfig)


class BertAsr(nn.Module):
    """Predicts each character from those before it and the segments up to its own.

    Args:
        vocab_size: of the BERT.
        cls, mask: tokens.
    """

    def __init__(self, config: BertAsrModelConfig, vocab_size: int, cls: int, mask: int) -> None:
        super().__init__()
        self.config, self.cls, self.mask = config, cls, mask
        self.bert = TextBert(config.bert, vocab_size)
        self.acoustic = AcousticEmbedding(config.acoustic, config.bert.dim)

    def forward(
        self,
        features: Tensor,
        lengths: Tensor,
        segments: Tensor,
        counts: Tensor,
        tokens: Tensor,
        history: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Logits of all characters, each from the true ones before it.

        Args:
            features, lengths, segments, counts: as `AcousticEmbedding` takes them, a segment for each character.
            tokens: characters `(N, S)`, anything beyond `counts`.
            history: what is read in the place of those that come before, if not they themselves.

        Returns:
            Logits `(R, V)` of the R characters of the batch, utterance by utterance, and these characters `(R,)`.
        """
        heard = self.acoustic(features, lengths, segments, counts)
        utterance, place = torch.nonzero(valid_mask(counts, tokens.shape[1]), as_tuple=True)
        read = tokens if history is None else history
        return self.predict(read[utterance], place, heard[utterance]), tokens[utterance, place]

    def predict(self, history: Tensor, place: Tensor, heard: Tensor) -> Tensor:
        """Logits `(R, V)` of the character that comes after the first `place (R,)` ones of `history (R, S)`.

        Args:
            heard: acoustic embeddings `(R, S', dim)`, of which those up to the character's own count.
        """
        width = int(place.max()) + 1
        columns = torch.arange(width, device=place.device)
        known = F.pad(history, (0, max(0, width - history.shape[1])))[:, :width]
        slots = torch.where(columns == place[:, None], self.mask, known)
        inputs = F.pad(slots, (1, 0), value=self.cls)
        hidden = self.bert(inputs, place + 2, F.pad(heard[:, :width], (0, 0, 1, 0)))
        predicted: Tensor = self.bert.predict(hidden[torch.arange(len(place), device=place.device), place + 1])
        return predicted
