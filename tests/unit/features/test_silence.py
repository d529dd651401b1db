"""Detectors of speech on sounds whose places are known."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from speechkit.common.errors import SpeechkitError
from speechkit.features.silence import EnergyDetector, RvadDetector, frame_levels

RATE = 16000


def bursts(places: list[tuple[float, float]], seconds: float, noise: float = 0.003) -> np.ndarray:
    """Harmonic sounds at places in seconds, in noise."""
    rng = np.random.default_rng(0)
    samples = rng.normal(0, noise, round(seconds * RATE))
    for start, end in places:
        time = np.arange(round(start * RATE), round(end * RATE)) / RATE
        samples[round(start * RATE) : round(end * RATE)] += sum(
            0.1 * np.sin(2 * np.pi * 220 * k * time) for k in (1, 2, 3, 7)
        )
    return samples.astype(np.float32)


def test_levels_are_those_of_a_loop() -> None:
    samples = np.random.default_rng(1).normal(0, 0.1, 1234).astype(np.float32)
    emphasised = samples.astype(np.float64).copy()
    emphasised[1:] -= 0.97 * samples[:-1].astype(np.float64)
    expected = [10 * np.log10(np.mean(emphasised[t * 160 : t * 160 + 480] ** 2) + 1e-10) for t in range(5)]
    np.testing.assert_allclose(frame_levels(samples, RATE), expected, atol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_sounds_are_found_with_their_padding(scale: float) -> None:
    """Whatever the volume; a gap of 0.12 s is no silence, a click of 10 ms no speech."""
    places = [(0.5, 0.9), (1.02, 1.5), (2.2, 2.21), (3.0, 3.8)]
    samples = bursts(places, 4.5)
    found = EnergyDetector()(samples * np.float32(scale), RATE) / RATE
    np.testing.assert_allclose(found, [[0.45, 1.55], [2.95, 3.85]], atol=0.04)


def test_settings_change_what_is_silence() -> None:
    samples = bursts([(0.5, 0.9), (1.02, 1.5)], 2.0)
    assert len(EnergyDetector(least_silence=0.05, padding=0.0, smoothing=0.0)(samples, RATE)) == 2
    assert "silence of 0.05 s at least" in EnergyDetector(least_silence=0.05).description
    assert EnergyDetector().description != EnergyDetector(share=0.31).description


@pytest.mark.parametrize("detector", [EnergyDetector(), EnergyDetector(smoothing=0.0)])
def test_what_has_no_silence_is_speech(detector: EnergyDetector) -> None:
    """Noise that never changes, digital silence, and less than a window."""
    for samples in (bursts([], 1.0), np.zeros(RATE, np.float32), np.zeros(100, np.float32), np.zeros(0, np.float32)):
        assert detector(samples, RATE).tolist() == [[0, len(samples)]]


def test_speech_up_to_the_ends() -> None:
    samples = bursts([(0.0, 0.6), (1.5, 2.005)], 2.005)
    found = EnergyDetector()(samples, RATE)
    assert (found[0, 0], found[-1, 1]) == (0, len(samples))
    assert len(found) == 2


def test_impossible_settings() -> None:
    for wrong in ({"share": 1.0}, {"margin": -1}, {"padding": -0.1}):
        with pytest.raises(ValueError, match="must"):
            EnergyDetector(**wrong)


def test_rvad_without_its_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rVADfast", None)
    with pytest.raises(SpeechkitError, match=r"needs rVADfast; run: .*pip install rVADfast, or take energy"):
        RvadDetector()


def test_labels_of_rvad_become_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels are of 10 ms frames with windows of 25 ms."""
    labels = np.zeros(98)
    labels[10:30] = labels[60:] = 1
    package = SimpleNamespace(rVADfast=lambda: lambda samples, rate: (labels, None))
    monkeypatch.setitem(sys.modules, "rVADfast", package)
    samples = np.zeros(RATE, np.float32)
    np.testing.assert_allclose(RvadDetector()(samples, RATE), [[1600, 4800], [9600, RATE]], atol=160)
    labels[:] = 0
    assert RvadDetector()(samples, RATE).tolist() == [[0, RATE]]


def test_rvad_itself() -> None:
    pytest.importorskip("rVADfast")
    found = RvadDetector()(bursts([(1.0, 2.0)], 3.0), RATE) / RATE
    assert 0.7 < found[0, 0] < 1.1 < 1.9 < found[-1, 1] < 2.4
