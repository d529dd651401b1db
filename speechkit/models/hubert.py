"""HuBERT (Hsu et al. 2021): the cluster of every masked frame is predicted from its context."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechkit.losses.contrastive import masked_prediction_logits
from speechkit.models.speech_encoder import SpeechEncoder, SpeechEncoderConfig, frame_mask
from speechkit.nn.lengths import NO_LABEL, fit_labels
from speechkit.nn.masking import SpanMaskConfig, span_mask

if TYPE_CHECKING:
    from speechkit.data.waveforms import WaveformBatch


def _encoder() -> SpeechEncoderConfig:
    return SpeechEncoderConfig(time_mask=SpanMaskConfig(probability=0.08, length=10))


@dataclass(frozen=True, kw_only=True)
class HubertConfig:
    """Sizes and loss weights.

    `final_dim` is that of the class vectors, `tau` the temperature of their cosine; `masked_weight` and
    `unmasked_weight` are alpha and 1 - alpha of section III-B, `penalty_weight` that of the extractor's mean square.
    """

    encoder: SpeechEncoderConfig = field(default_factory=_encoder)
    final_dim: int = 256
    tau: float = 0.1
    masked_weight: float = 1.0
    unmasked_weight: float = 0.0
    penalty_weight: float = 10.0


@dataclass(frozen=True)
class HubertLoss:
    """Sums over `count` frames; divide `total` by `count` of all processes.

    Attributes:
        total: loss to minimise, the penalty multiplied by the number of frames.
        count: frames that the loss is about, once for all sets of labels.
        penalty: mean square of the extractor's frames.
        masked_loss, unmasked_loss: `(sets,)`, summed over frames.
        masked_right, unmasked_right: `(sets,)`, frames whose cluster is predicted rightly.
        masked, unmasked: `(sets,)`, frames with a label.
    """

    total: Tensor
    count: int
    penalty: Tensor
    masked_loss: Tensor
    masked_right: Tensor
    masked: Tensor
    unmasked_loss: Tensor
    unmasked_right: Tensor
    unmasked: Tensor

    def figures(self) -> dict[str, float]:
        """Averages over the frames of the batch; accuracies are numbered where there are several sets."""
        masked, unmasked = self.masked.clamp(min=1), self.unmasked.clamp(min=1)
        loss_m = float((self.masked_loss.detach() / masked).mean())
        figures = {"loss_m": loss_m, "penalty": float(self.penalty.detach())}
        for kind, shares in (("masked", self.masked_right / masked), ("unmasked", self.unmasked_right / unmasked)):
            for number, share in enumerate(shares.tolist()):
                figures[f"{kind}_accuracy{f'_{number}' if len(shares) > 1 else ''}"] = share
        return figures


class PredictionHead(nn.Module):
    """Projection and class vectors of one set of clusters (equation 3)."""

    def __init__(self, dim: int, final_dim: int, classes: int, tau: float) -> None:
        super().__init__()
        self.projection = nn.Linear(dim, final_dim)
        # Around zero: vectors of positive numbers all point the same way, and many updates would go into parting them.
        self.classes = nn.Parameter(torch.randn(classes, final_dim))
        self.tau = tau

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(F, classes)` of frames `(F, dim)`."""
        return masked_prediction_logits(self.projection(x), self.classes, self.tau)


class Hubert(nn.Module):
    """The encoder with a prediction head for each set of clusters; `encoder` is what is kept."""

    encoder_type = SpeechEncoder
    wants_plain = False
    wants_labels = True

    def __init__(self, config: HubertConfig, classes: Sequence[int]) -> None:
        super().__init__()
        self.config = config
        self.encoder = SpeechEncoder(config.encoder)
        dim = config.encoder.transformer.dim
        self.heads = nn.ModuleList(PredictionHead(dim, config.final_dim, count, config.tau) for count in classes)

    @staticmethod
    def inputs(batch: "WaveformBatch", update: int) -> dict[str, Any]:
        """Arguments of `forward`."""
        return {"waveforms": batch.waveforms, "lengths": batch.lengths, "labels": batch.labels}

    def collapse(self) -> None:
        """Targets are given: nothing collapses."""

    def forward(
        self, waveforms: Tensor, lengths: Tensor, labels: Sequence[Tensor], masked: Tensor | None = None
    ) -> HubertLoss:
        """The loss of a batch.

        Args:
            waveforms: `(N, S)`.
            lengths: `(N,)` samples.
            labels: for each set of clusters `(N, T')`, `NO_LABEL` where there is none; what goes beyond the frames of
                the model is passed over.
            masked: `(N, T)`; drawn where None.
        """
        config = self.config
        frames, lengths, penalty = self.encoder.extract(waveforms, lengths)
        if masked is None:
            masked = span_mask(lengths.tolist(), frames.shape[1], config.encoder.time_mask, same_count=True)
            masked = masked.to(frames.device)
        x = self.encoder.encode(frames, lengths, masked)
        inside, outside = frame_mask(lengths, masked)
        loss, right, seen = self._predict(x, labels, inside)
        with torch.set_grad_enabled(torch.is_grad_enabled() and config.unmasked_weight > 0):
            other_loss, other_right, other_seen = self._predict(x, labels, outside)
        count = int(inside.sum()) + (int(outside.sum()) if config.unmasked_weight > 0 else 0)
        total = config.masked_weight * loss.sum() + config.unmasked_weight * other_loss.sum()
        total = total + count * config.penalty_weight * penalty
        return HubertLoss(total, count, penalty, loss, right, seen, other_loss, other_right, other_seen)

    def _predict(self, x: Tensor, labels: Sequence[Tensor], part: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """By set: summed loss, right predictions and number of the frames in `part (N, T)` that have labels."""
        sums = []
        for head, each in zip(self.heads, labels, strict=True):
            target = fit_labels(each, x.shape[1])
            chosen = part & (target != NO_LABEL)
            logits, target = head(x[chosen]), target[chosen]
            loss = F.cross_entropy(logits, target, reduction="sum")
            sums.append(torch.stack([loss, (logits.argmax(1) == target).sum(), loss.new_tensor(len(target))]))
        loss, right, seen = torch.stack(sums).unbind(1)
        return loss, right.detach(), seen.detach()
