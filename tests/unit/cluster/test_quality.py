"""Figures of clusters against scikit-learn and by hand."""

import math

import numpy as np
import pytest

from speechkit.cluster.quality import Tally, joint_counts, quality


def test_figures_by_hand() -> None:
    phones, clusters = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 1, 1, 3])
    counts = joint_counts(phones, clusters, (2, 4))
    assert counts.tolist() == [[2, 1, 0, 0], [0, 2, 0, 1]]
    found = quality(counts)
    assert found.phone_purity == pytest.approx(5 / 6)
    assert found.cluster_purity == pytest.approx(4 / 6)
    assert (found.used, found.frames) == (3, 6)
    # H(phone) - H(phone | cluster), where only cluster 1 leaves a doubt: 1 : 2.
    doubt = 0.5 * -(math.log(1 / 3) / 3 + 2 * math.log(2 / 3) / 3)
    assert found.pnmi == pytest.approx((math.log(2) - doubt) / math.log(2))


def test_mutual_information_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the reference")
    rng = np.random.default_rng(0)
    phones = rng.integers(10, size=5000)
    clusters = (phones * 3 + rng.integers(9, size=5000)) % 30
    found = quality(joint_counts(phones, clusters, (10, 30)))
    shares = np.bincount(phones) / 5000
    entropy = -(shares * np.log(shares)).sum()
    assert found.pnmi == pytest.approx(metrics.mutual_info_score(phones, clusters) / entropy, rel=1e-9)


def test_perfect_and_useless_clusters() -> None:
    assert quality(np.diag([3, 4, 5])).pnmi == pytest.approx(1)
    assert quality(np.full((4, 6), 2)).pnmi == pytest.approx(0, abs=1e-12)
    unused = quality(np.zeros((2, 3), np.int64))
    assert (unused.clusters, unused.used, unused.entropy, unused.frames, unused.pnmi) == (3, 0, 0.0, 0, None)


def test_counting_by_utterance_gives_the_figures_of_all_frames() -> None:
    """Phones that come late, phones beyond the labels, frames without a phone, utterances without phones."""
    rng = np.random.default_rng(1)
    tally, truth, found = Tally(6), [], []
    alone = rng.integers(6, size=70)
    tally.add(alone)
    for phones in ("ab", "ca", "d"):
        labels = rng.integers(6, size=30)
        tally.add(
            labels, [(phone, 10 * place - 3, 10 * place + 5) for place, phone in enumerate(phones)] + [("z", 40, 50)]
        )
        for place, phone in enumerate(phones):
            part = labels[max(0, 10 * place - 3) : 10 * place + 5]
            truth += ["abcd".index(phone)] * len(part)
            found += part.tolist()
        alone = np.concatenate([alone, labels])
    figures, expected = tally.quality(), quality(joint_counts(np.array(truth), np.array(found), (4, 6)))
    assert figures.pnmi == pytest.approx(expected.pnmi)
    assert (figures.phone_purity, figures.cluster_purity) == (expected.phone_purity, expected.cluster_purity)
    assert (figures.frames, figures.phone_frames, figures.clusters) == (160, len(truth), 6)
    shares = np.bincount(alone) / 160
    assert figures.entropy == pytest.approx(-(shares * np.log(shares)).sum())
    assert str(figures).startswith("PNMI 0.")
