"""k-means against scikit-learn, brute force and hand-worked cases."""

import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from speechkit.cluster.kmeans import KMeansConfig, Sample, assign, fit, sampled
from speechkit.common.errors import SpeechkitError


def seeded(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def blobs(count: int, dims: int, clusters: int, seed: int = 0) -> Tensor:
    """Points around random centres, close enough to overlap."""
    generator = seeded(seed)
    centres = torch.randn(clusters, dims, generator=generator) * 2
    return centres[torch.randint(clusters, (count,), generator=generator)] + torch.randn(
        count, dims, generator=generator
    )


def inertia(points: Tensor, centres: Tensor) -> float:
    return float(assign(points, centres)[1].double().mean())


def test_every_point_goes_to_the_nearest_centre() -> None:
    points, centres = blobs(5000, 7, 20), torch.randn(90, 7, generator=seeded(1))
    labels, distances = assign(points, centres)
    exact = (points[:, None].double() - centres.double()).pow(2).sum(2)
    torch.testing.assert_close(distances.double(), exact.min(1).values, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(exact.gather(1, labels[:, None])[:, 0], exact.min(1).values, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("count", "dims", "clusters"), [(3000, 13, 20), (20_000, 39, 50)])
def test_inertia_of_scikit_learn_from_the_same_seeds(count: int, dims: int, clusters: int) -> None:
    cluster = pytest.importorskip("sklearn.cluster", reason="scikit-learn is the reference")
    points = blobs(count, dims, clusters)
    seeds = points[torch.randperm(count, generator=seeded(2))[:clusters]]
    reference = cluster.KMeans(clusters, init=seeds.numpy(), n_init=1, max_iter=100, tol=0).fit(points.numpy())
    config = KMeansConfig(clusters=clusters, iterations=100, tolerance=0)
    ours = inertia(points, fit(points, config, seeded(3), seeds=seeds))
    assert ours == pytest.approx(reference.inertia_ / count, rel=0.01)
    # With k-means++ it is not worse than scikit-learn's with its own, at shipped settings.
    theirs = cluster.KMeans(clusters, n_init=1, random_state=0).fit(points.numpy()).inertia_ / count
    assert inertia(points, fit(points, KMeansConfig(clusters=clusters), seeded(4))) < 1.01 * theirs


def test_separate_groups_are_found_whatever_the_seed() -> None:
    corners = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    points = corners.repeat_interleave(torch.tensor([500, 40, 200, 5]), 0)
    points = points + 0.1 * torch.randn(points.shape, generator=seeded(5))
    for number in range(10):
        centres = fit(points, KMeansConfig(clusters=4), seeded(number))
        assert sorted((centres / 10).round().tolist()) == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_a_cluster_that_lost_its_points_gets_others() -> None:
    points = torch.tensor([[0.0], [0.1], [5.0], [5.1], [9.0]])
    seeds = torch.tensor([[0.0], [5.0], [-1e3]])
    centres = fit(points, KMeansConfig(clusters=3), seeded(), seeds=seeds)
    assert sorted(round(float(centre), 2) for centre in centres.flatten()) == [0.05, 5.05, 9.0]


def test_a_sample_is_even_and_bounded() -> None:
    counts = np.zeros(40)
    for number in range(3000):
        blocks = torch.arange(40.0)[:, None].split([3, 0, 20, 17])
        kept = sampled(iter(blocks), KMeansConfig(clusters=2, max_points=10), seeded(number))
        assert len(kept.unique()) == len(kept) == 10
        counts[kept.flatten().long().numpy()] += 1
    assert np.abs(counts / 3000 - 0.25).max() < 0.04
    few = sampled([torch.ones(3, 2)], KMeansConfig(clusters=2, max_points=10), seeded())
    assert few.shape == (3, 2)


def test_what_cannot_be_clustered_is_one_line() -> None:
    config = KMeansConfig(clusters=5)
    with pytest.raises(SpeechkitError, match="4 frames are too few for 5 clusters"):
        fit(torch.randn(4, 2), config, seeded())
    with pytest.raises(SpeechkitError, match="fewer than 5 different frames"):
        fit(torch.eye(3).repeat(10, 1), config, seeded())
    with pytest.raises(SpeechkitError, match="NaN or infinity"):
        fit(torch.full((9, 2), torch.nan), config, seeded())
    with pytest.raises(SpeechkitError, match="no frames to cluster"):
        Sample(10, seeded()).points()


def test_memory_does_not_grow_with_the_number_of_frames() -> None:
    """Blocks are let go one by one, and what is kept is as large as it may be, of three hundred times as much."""
    alive: set[int] = set()
    most = 0

    def blocks() -> Iterator[Tensor]:
        nonlocal most
        for number in range(300):
            block = torch.full((1000, 5), float(number))
            alive.add(number)
            weakref.finalize(block, alive.discard, number)
            most = max(most, len(alive))
            yield block

    kept = sampled(blocks(), KMeansConfig(clusters=2, max_points=1000), seeded())
    assert most <= 2
    assert kept.untyped_storage().nbytes() == 1000 * 5 * 4
    assert len(kept[:, 0].unique()) > 250


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_finds_what_a_cpu_finds() -> None:
    points, config = blobs(20_000, 39, 50), KMeansConfig(clusters=50)
    seeds = points[torch.randperm(len(points), generator=seeded(2))[:50]]
    ours = fit(points.cuda(), config, seeded(3), seeds=seeds.cuda())
    assert ours.device.type == "cuda"
    assert inertia(points, ours.cpu()) == pytest.approx(
        inertia(points, fit(points, config, seeded(3), seeds)), rel=0.01
    )
    alone = inertia(points, fit(points.cuda(), config, seeded(4)).cpu())
    assert alone < 1.02 * inertia(points, fit(points, config, seeded(4)))


def test_a_sample_on_disk_is_that_in_memory(tmp_path: Path) -> None:
    points = blobs(500, 3, 4)
    drawn = []
    for folder in (None, tmp_path / "work"):
        sample = Sample(100, seeded(), folder)
        for block in points.split(60):
            sample.add(block)
        drawn.append(sample.points())
    assert torch.equal(*drawn)
    assert not list((tmp_path / "work").iterdir())
