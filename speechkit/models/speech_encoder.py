"""The encoder that wav2vec 2.0 and HuBERT share: convolutional extractor, masking, transformer."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechkit.models.front_end import FrontEndConfig
from speechkit.models.log_mel import LogMel
from speechkit.models.pretraining import Hidden
from speechkit.nn.lengths import valid_mask, zero_padding
from speechkit.nn.masking import SpanMaskConfig, TimeMask, mask_channels
from speechkit.nn.transformer import TransformerConfig, TransformerEncoder
from speechkit.nn.waveform import FeatureExtractor


@dataclass(frozen=True, kw_only=True)
class SpeechEncoderConfig(FrontEndConfig):
    """A `SpeechEncoder`; `input_dropout` is that on the frames that enter the transformer.

    `time_mask` and `channel_mask` are drawn in training, by whoever calls `encode`.
    """

    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    input_dropout: float = 0.1
    time_mask: SpanMaskConfig = field(default_factory=SpanMaskConfig)
    channel_mask: SpanMaskConfig = field(default_factory=lambda: SpanMaskConfig(probability=0.0, length=64, least=0))

    @property
    def num_layers(self) -> int:
        """Blocks of the transformer."""
        return self.transformer.layers


class SpeechEncoder(nn.Module):
    """Waveforms to hidden states; masks nothing unless told to."""

    def __init__(self, config: SpeechEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.log_mel = LogMel(config.log_mel, config.cepstra) if config.log_mel else None
        self.extractor = FeatureExtractor(config.extractor)
        self.norm = nn.LayerNorm(config.extractor.dim)
        self.projection = nn.Linear(config.extractor.dim, config.transformer.dim)
        self.time_mask = TimeMask(config.transformer.dim)
        self.transformer = TransformerEncoder(config.transformer)

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Frames of waveforms of `lengths` samples."""
        return self.config.output_lengths(lengths)

    def forward(self, waveforms: Tensor, lengths: Tensor, count: int | None = None) -> Hidden:
        """Hidden states of the first `count` layers, all if None."""
        frames, lengths, _ = self.extract(waveforms, lengths)
        layers = self.transformer.layers(self.enter(frames), lengths, count)
        return Hidden(layers, lengths, self.config.frame_rate)

    def extract(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised frames `(N, T, C)` of the extractor, their lengths, and the mean square of the frames before."""
        x = waveforms
        if self.log_mel is not None:
            x, lengths = self.log_mel(waveforms, lengths)
        frames, lengths = self.extractor(x, lengths)
        valid = zero_padding(frames.float(), valid_mask(lengths, frames.shape[1]))
        penalty = valid.pow(2).sum() / (lengths.sum() * frames.shape[2]).clamp(min=1)
        return self.norm(frames), lengths, penalty

    def enter(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """Frames as the transformer takes them, those of `mask (N, T)` replaced by the learned vector."""
        x = F.dropout(self.projection(frames), self.config.input_dropout, self.training)
        if mask is not None:
            x = self.time_mask(x, mask)
        if self.training and mask is not None and self.config.channel_mask.probability > 0:
            x = mask_channels(x, self.config.channel_mask)
        return x

    def encode(self, frames: Tensor, lengths: Tensor, mask: Tensor | None = None) -> Tensor:
        """The last hidden state `(N, T, dim)` of frames from `extract`."""
        x: Tensor = self.transformer(self.enter(frames, mask), lengths)
        return x


def stack_frames(x: Tensor, mask: Tensor) -> Tensor:
    """The frames of `x (N, T, C)` that `mask` marks, equally many in each utterance, as `(N, M, C)`."""
    return x[mask].view(len(x), -1, x.shape[-1])


def frame_mask(lengths: Tensor, masked: Tensor) -> tuple[Tensor, Tensor]:
    """Masked and unmasked valid frames `(N, T)` from `masked (N, T)`."""
    valid = valid_mask(lengths, masked.shape[1])
    return masked & valid, torch.logical_not(masked) & valid
