"""Logistic regression against scikit-learn's."""

import numpy as np
import pytest
import torch

from speechkit.train.logistic import LogisticConfig, fit_logistic


def points() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (400,), generator=generator)
    centres = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    noise = torch.randn(400, 6, generator=generator, dtype=torch.float64)
    return (centres[labels] + noise) * torch.tensor([1.0, 10, 0.1, 1, 1, 5]).double() + 3, labels


def test_it_is_that_of_scikit_learn() -> None:
    """The same probabilities with the same penalty, 1 / (2 C) of all losses' sum, on columns at unit variance."""
    linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is the reference")
    x, labels = points()
    model = fit_logistic(x, labels, 4, LogisticConfig(penalty=1e-3, tolerance=1e-10))
    scaled = ((x - x.mean(0)) / x.std(0, correction=0)).numpy()
    reference = linear_model.LogisticRegression(C=1 / (2 * 1e-3 * len(x)), tol=1e-10, max_iter=1000)
    reference.fit(scaled, labels.numpy())
    found = ((x - model.mean) * model.scale @ model.weight + model.bias).softmax(1)
    np.testing.assert_allclose(found.numpy(), reference.predict_proba(scaled), atol=1e-6)
    assert np.array_equal(model.predict(x).numpy(), reference.predict(scaled))


def test_columns_that_never_change_are_harmless() -> None:
    x, labels = points()
    x[:, 2] = 7.0
    model = fit_logistic(x.float(), labels, 4, LogisticConfig())
    assert torch.isfinite(model.weight).all()
    assert (model.predict(x) == labels).float().mean() > 0.5
    with pytest.raises(ValueError, match="penalty must not be negative"):
        LogisticConfig(penalty=-1)
