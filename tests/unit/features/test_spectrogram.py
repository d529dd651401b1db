"""Spectrograms against torchaudio and against a transform written out."""

import math

import numpy as np
import pytest
import torch

from speechkit.features.spectrogram import Spectrogram, SpectrogramConfig


@pytest.fixture(scope="module")
def waveform() -> torch.Tensor:
    noise = torch.randn(48000, generator=torch.Generator().manual_seed(0))
    return 0.2 * torch.sin(2 * torch.pi * 300 * torch.arange(48000) / 16000) + 0.05 * noise


def test_as_torchaudio(waveform: torch.Tensor) -> None:
    kaldi = pytest.importorskip("torchaudio").compliance.kaldi
    theirs = kaldi.spectrogram(waveform[None] * 32768, dither=0.0)
    ours = Spectrogram(SpectrogramConfig()).extract(waveform)
    assert ours.shape == theirs.shape == (298, 257)
    torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=0)


def test_a_frame_written_out(waveform: torch.Tensor) -> None:
    config = SpectrogramConfig(sampling_rate=8000, frame_length_ms=30, frame_shift_ms=12, preemphasis=0.9)
    ours = Spectrogram(config).extract(waveform)[5].numpy()
    frame = waveform[5 * 96 : 5 * 96 + 240].numpy().astype(np.float64) * 32768
    frame -= frame.mean()
    window = (0.5 - 0.5 * np.cos(2 * math.pi * np.arange(240) / 239)) ** 0.85
    power = np.abs(np.fft.rfft(np.append(0.1 * frame[0], frame[1:] - 0.9 * frame[:-1]) * window, 256)) ** 2
    np.testing.assert_allclose(ours[1:], np.log(power[1:]), atol=2e-3)
    assert ours[0] == pytest.approx(math.log((frame**2).sum()), abs=1e-4)


def test_silence_is_at_the_floor_and_short_signals_have_no_frame() -> None:
    spectrogram = Spectrogram(SpectrogramConfig())
    assert torch.equal(spectrogram.extract(torch.zeros(1000)), torch.full((4, 257), math.log(2.0**-23)))
    assert spectrogram.extract(torch.zeros(399)).shape == (0, 257)


@pytest.mark.parametrize("settings", [{"frame_shift_ms": 0.0}, {"dither": -1.0}, {"sampling_rate": 0}])
def test_impossible_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="positive|negative"):
        SpectrogramConfig(**settings)
