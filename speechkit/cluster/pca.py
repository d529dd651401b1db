"""Principal components by the eigenvectors of a covariance that is summed up in pieces."""

from dataclasses import dataclass

import torch
from torch import Tensor

from speechkit.common.errors import SpeechkitError


@dataclass
class Moments:
    """Count of frames, their sum `(D,)` and the sum of their outer products `(D, D)`, in float64."""

    count: int
    total: Tensor
    products: Tensor

    @classmethod
    def of(cls, frames: Tensor) -> "Moments":
        """Those of frames `(T, D)`."""
        exact = frames.double()
        return cls(len(exact), exact.sum(0), exact.T @ exact)

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.count + other.count, self.total + other.total, self.products + other.products)

    @property
    def mean(self) -> Tensor:
        """Mean `(D,)`."""
        return self.total / self.count

    @property
    def covariance(self) -> Tensor:
        """Covariance `(D, D)` over the population."""
        return self.products / self.count - torch.outer(self.mean, self.mean)


@dataclass(frozen=True)
class Pca:
    """`components (K, D)`, by falling variance, of frames around a `mean (D,)`; `explained` is their share of it all.

    Columns keep their variance: nothing is whitened.
    """

    mean: Tensor
    components: Tensor
    explained: float

    @classmethod
    def of(cls, moments: Moments, size: int) -> "Pca":
        """The first `size` components; of each the value that is farthest from zero is positive.

        Raises:
            SpeechkitError: more components than frames have values, fewer frames than components, or values that are
                not finite.
        """
        check_size(size, len(moments.total))
        if moments.count <= size:
            raise SpeechkitError(f"{moments.count} frames are too few for {size} components; take a smaller --pca")
        if not bool(moments.products.isfinite().all()):
            raise SpeechkitError("frames hold NaN or infinity; extract the features again")
        variances, vectors = torch.linalg.eigh(moments.covariance)
        chosen = vectors.flip(1)[:, :size].T
        farthest = chosen.gather(1, chosen.abs().argmax(1, keepdim=True))
        share = variances.flip(0)[:size].sum() / variances.sum().clamp(min=1e-300)
        return cls(moments.mean.float(), (chosen * farthest.sign()).float().contiguous(), float(share))

    def __call__(self, frames: Tensor) -> Tensor:
        """Frames `(T, D)` along the components, `(T, K)`."""
        return (frames - self.mean) @ self.components.T


def check_size(size: int, width: int) -> None:
    """A `SpeechkitError` where frames of `width` values have not so many components."""
    if not 1 <= size <= width:
        raise SpeechkitError(f"frames of {width} values have 1 to {width} components, not {size}; correct --pca")
