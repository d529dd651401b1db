"""Principal components against scikit-learn's."""

import numpy as np
import pytest
import torch

from speechkit.cluster.pca import Moments, Pca
from speechkit.common.errors import SpeechkitError


def frames(count: int = 500, width: int = 12, offset: float = 30.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randn(count, width, generator=generator) * torch.linspace(3, 0.2, width)
    return mixed @ torch.randn(width, width, generator=generator) + offset


def test_components_are_those_of_scikit_learn() -> None:
    """Summed up in pieces, far from zero; the signs are ours: the value farthest from zero is positive."""
    decomposition = pytest.importorskip("sklearn.decomposition", reason="scikit-learn is the reference")
    points = frames()
    first, *others = (Moments.of(piece) for piece in points.split(77))
    pca = Pca.of(sum(others, first), 5)
    reference = decomposition.PCA(5, svd_solver="full").fit(points.double().numpy())
    signs = np.sign(np.take_along_axis(
        reference.components_, np.abs(reference.components_).argmax(1, keepdims=True), 1
    ))  # fmt: skip
    np.testing.assert_allclose(pca.components.numpy(), reference.components_ * signs, atol=1e-5)
    np.testing.assert_allclose(pca.mean.numpy(), reference.mean_, rtol=1e-6)
    assert pca.explained == pytest.approx(reference.explained_variance_ratio_.sum(), abs=1e-9)
    expected = reference.transform(points.double().numpy()) * signs.T
    np.testing.assert_allclose(pca(points).numpy(), expected, atol=1e-3)


def test_all_components_keep_distances() -> None:
    points = frames()
    whole = Pca.of(Moments.of(points), 12)
    assert whole.explained == pytest.approx(1)
    torch.testing.assert_close(torch.pdist(whole(points)[:50]), torch.pdist(points[:50]), rtol=1e-4, atol=1e-3)


def test_what_cannot_be_is_said() -> None:
    moments = Moments.of(frames())
    with pytest.raises(SpeechkitError, match="frames of 12 values have 1 to 12 components, not 13; correct --pca"):
        Pca.of(moments, 13)
    with pytest.raises(SpeechkitError, match="5 frames are too few for 12 components"):
        Pca.of(Moments.of(frames(5)), 12)
    with pytest.raises(SpeechkitError, match="NaN or infinity"):
        Pca.of(Moments.of(frames() * float("nan")), 2)
