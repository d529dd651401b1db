"""What all encoders of waveforms begin with: a convolutional extractor, of waveforms or of log-mel frames."""

from dataclasses import dataclass, field

from torch import Tensor

from speechkit.features.fbank import FbankConfig
from speechkit.models.log_mel import LogMel
from speechkit.nn.lengths import conv_length
from speechkit.nn.waveform import ExtractorConfig, FeatureExtractor


@dataclass(frozen=True, kw_only=True)
class FrontEndConfig:
    """With `log_mel` the extractor reads such frames, of which kernels and strides count, in place of waveforms."""

    sampling_rate: int = 16000
    log_mel: FbankConfig | None = None
    extractor: ExtractorConfig = field(default_factory=ExtractorConfig)

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

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Frames of waveforms of `lengths` samples."""
        if self.log_mel is not None:
            lengths = conv_length(lengths, self.log_mel.frame_length, self.log_mel.frame_shift, 0)
        return self.extractor.output_lengths(lengths)


def extract_frames(
    log_mel: LogMel | None, extractor: FeatureExtractor, waveforms: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor]:
    """Waveforms `(N, S)` of `lengths (N,)` samples to frames `(N, T, dim)` and their lengths."""
    x = waveforms
    if log_mel is not None:
        x, lengths = log_mel(waveforms, lengths)
    frames: tuple[Tensor, Tensor] = extractor(x, lengths)
    return frames
