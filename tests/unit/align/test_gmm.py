"""Gaussian mixtures against scipy and against sums over single frames."""

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from speechkit.align.gmm import DiagonalGmms, GmmStats, pieces, split_targets

RNG = np.random.default_rng(0)


@pytest.fixture
def gmms() -> DiagonalGmms:
    """Three pdfs of one, three and two Gaussians over four dimensions."""
    rng = np.random.default_rng(1)
    weights = np.concatenate([[1.0], [0.2, 0.5, 0.3], [0.9, 0.1]])
    means, variances = rng.normal(size=(6, 4)), rng.uniform(0.3, 2, size=(6, 4))
    return DiagonalGmms(torch.tensor([1, 3, 2]), *map(torch.from_numpy, (weights, means, variances)))


def densities(gmms: DiagonalGmms, frames: np.ndarray) -> np.ndarray:
    """Weighted log-densities of every Gaussian by scipy, `(T, G)`."""
    parts = zip(gmms.weights.numpy(), gmms.means.numpy(), gmms.variances.numpy(), strict=True)
    return np.stack([math.log(w) + multivariate_normal.logpdf(frames, m, np.diag(v)) for w, m, v in parts], axis=1)


def test_log_likelihoods(gmms: DiagonalGmms) -> None:
    frames = RNG.normal(size=(1500, 4)) * 3
    each = densities(gmms, frames)
    expected = np.stack([logsumexp(each[:, part], axis=1) for part in (slice(0, 1), slice(1, 4), slice(4, 6))], axis=1)
    found = gmms.log_likelihoods(torch.from_numpy(frames).float())
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_frame_far_from_everything_is_finite(gmms: DiagonalGmms) -> None:
    assert torch.isfinite(gmms.log_likelihoods(torch.full((1, 4), 300.0))).all()


def test_statistics_are_those_of_posteriors(gmms: DiagonalGmms) -> None:
    frames = RNG.normal(size=(60, 4))
    pdfs = RNG.integers(0, 3, size=60)
    stats = GmmStats.zeros(6, 4)
    for part in (slice(0, 25), slice(25, 60)):
        gmms.accumulate(torch.from_numpy(frames[part]).float(), torch.from_numpy(pdfs[part]), stats)
    each = densities(gmms, frames)
    outside = pdfs[:, None] != np.repeat([0, 1, 2], [1, 3, 2])
    each[outside] = -np.inf
    totals = logsumexp(each, axis=1)
    posteriors = np.exp(each - totals[:, None])
    np.testing.assert_allclose(stats.occupancy, posteriors.sum(0), rtol=1e-4)
    np.testing.assert_allclose(stats.total, posteriors.T @ frames, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(stats.squares, posteriors.T @ frames**2, rtol=1e-3, atol=1e-4)
    assert stats.log_likelihood == pytest.approx(totals.sum(), rel=1e-4)
    assert stats.frames == 60


def test_estimation_of_one_gaussian_is_mean_and_variance() -> None:
    frames = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)) * 2 + 1
    start = DiagonalGmms.single(torch.zeros(3), torch.ones(3), 2)
    stats = GmmStats.zeros(2, 3)
    start.accumulate(frames, torch.zeros(200, dtype=torch.int64), stats)
    found = start.estimated(stats, torch.full((3,), 1e-3, dtype=torch.float64))
    torch.testing.assert_close(found.means[0], frames.double().mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.variances[0], frames.double().var(0, unbiased=False), rtol=1e-4, atol=1e-4)
    assert found.means[1].tolist() == [0, 0, 0]  # no frame: it stays as it was
    assert found.sizes.tolist() == [1, 1]


def test_expectation_maximisation_raises_the_likelihood(gmms: DiagonalGmms) -> None:
    generator = torch.Generator().manual_seed(0)
    frames = torch.cat([torch.randn(300, 4, generator=generator) + shift for shift in (-2, 0, 3)])
    pdfs = torch.ones(900, dtype=torch.int64)
    floor, last = torch.full((4,), 1e-3, dtype=torch.float64), -math.inf
    for _ in range(6):
        stats = GmmStats.zeros(gmms.num_gaussians, 4)
        gmms.accumulate(frames, pdfs, stats)
        assert stats.log_likelihood > last
        last = stats.log_likelihood
        gmms = gmms.estimated(stats, floor)
    assert sorted(gmms.means[1:4, 0].round(decimals=0).tolist()) == [-2, 0, 3]


def test_variance_floor_and_least_occupancy(gmms: DiagonalGmms) -> None:
    stats = GmmStats.zeros(6, 4)
    stats.occupancy[:] = torch.tensor([50.0, 30.0, 4.0, 20.0, 2.0, 3.0])
    stats.total[:] = stats.occupancy[:, None]
    stats.squares[:] = stats.occupancy[:, None] * (1 + 1e-6)
    floor = torch.full((4,), 0.25, dtype=torch.float64)
    found = gmms.estimated(stats, floor, least_occupancy=10)
    assert found.sizes.tolist() == [1, 2, 1]  # of the last pdf the heavier one stays, as it was
    assert found.weights.tolist() == pytest.approx([1, 0.6, 0.4, 1])
    assert (found.variances[:3] == 0.25).all()
    assert found.means[3].equal(gmms.means[5])


def test_shares_grow_with_a_power_of_the_occupancy() -> None:
    assert split_targets([0, 1e4, 1e4], [1, 1, 1], 7, 0.25, 20) == [1, 3, 3]
    targets = split_targets([16e4, 1e4], [1, 1], 30, 0.25, 20)
    assert targets == [20, 10]  # 16 ** 0.25 = 2
    assert split_targets([100, 1e6], [1, 1], 200, 0.25, 20)[0] == 4  # frames for no more
    assert split_targets([1e4, 1e4], [5, 1], 4, 0.25, 20) == [5, 2]  # none is taken away


def test_growth_keeps_the_density_nearly_the_same(gmms: DiagonalGmms) -> None:
    frames = torch.from_numpy(RNG.normal(size=(50, 4))).float()
    occupancy = torch.tensor([500.0, 500.0, 500.0])
    grown = [gmms.grown(occupancy, 18, 0.25, 20, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert grown[0].num_gaussians == 18
    torch.testing.assert_close(grown[0].log_likelihoods(frames), gmms.log_likelihoods(frames), atol=0.05, rtol=0)
    assert grown[0].means.equal(grown[1].means)
    assert not grown[0].means.equal(grown[2].means)
    sums = torch.zeros(3, dtype=torch.float64).index_add_(0, grown[0].pdf, grown[0].weights)
    torch.testing.assert_close(sums, torch.ones(3, dtype=torch.float64))


def test_pieces() -> None:
    assert [each.tolist() for each in pieces(torch.arange(5), [2, 0, 3])] == [[0, 1], [], [2, 3, 4]]
