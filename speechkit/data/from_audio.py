"""Features computed while training, from audio that noise and rooms have distorted."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from speechkit.common.errors import SpeechkitError
from speechkit.common.seeds import derive
from speechkit.data.distortion import DistortionConfig
from speechkit.data.extraction import Extractor, FeaturesConfig
from speechkit.data.waveforms import Waveforms


@dataclass(frozen=True, kw_only=True)
class AudioConfig:
    """How the training set is read from audio; `features` has to be what stage 1 made, whose statistics are used."""

    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    distortion: DistortionConfig = field(default_factory=DistortionConfig)


class AudioFeatures:
    """Reads the features of a batch of cuts; what is random in them depends on `seed` and the ids in the batch."""

    def __init__(self, config: AudioConfig, seed: int) -> None:
        self.seed, self.rate = seed, config.features.fbank.sampling_rate
        self.waveforms = Waveforms(self.rate, config.distortion, seed)
        self.extractor = Extractor(config.features)

    def require_columns(self, count: int) -> None:
        """Raise `SpeechkitError` unless features have `count` columns, as the stored ones."""
        found = self.extractor(torch.zeros(self.rate)).shape[1]
        if found != count:
            raise SpeechkitError(
                f"audio.features give {found} columns, but the stored features have {count}; "
                "set audio.features as in conf/features.yaml"
            )

    def __call__(self, cuts: Any) -> list[Tensor]:
        """Features `(T, C)` of each cut."""
        generator = torch.Generator().manual_seed(derive(self.seed, "dither", *(cut.id for cut in cuts)))
        return [self.extractor(waveform, generator) for waveform in self.waveforms(cuts)]
