"""Log power spectra with Kaldi's conventions, `compute-spectrogram-feats`."""

from dataclasses import dataclass

import torch
from torch import Tensor

from speechkit.features.interface import WaveformFeatures
from speechkit.features.spectrum import ENERGY_FLOOR, INT16_SCALE, Framing, Spectra


@dataclass(frozen=True)
class SpectrogramConfig(Framing):
    """What is computed; times in milliseconds. `dither` is the standard deviation of added noise, in 16-bit units."""

    sampling_rate: int = 16000
    frame_length_ms: float = 25.0
    frame_shift_ms: float = 10.0
    preemphasis: float = 0.97
    dither: float = 0.0

    def __post_init__(self) -> None:
        self.check_frames()


class Spectrogram(WaveformFeatures):
    """Natural logarithms of the power in each bin from 0 Hz to half the sampling rate, on 16-bit scale.

    As in Kaldi, the first column is not bin 0 but the energy of the frame without its mean, before pre-emphasis.
    """

    def __init__(self, config: SpectrogramConfig) -> None:
        self.config = config
        self._spectra: dict[str, Spectra] = {}

    @property
    def num_features(self) -> int:
        """Bins of the spectrum."""
        return self.config.fft_length // 2 + 1

    @torch.no_grad()
    def extract(self, waveform: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Features `(T, fft_length / 2 + 1)` of one waveform `(S,)` in [-1, 1]; T is 0 for less than one frame."""
        waveform, key = self.config.dithered(waveform, generator), str(waveform.device)
        features = waveform.new_empty(self.config.num_frames(waveform.numel()), self.num_features)
        if len(features) == 0:
            return features
        if key not in self._spectra:
            self._spectra[key] = Spectra(self.config, waveform.device)
        frames = waveform.unfold(0, self.config.frame_length, self.config.frame_shift)
        for block, squares in self._spectra[key].blocks(waveform):
            torch.add(squares[:, ::2], squares[:, 1::2], out=features[block])
            centred = frames[block] - frames[block].mean(dim=1, keepdim=True)
            features[block, 0] = centred.square().sum(dim=1) * INT16_SCALE**2
        return features.clamp_min_(ENERGY_FLOOR).log_()
