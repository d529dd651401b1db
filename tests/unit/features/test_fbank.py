"""Filter banks against a float64 program written from the definition, and against other implementations."""

import math

import numpy as np
import pytest
import torch

from speechkit.common.errors import SpeechkitError
from speechkit.features.fbank import Fbank, FbankConfig

TOLERANCE = 2e-3  # what float32 programs differ by among each other at 16-bit scale


def reference_fbank(samples: np.ndarray, rate: int, bins: int, low: float, high: float) -> np.ndarray:
    """Frame by frame, step by step, in float64."""
    length, shift = rate * 25 // 1000, rate * 10 // 1000
    size = 2 ** math.ceil(math.log2(length))
    window = np.array([(0.5 - 0.5 * math.cos(2 * math.pi * i / (length - 1))) ** 0.85 for i in range(length)])
    mel = [1127 * math.log(1 + k * rate / size / 700) for k in range(size // 2)]
    low_mel, high_mel = (1127 * math.log(1 + hertz / 700) for hertz in (low, high))
    step = (high_mel - low_mel) / (bins + 1)
    rows = []
    for start in range(0, len(samples) - length + 1, shift):
        frame = samples[start : start + length].astype(np.float64) * 32768
        frame -= frame.mean()
        frame = np.append(frame[0] * 0.03, frame[1:] - 0.97 * frame[:-1]) * window
        power = np.abs(np.fft.rfft(frame, size)) ** 2
        row = []
        for index in range(bins):
            left, centre, right = (low_mel + (index + i) * step for i in range(3))
            energy = 0.0
            for k, m in enumerate(mel):
                if left < m < right:
                    energy += power[k] * (
                        (m - left) / (centre - left) if m <= centre else (right - m) / (right - centre)
                    )
            row.append(math.log(max(energy, 2.0**-23)))
        rows.append(row)
    return np.array(rows)


def speechlike(seconds: float, rate: int = 16000, offset: float = 0.0) -> torch.Tensor:
    """Harmonics with a changing loudness, noise, and a constant."""
    generator = torch.Generator().manual_seed(3)
    time = torch.arange(int(seconds * rate)) / rate
    voice = sum(torch.sin(2 * math.pi * 130 * k * time) / k for k in range(1, 25)) * (0.5 + 0.5 * torch.sin(9 * time))
    noise = torch.randn(len(time), generator=generator)
    return (0.1 * voice + 0.002 * noise + offset).to(torch.float32)


@pytest.mark.parametrize(
    ("rate", "bins", "low", "high"), [(16000, 80, 20.0, 7600.0), (16000, 23, 0.0, 8000.0), (8000, 40, 100.0, 3700.0)]
)
def test_equals_the_definition(rate: int, bins: int, low: float, high: float) -> None:
    waveform = speechlike(1.0, rate, offset=0.05)
    config = FbankConfig(sampling_rate=rate, num_bins=bins, low_hz=low, high_hz=high)
    expected = reference_fbank(waveform.numpy(), rate, bins, low, high)
    found = Fbank(config).extract(waveform)
    assert found.shape == expected.shape == (98, bins)
    assert np.abs(found.numpy() - expected).max() < TOLERANCE


def test_equals_torchaudio() -> None:
    kaldi = pytest.importorskip("torchaudio.compliance.kaldi", exc_type=(ImportError, OSError))
    waveform = speechlike(9.0)  # more than three blocks of frames
    expected = kaldi.fbank(waveform[None] * 32768, num_mel_bins=80, high_freq=-400.0, low_freq=20.0, dither=0.0)
    assert (Fbank(FbankConfig()).extract(waveform) - expected).abs().max() < TOLERANCE


def test_equals_kaldifeat() -> None:
    pytest.importorskip("kaldifeat")
    waveform = speechlike(9.0)
    ours, theirs = (Fbank(FbankConfig(backend=name)).extract(waveform) for name in ("torch", "kaldifeat"))
    assert (ours - theirs).abs().max() < TOLERANCE


def test_missing_kaldifeat_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "kaldifeat", None)
    with pytest.raises(SpeechkitError, match=r"tools/install_kaldifeat\.sh"):
        Fbank(FbankConfig(backend="kaldifeat"))


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (399, 0), (400, 1), (559, 1), (560, 2), (16000, 98)])
def test_number_of_frames(samples: int, frames: int) -> None:
    assert Fbank(FbankConfig()).extract(speechlike(1.0)[:samples]).shape == (frames, 80)


def test_a_batch_gives_each_waveform_what_it_gets_alone() -> None:
    fbank, waveform = Fbank(FbankConfig()), speechlike(6.0)
    lengths = torch.tensor([96000, 300, 50000])
    batch = torch.stack([waveform, waveform.flip(0), -waveform])
    features, frames = fbank(batch, lengths)
    assert frames.tolist() == [598, 0, 311]
    for row, padded, length, count in zip(batch, features, lengths, frames, strict=True):
        assert torch.equal(padded[:count], fbank.extract(row[:length]))
        assert not padded[count:].any()
    listed, _ = fbank([row[:length] for row, length in zip(batch, lengths, strict=True)])
    assert torch.equal(listed, features)


def test_results_do_not_share_memory() -> None:
    fbank, waveform = Fbank(FbankConfig()), speechlike(1.0)
    first = fbank.extract(waveform)
    kept = first.clone()
    fbank.extract(waveform.flip(0))
    assert torch.equal(first, kept)


def test_silence_is_at_the_energy_floor() -> None:
    features = Fbank(FbankConfig()).extract(torch.zeros(1000))
    assert torch.allclose(features, torch.full_like(features, math.log(2.0**-23)))


def test_dither_follows_its_generator_and_lifts_silence() -> None:
    fbank = Fbank(FbankConfig(dither=1.0))
    first, again, other = (fbank.extract(torch.zeros(16000), torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    # white noise of unit variance, pre-emphasised: E|X(k)|^2 is the window's energy times |1 - 0.97 e^-iw|^2
    window = torch.hann_window(400, periodic=False, dtype=torch.float64) ** 0.85
    top_bin = float(first[:, -1].double().exp().mean())
    hertz = torch.arange(257, dtype=torch.float64) * 16000 / 512
    from speechkit.features.fbank import mel_filters

    response = (1 - 0.97 * torch.exp(-2j * math.pi * hertz / 16000)).abs() ** 2
    expected = float((mel_filters(FbankConfig())[-1] * response).sum() * (window**2).sum())
    assert abs(top_bin / expected - 1) < 0.1


@pytest.mark.parametrize(
    "settings", [{"num_bins": 200}, {"low_hz": 7700.0}, {"high_hz": 9000.0}, {"frame_shift_ms": 0.0}, {"dither": -1.0}]
)
def test_impossible_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="fewer|does not fit|positive|negative"):
        FbankConfig(**settings)
