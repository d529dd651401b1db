"""Noise at its ratio, rooms with their reverberation time, and features from audio as stage 1 stores them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_corpora import fake_digits, riff, tone

from speechkit.cli import main
from speechkit.common.errors import SpeechkitError
from speechkit.config.load import load_config
from speechkit.data.batches import BatchConfig, FeatureDataset, TrainingBatches, load_cuts
from speechkit.data.distortion import Distortion, DistortionConfig, coloured_noise, reverberated, room, with_noise
from speechkit.data.extraction import FeaturesConfig
from speechkit.data.from_audio import AudioConfig, AudioFeatures
from speechkit.features.cmvn import Cmvn
from speechkit.features.fbank import FbankConfig
from speechkit.tasks.recognizer import CtcConfig

ALWAYS = DistortionConfig(noise_share=1.0, reverb_share=1.0)


def speech(count: int = 16000, seed: int = 0) -> np.ndarray:
    return (tone(count, seed) / 32768).astype(np.float32)


def rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


@pytest.mark.parametrize("snr", [-5.0, 0.0, 20.0])
def test_noise_has_the_ratio_asked_for_and_keeps_the_loudness(snr: float) -> None:
    samples, noise = speech(), coloured_noise(16000, 1.0, np.random.default_rng(1))
    mixed = with_noise(samples, noise, snr)
    (of_speech, of_noise), *_ = np.linalg.lstsq(np.stack([samples, noise], 1), mixed, rcond=None)
    assert 20 * np.log10(of_speech * rms(samples) / (of_noise * rms(noise))) == pytest.approx(snr, abs=0.01)
    assert rms(mixed) == pytest.approx(rms(samples), rel=1e-4)


def test_silence_gets_no_noise() -> None:
    silence = np.zeros(100, np.float32)
    assert not with_noise(silence, np.ones(100, np.float32), 0.0).any()
    assert not reverberated(silence, np.ones(10, np.float32)).any()
    assert np.array_equal(with_noise(speech(), np.zeros(16000, np.float32), 0.0), speech())


@pytest.mark.parametrize("seconds", [0.2, 0.6])
def test_a_room_dies_away_in_its_time(seconds: float) -> None:
    """Schroeder's backward integration: the energy still to come falls linearly in decibels."""
    response = room(seconds, 16000, np.random.default_rng(0)).astype(np.float64)
    assert response[0] == 1
    left = 10 * np.log10(np.cumsum(np.square(response[::-1]))[::-1])
    begin, end = 1600, int(0.6 * len(response))
    slope = np.polyfit(np.arange(begin, end) / 16000, left[begin:end], 1)[0]
    assert -60 / slope == pytest.approx(seconds, rel=0.1)


def test_reverberation_is_a_convolution() -> None:
    samples, response = speech(500), room(0.01, 16000, np.random.default_rng(0))
    expected = np.convolve(samples, response)[:500]
    found = reverberated(samples, response)
    np.testing.assert_allclose(found, expected * rms(samples) / rms(expected), atol=1e-5)


@pytest.mark.parametrize("colour", [0.0, 2.0])
def test_the_colour_of_noise_is_the_fall_of_its_power(colour: float) -> None:
    power = np.abs(np.fft.rfft(coloured_noise(1 << 16, colour, np.random.default_rng(0)))) ** 2
    low, high = power[4000:4400].mean(), power[16000:17600].mean()
    assert np.log(low / high) / np.log(4) == pytest.approx(colour, abs=0.2)


def test_shares_and_randomness() -> None:
    nothing, everything = Distortion(DistortionConfig(), 16000), Distortion(ALWAYS, 16000)
    assert nothing(speech(), np.random.default_rng(0)) is not None
    assert np.array_equal(nothing(speech(), np.random.default_rng(0)), speech())
    first, again, other = (everything(speech(), np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    half = Distortion(replace(ALWAYS, noise_share=0.5, reverb_share=0.0), 16000)
    rng = np.random.default_rng(0)
    changed = sum(not np.array_equal(half(speech(400), rng), speech(400)) for _ in range(400))
    assert 160 < changed < 240  # four standard deviations
    with pytest.raises(ValueError, match="noise_share lies between 0 and 1"):
        DistortionConfig(noise_share=2)


def test_speed_shortens_and_raises_the_pitch() -> None:
    time = np.arange(16000) / 16000
    samples = np.sin(2 * np.pi * 1000 * time).astype(np.float32)
    fast = Distortion(DistortionConfig(speeds=(1.25,)), 16000)(samples, np.random.default_rng(0))
    assert len(fast) == 12800
    spectrum = np.abs(np.fft.rfft(fast * np.hanning(len(fast))))
    assert spectrum.argmax() * 16000 / len(fast) == pytest.approx(1250, abs=2)
    draw, rng = Distortion(DistortionConfig(speeds=(0.9, 1.0, 1.1)), 16000), np.random.default_rng(0)
    lengths = [len(draw(samples, rng)) for _ in range(300)]
    assert set(lengths) == {17778, 16000, 14545}
    assert min(lengths.count(length) for length in set(lengths)) > 80


def test_recordings_of_noise(tmp_path: Path) -> None:
    config = DistortionConfig(noise_share=1.0, noise=str(tmp_path), snr=(10.0, 10.0))
    with pytest.raises(SpeechkitError, match="holds no recording of noise"):
        Distortion(config, 16000)
    noise = (np.random.default_rng(0).standard_normal(1000) * 3000).astype("<i2")
    riff(tmp_path / "hum.wav", noise)
    found = Distortion(config, 16000)(speech(2500), np.random.default_rng(0))
    expected = with_noise(speech(2500), np.resize(noise, 2500).astype(np.float32), 10.0)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    riff(tmp_path / "low.wav", noise, rate=8000)
    with pytest.raises(SpeechkitError, match=r"low\.wav is not mono at 16000 Hz; convert it"):
        Distortion(config, 16000)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stored features of twenty short recordings, with a copy at another speed."""
    folder = tmp_path_factory.mktemp("stored")
    fake_digits(folder / "audio", speakers=("ann",), count=2, rate=16000)
    (folder / "text").write_text("".join(f"{path.stem} word\n" for path in (folder / "audio").iterdir()))
    audio = ["--audio", str(folder / "audio"), "--text", str(folder / "text"), "--dev-share", "0", "--test-share", "0"]
    assert main(["prepare", *audio, "--out", str(folder / "manifests"), "--nj", "1"]) == 0
    assert main(["validate", "--in", str(folder / "manifests"), "--out", str(folder / "valid"), "--nj", "1"]) == 0
    features = ["--in", str(folder / "valid"), "--out", str(folder / "fbank"), "--speeds", "1.0,0.9", "--nj", "1"]
    assert main(["features", *features]) == 0
    return folder / "fbank" / "cuts_train.jsonl.gz"


def test_without_distortion_features_are_those_of_stage_1(stored: Path) -> None:
    cuts = list(load_cuts(stored))
    found = AudioFeatures(AudioConfig(), seed=0)(cuts)
    assert len(found) == 40
    for cut, features in zip(cuts, found, strict=True):
        reference = torch.from_numpy(cut.load_features())
        assert features.shape == reference.shape
        tolerance = 0.02 if not cut.recording.transforms else 0.5  # Lhotse's resampler is another one
        assert (features - reference).abs().mean() < tolerance
    plain = [place for place, cut in enumerate(cuts) if not cut.recording.transforms]
    assert max((found[place] - torch.from_numpy(cuts[place].load_features())).abs().max() for place in plain) < 0.016


def test_other_columns_than_the_stored_ones(stored: Path) -> None:
    stored_columns = next(iter(load_cuts(stored))).features.num_features
    AudioFeatures(AudioConfig(), seed=0).require_columns(stored_columns)
    narrow = AudioConfig(features=FeaturesConfig(fbank=FbankConfig(num_bins=40)))
    with pytest.raises(SpeechkitError, match="give 40 columns, but the stored features have 80; set audio.features"):
        AudioFeatures(narrow, seed=0).require_columns(stored_columns)


def test_batches_with_distortion_come_again_exactly(stored: Path) -> None:
    cuts = load_cuts(stored).filter(lambda cut: not cut.recording.transforms).to_eager()

    def epoch(seed: int, skip: int = 0) -> list[torch.Tensor]:
        read = AudioFeatures(AudioConfig(distortion=ALWAYS), seed)
        data = FeatureDataset(lambda fields: [1], Cmvn(), "none", read)
        batches = TrainingBatches(cuts, data, BatchConfig(max_duration=1.0, workers=0), seed=0)
        return [batch.features for batch in batches.epoch(0, skip)]

    first, rest = epoch(0), epoch(0, skip=2)
    assert len(first) == 4
    assert all(torch.equal(one, two) for one, two in zip(first[2:], rest, strict=True))
    assert not torch.equal(first[0], epoch(1)[0])


def test_the_configuration_of_a_training(tmp_path: Path) -> None:
    path = tmp_path / "fbank.yaml"
    path.write_text("audio:\n  features: {fbank: {num_bins: 40}}\n  distortion: {noise_share: 0.3, snr: [0, 10]}\n")
    config = load_config(CtcConfig, path, ["audio.distortion.reverb_share=0.5"])
    expected = DistortionConfig(noise_share=0.3, snr=(0.0, 10.0), reverb_share=0.5)
    assert config.audio is not None
    assert (config.audio.distortion, config.audio.features.fbank.num_bins) == (expected, 40)
    assert load_config(CtcConfig, None, []).audio is None
    assert FeaturesConfig() == AudioConfig().features
