"""How much cluster labels say about phones (HuBERT, section IV-E)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Quality:
    """Figures of a labelling of frames.

    Attributes:
        phone_purity: share of frames whose phone is the most frequent one of their cluster.
        cluster_purity: share of frames whose cluster is the most frequent one of their phone.
        pnmi: phone-normalised mutual information, I(phone; cluster) / H(phone).
        used: clusters with at least one frame.
        entropy: of the clusters, in nats.
        frames: counted.
    """

    phone_purity: float
    cluster_purity: float
    pnmi: float
    used: int
    entropy: float
    frames: int


def joint_counts(phones: npt.NDArray[np.integer], clusters: npt.NDArray[np.integer], shape: tuple[int, int]) -> Counts:
    """Frames by phone and cluster, `shape (phones, clusters)`, from the numbers of each frame `(T,)`."""
    flat = phones.astype(np.int64) * shape[1] + clusters
    return np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape)


def quality(counts: Counts) -> Quality:
    """Figures from counts `(phones, clusters)`; a `ValueError` where there is no frame."""
    total = int(counts.sum())
    if total == 0:
        raise ValueError("no frames were counted")
    phones, clusters = _entropy(counts.sum(1)), _entropy(counts.sum(0))
    information = phones + clusters - _entropy(counts.ravel())
    return Quality(
        phone_purity=float(counts.max(0).sum() / total),
        cluster_purity=float(counts.max(1).sum() / total),
        pnmi=information / phones if phones > 0 else 0.0,
        used=int((counts.sum(0) > 0).sum()),
        entropy=clusters,
        frames=total,
    )


def _entropy(counts: Counts) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())
