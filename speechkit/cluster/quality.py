"""How evenly cluster labels are used, and how much they say about phones (HuBERT, section IV-E)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
NO_PHONE = -1  # of a frame that no phone covers


@dataclass(frozen=True)
class Quality:
    """Figures of a labelling of frames.

    Attributes:
        clusters: there are.
        used: of them with at least one frame.
        entropy: of the clusters, in nats.
        frames: that `used` and `entropy` are about, all there are.
        phone_purity: share of frames whose phone is the most frequent one of their cluster.
        cluster_purity: share of frames whose cluster is the most frequent one of their phone.
        pnmi: phone-normalised mutual information, I(phone; cluster) / H(phone).
        phone_frames: that the three before are about, those with a phone; without any they are None.
    """

    clusters: int
    used: int
    entropy: float
    frames: int
    phone_purity: float | None = None
    cluster_purity: float | None = None
    pnmi: float | None = None
    phone_frames: int = 0

    def __str__(self) -> str:
        """One line."""
        spread = f"{self.used} of {self.clusters} clusters used, entropy {self.entropy:.2f} nats, {self.frames} frames"
        if self.pnmi is None:
            return spread
        purities = f"phone purity {self.phone_purity:.3f}, cluster purity {self.cluster_purity:.3f}"
        return f"PNMI {self.pnmi:.3f}, {purities}, {spread}"


class Tally:
    """Counts of frames by phone and cluster, utterance by utterance: memory does not grow with them."""

    def __init__(self, clusters: int) -> None:
        self._numbers: dict[str, int] = {}
        self._all = np.zeros(clusters, np.int64)
        self._joint = np.zeros((0, clusters), np.int64)

    def add(self, labels: npt.NDArray[np.integer], phones: Sequence[tuple[str, int, int]] = ()) -> None:
        """Count the labels `(T,)` of an utterance, and its phones with their first frames and those behind the last."""
        clusters = len(self._all)
        self._all += np.bincount(labels, minlength=clusters)
        truth = np.full(len(labels), NO_PHONE, np.int64)
        for phone, first, end in phones:
            truth[max(first, 0) : max(end, 0)] = self._numbers.setdefault(phone, len(self._numbers))
        inside = truth != NO_PHONE
        counts = joint_counts(truth[inside], labels[inside], (len(self._numbers), clusters))
        counts[: len(self._joint)] += self._joint
        self._joint = counts

    def quality(self) -> Quality:
        """Figures of all that was counted."""
        return quality(self._joint, self._all)


def joint_counts(phones: npt.NDArray[np.integer], clusters: npt.NDArray[np.integer], shape: tuple[int, int]) -> Counts:
    """Frames by phone and cluster, `shape (phones, clusters)`, from the numbers of each frame `(T,)`."""
    flat = phones.astype(np.int64) * shape[1] + clusters
    return np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape)


def quality(joint: Counts, clusters: Counts | None = None) -> Quality:
    """Figures from counts `joint (phones, clusters)`, and from those of all frames by cluster if some have no phone."""
    every = joint.sum(0) if clusters is None else clusters
    spread = Quality(len(every), int((every > 0).sum()), _entropy(every), int(every.sum()))
    total = int(joint.sum())
    if total == 0:
        return spread
    phones = _entropy(joint.sum(1))
    information = phones + _entropy(joint.sum(0)) - _entropy(joint.ravel())
    return replace(
        spread,
        phone_purity=float(joint.max(0).sum() / total),
        cluster_purity=float(joint.max(1).sum() / total),
        pnmi=information / phones if phones > 0 else 0.0,
        phone_frames=total,
    )


def _entropy(counts: Counts) -> float:
    shares = counts[counts > 0] / max(1, counts.sum())
    return float(-(shares * np.log(shares)).sum())
