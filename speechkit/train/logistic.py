"""Multinomial logistic regression, the linear probe of frozen features (van den Oord et al. 2018, section 3.1)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

LEAST_DEVIATION = 1e-6  # of a column that is always the same


@dataclass(frozen=True, kw_only=True)
class LogisticConfig:
    """`penalty` is that of the squared weights, of columns at unit variance, beside the mean cross entropy.

    L-BFGS ends after `iterations`, or when no element of the gradient is above `tolerance`.
    """

    penalty: float = 1e-6
    iterations: int = 200
    tolerance: float = 1e-5

    def __post_init__(self) -> None:
        if self.penalty < 0 or self.iterations < 1 or self.tolerance <= 0:
            raise ValueError("penalty must not be negative, iterations at least 1, tolerance positive")


@dataclass(frozen=True)
class LogisticRegression:
    """Log-odds of K classes, up to a constant: `(x - mean) scale weight + bias`; `weight (D, K)`, the others `(D,)`."""

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def predict(self, x: Tensor) -> Tensor:
        """The likeliest class `(F,)` of each of `x (F, D)`."""
        return torch.addmm(self.bias, (x.to(self.weight) - self.mean) * self.scale, self.weight).argmax(1)


def fit_logistic(x: Tensor, labels: Tensor, classes: int, config: LogisticConfig) -> LogisticRegression:
    """Fit to `x (F, D)` with `labels (F,)` below `classes`, by full-batch L-BFGS from weights of zero."""
    deviation, mean = torch.std_mean(x, 0, correction=0)
    scale = 1 / deviation.clamp(min=LEAST_DEVIATION)
    points = (x - mean) * scale
    weight = x.new_zeros(x.shape[1], classes, requires_grad=True)
    bias = x.new_zeros(classes, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weight, bias],
        max_iter=config.iterations,
        tolerance_grad=config.tolerance,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(torch.addmm(bias, points, weight), labels) + config.penalty * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimiser.step(objective)  # type: ignore[no-untyped-call]
    return LogisticRegression(mean, scale, weight.detach(), bias.detach())
