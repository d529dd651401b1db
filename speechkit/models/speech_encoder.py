"""The encoder that wav2vec 2.0 and HuBERT share: convolutional extractor, masking, transformer."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechkit.features.fbank import FbankConfig
from speechkit.models.log_mel import LogMel
from speechkit.models.pretraining import Hidden
from speechkit.nn.lengths import conv_length, valid_mask, zero_padding
from speechkit.nn.masking import SpanMaskConfig, TimeMask, mask_channels
from speechkit.nn.transformer import TransformerConfig, TransformerEncoder
from speechkit.nn.waveform import ExtractorConfig, FeatureExtractor


@dataclass(frozen=True, kw_only=True)
class SpeechEncoderConfig:
    """A `SpeechEncoder`; `input_dropout` is that on the frames that enter the transformer.

    With `log_mel` the extractor reads such frames, of which kernels and strides count, in place of waveforms.
    `time_mask` and `channel_mask` are drawn in training, by whoever calls `encode`.
    """

    sampling_rate: int = 16000
    log_mel: FbankConfig | None = None
    extractor: ExtractorConfig = field(default_factory=ExtractorConfig)
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    input_dropout: float = 0.1
    time_mask: SpanMaskConfig = field(default_factory=SpanMaskConfig)
    channel_mask: SpanMaskConfig = field(default_factory=lambda: SpanMaskConfig(probability=0.0, length=64, least=0))

    def __post_init__(self) -> None:
        if self.extractor.in_dim != (self.log_mel.num_bins if self.log_mel else 1):
            raise ValueError("extractor.in_dim must be the number of log-mel bins, or 1 for waveforms")
        if self.log_mel and self.log_mel.sampling_rate != self.sampling_rate:
            raise ValueError("log_mel.sampling_rate must be sampling_rate")

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return self.extractor.hop * (self.log_mel.frame_shift if self.log_mel else 1)

    @property
    def window(self) -> int:
        """Samples that a frame sees."""
        if self.log_mel is None:
            return self.extractor.window
        return self.log_mel.frame_length + (self.extractor.window - 1) * self.log_mel.frame_shift

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.sampling_rate / self.hop

    @property
    def num_layers(self) -> int:
        """Blocks of the transformer."""
        return self.transformer.layers

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Frames of waveforms of `lengths` samples."""
        if self.log_mel is not None:
            lengths = conv_length(lengths, self.log_mel.frame_length, self.log_mel.frame_shift, 0)
        return self.extractor.output_lengths(lengths)


class SpeechEncoder(nn.Module):
    """Waveforms to hidden states; masks nothing unless told to."""

    def __init__(self, config: SpeechEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.log_mel = LogMel(config.log_mel) if config.log_mel else None
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
