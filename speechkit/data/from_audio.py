"""Features computed while training, from audio that noise and rooms have distorted."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechkit.common.errors import SpeechkitError
from speechkit.common.seeds import derive
from speechkit.data.distortion import Distortion, DistortionConfig
from speechkit.data.extraction import Extractor, FeaturesConfig
from speechkit.data.waveforms import read_cut


@dataclass(frozen=True, kw_only=True)
class AudioConfig:
    """How the training set is read from audio; `features` has to be what stage 1 made, whose statistics are used."""

    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    distortion: DistortionConfig = field(default_factory=DistortionConfig)


class AudioFeatures:
    """Reads the features of a batch of cuts; what is random in them depends on `seed` and the ids in the batch."""

    def __init__(self, config: AudioConfig, seed: int) -> None:
        self.rate, self.seed = config.features.fbank.sampling_rate, seed
        self.extractor = Extractor(config.features)
        self.distortion = Distortion(config.distortion, self.rate)

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
        value = derive(self.seed, "distortion", *(cut.id for cut in cuts))
        rng, generator = np.random.default_rng(value), torch.Generator().manual_seed(value)
        found = []
        for cut in cuts:
            waveform = self.distortion(self._waveform(cut), rng)
            found.append(self.extractor(torch.from_numpy(waveform), generator))
        return found

    def _waveform(self, cut: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
        if cut.recording.transforms:  # copies at other speeds
            samples: np.ndarray[Any, np.dtype[np.float32]] = cut.load_audio()[0]
            return samples
        return read_cut(cut, self.rate, 0, cut.num_samples)
