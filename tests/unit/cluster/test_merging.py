"""Segments by Ward's criterion, against scikit-learn and a loop over all mergers."""

import numpy as np
import pytest
import torch

from speechkit.cluster.merging import merged_segments


def loop(frames: np.ndarray, cost: float) -> list[list[int]]:
    """All sums of squares are counted again for each merger."""

    def spread(first: int, end: int) -> float:
        return float(((frames[first:end] - frames[first:end].mean(0)) ** 2).sum())

    spans = [[at, at + 1] for at in range(len(frames))]
    while len(spans) > 1:
        prices = [spread(a[0], b[1]) - spread(*a) - spread(*b) for a, b in zip(spans[:-1], spans[1:], strict=True)]
        best = int(np.argmin(prices))
        if prices[best] > cost:
            break
        spans[best : best + 2] = [[spans[best][0], spans[best + 1][1]]]
    return spans


@pytest.mark.parametrize("cost", [0.0, 0.5, 2.0, 5.0, 1e9])
def test_mergers_are_those_of_a_loop(cost: float) -> None:
    frames = np.random.default_rng(0).normal(size=(80, 3))
    assert merged_segments(torch.from_numpy(frames), cost).tolist() == loop(frames, cost)


def test_segments_are_those_of_scikit_learn() -> None:
    """Which merges by the same criterion where only neighbours may be merged, down to a number of clusters."""
    cluster = pytest.importorskip("sklearn.cluster", reason="scikit-learn is the reference")
    frames = np.random.default_rng(1).normal(size=(200, 4)).cumsum(0)
    spans = merged_segments(torch.from_numpy(frames), 30.0)
    chain = np.eye(200, k=1) + np.eye(200, k=-1)
    labels = cluster.AgglomerativeClustering(len(spans), connectivity=chain).fit_predict(frames)
    assert 5 < len(spans) < 60
    assert spans[1:, 0].tolist() == (np.flatnonzero(np.diff(labels)) + 1).tolist()


def test_few_frames() -> None:
    assert merged_segments(torch.zeros(0, 2), 1.0).shape == (0, 2)
    assert merged_segments(torch.zeros(1, 2), 1.0).tolist() == [[0, 1]]
    assert merged_segments(torch.zeros(3, 2), 0.0).tolist() == [[0, 3]]
