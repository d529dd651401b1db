"""All features through their one interface."""

import pytest
import torch

from speechkit.features.fbank import Fbank, FbankConfig
from speechkit.features.interface import WaveformFeatures
from speechkit.features.mfcc import Mfcc, MfccConfig
from speechkit.features.pitch import Pitch
from speechkit.features.pitch_config import PitchConfig
from speechkit.features.spectrogram import Spectrogram, SpectrogramConfig

KINDS: dict[str, WaveformFeatures] = {
    "fbank": Fbank(FbankConfig()),
    "mfcc": Mfcc(MfccConfig()),
    "spectrogram": Spectrogram(SpectrogramConfig()),
    "pitch": Pitch(PitchConfig(delta_pitch_noise_stddev=0)),
}
RANDOM: dict[str, WaveformFeatures] = {
    "fbank": Fbank(FbankConfig(dither=1.0)),
    "mfcc": Mfcc(MfccConfig(fbank=FbankConfig(num_bins=23, dither=1.0))),
    "spectrogram": Spectrogram(SpectrogramConfig(dither=1.0)),
    "pitch": Pitch(PitchConfig()),
}


@pytest.fixture(scope="module")
def waveforms() -> torch.Tensor:
    return 0.1 * torch.randn(3, 20000, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", KINDS)
def test_ragged_batches(kind: str, waveforms: torch.Tensor) -> None:
    features = KINDS[kind]
    lengths = torch.tensor([20000, 300, 9000])
    batch, frames = features(waveforms, lengths)
    assert frames.tolist() == [123, 0, 54]
    assert batch.shape == (3, 123, features.num_features)
    for waveform, length, padded, count in zip(waveforms, lengths, batch, frames, strict=True):
        assert torch.equal(padded[:count], features.extract(waveform[:length]))
        assert not padded[count:].any()


@pytest.mark.parametrize("kind", RANDOM)
def test_noise_follows_the_generator(kind: str, waveforms: torch.Tensor) -> None:
    def compute(seed: int) -> torch.Tensor:
        return RANDOM[kind].extract(waveforms[0], torch.Generator().manual_seed(seed))

    assert torch.equal(compute(1), compute(1))
    assert not torch.equal(compute(1), compute(2))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_finds_the_same(kind: str, waveforms: torch.Tensor) -> None:
    lengths = torch.tensor([20000, 300, 9000])
    there, frames = KINDS[kind](waveforms.cuda(), lengths)
    here, expected = KINDS[kind](waveforms, lengths)
    assert there.device.type == "cuda"
    assert torch.equal(frames, expected)
    assert ((there.cpu() - here).abs() < 2e-3).float().mean() > 0.99  # pitch may choose another of two equal paths
