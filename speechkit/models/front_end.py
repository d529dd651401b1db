"""How encoders hear waveforms: by a strided convolutional extractor, of samples or of log-mel frames."""

from dataclasses import dataclass, field

from torch import Tensor

from speechkit.features.fbank import FbankConfig
from speechkit.nn.lengths import conv_length
from speechkit.nn.waveform import ExtractorConfig


@dataclass(frozen=True, kw_only=True)
class FrontEndConfig:
    """The part of an encoder that makes frames of waveforms.

    With `log_mel` the extractor reads such frames, of which kernels and strides count, in place of waveforms; with
    `cepstra` only so many coefficients of the cosine transform of each, a smooth spectrum with less of the voice in it.
    """

    sampling_rate: int = 16000
    log_mel: FbankConfig | None = None
    cepstra: int | None = None
    extractor: ExtractorConfig = field(default_factory=ExtractorConfig)

    def __post_init__(self) -> None:
        if self.cepstra is not None and (self.log_mel is None or not 1 <= self.cepstra <= self.log_mel.num_bins):
            raise ValueError("cepstra are some of as many as log_mel has bins")
        if self.extractor.in_dim != (self.cepstra or (self.log_mel.num_bins if self.log_mel else 1)):
            raise ValueError("extractor.in_dim must be the number of cepstra or log-mel bins, or 1 for waveforms")
        if self.log_mel and self.log_mel.sampling_rate != self.sampling_rate:
            raise ValueError("log_mel.sampling_rate must be sampling_rate")

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return self.extractor.hop * (self.log_mel.frame_shift if self.log_mel else 1)

    @property
    def window(self) -> int:
        """Samples that the first frame takes, in whose middle it stands: what it sees, less padding on both sides."""
        inside = self.extractor.window - 2 * self.extractor.margin
        if self.log_mel is None:
            return inside
        return self.log_mel.frame_length + (inside - 1) * self.log_mel.frame_shift

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.sampling_rate / self.hop

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Frames of waveforms of `lengths` samples."""
        if self.log_mel is not None:
            lengths = conv_length(lengths, self.log_mel.frame_length, self.log_mel.frame_shift, 0)
        return self.extractor.output_lengths(lengths)
