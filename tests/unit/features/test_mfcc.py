"""Cepstra and derivatives against torchaudio and against sums written out."""

import math

import numpy as np
import pytest
import torch

from speechkit.features.deltas import add_deltas, delta_filters
from speechkit.features.fbank import Fbank, FbankConfig
from speechkit.features.mfcc import Mfcc, MfccConfig, cosine_transform, lifter_weights, mfcc


@pytest.fixture(scope="module")
def waveform() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    seconds = torch.arange(16000) / 16000
    return 0.2 * torch.sin(2 * torch.pi * 300 * seconds * (1 + seconds)) + 0.05 * torch.randn(
        16000, generator=generator
    )


def test_as_torchaudio_without_energy(waveform: torch.Tensor) -> None:
    kaldi = pytest.importorskip("torchaudio").compliance.kaldi
    theirs = kaldi.mfcc(waveform[None] * 32768, use_energy=False, dither=0.0)
    ours = Mfcc(MfccConfig(delta_order=0)).extract(waveform)
    assert ours.shape == theirs.shape == (98, 13)
    torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=0)


def test_the_transform_is_orthonormal_and_the_first_cepstrum_is_the_mean() -> None:
    transform = cosine_transform(23, 23)
    torch.testing.assert_close(transform.T @ transform, torch.eye(23, dtype=torch.float64))
    energies = torch.rand(4, 23)
    torch.testing.assert_close(mfcc(energies, 1, lifter=0)[:, 0], energies.sum(1) / math.sqrt(23))


def test_lifter() -> None:
    assert lifter_weights(4, 0).tolist() == [1, 1, 1, 1]
    assert lifter_weights(12, 22)[11] == pytest.approx(12)  # 1 + 22 / 2 sin(pi / 2)


def test_more_cepstra_than_bins() -> None:
    with pytest.raises(ValueError, match="20 cepstra do not come out of 13"):
        mfcc(torch.rand(2, 13), 20)


@pytest.mark.parametrize("window", [1, 2, 3])
def test_first_derivative_is_the_regression_slope(window: int) -> None:
    features = np.random.default_rng(0).normal(size=(9, 2))
    found = add_deltas(torch.from_numpy(features), 1, window)[:, 2:].numpy()
    for frame in range(9):
        around = np.clip(np.arange(frame - window, frame + window + 1), 0, 8)
        slope = np.polyfit(np.arange(-window, window + 1), features[around], 1)[0]
        np.testing.assert_allclose(found[frame], slope, atol=1e-12)


def test_second_derivative_is_kaldis_filter() -> None:
    assert delta_filters(2)[2].tolist() == pytest.approx([0.04, 0.04, 0.01, -0.04, -0.1, -0.04, 0.01, 0.04, 0.04])
    line = torch.arange(12.0)[:, None]
    found = add_deltas(line)
    torch.testing.assert_close(found[4:-4, 1], torch.ones(4))
    torch.testing.assert_close(found[4:-4, 2], torch.zeros(4), atol=1e-6, rtol=0)


def test_short_and_empty_features() -> None:
    torch.testing.assert_close(add_deltas(torch.ones(1, 2)), torch.tensor([[1.0, 1, 0, 0, 0, 0]]), atol=1e-6, rtol=0)
    assert add_deltas(torch.empty(0, 3)).shape == (0, 9)


def test_from_the_waveform_with_derivatives(waveform: torch.Tensor) -> None:
    found = Mfcc(MfccConfig()).extract(waveform)
    assert found.shape == (98, 39)
    assert torch.equal(found, add_deltas(mfcc(Fbank(MfccConfig().fbank).extract(waveform))))
    bare = Mfcc(MfccConfig(fbank=FbankConfig(num_bins=40), num_cepstra=40, delta_order=0))
    assert bare.extract(waveform).shape == (98, 40)
    with pytest.raises(ValueError, match="30 cepstra do not come out of 23"):
        MfccConfig(num_cepstra=30)
