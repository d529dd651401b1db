"""What CPC is measured against: its encoder trained with labels of frames (van den Oord et al. 2018, table 1)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechkit.models.cpc import CpcEncoder, CpcEncoderConfig
from speechkit.nn.lengths import NO_LABEL, fit_labels

if TYPE_CHECKING:
    from speechkit.data.waveforms import WaveformBatch


@dataclass(frozen=True, kw_only=True)
class FrameClassifierConfig:
    """The encoder; `dropout` is that of the contexts before the linear classifier."""

    encoder: CpcEncoderConfig = field(default_factory=CpcEncoderConfig)
    dropout: float = 0.0


@dataclass(frozen=True)
class FrameClassifierLoss:
    """Cross entropy summed over `count` labels, and how many of them are the likeliest."""

    total: Tensor
    right: Tensor
    count: int

    def figures(self) -> dict[str, float]:
        """Averages over the labels."""
        count = max(1, self.count)
        return {"loss_m": float(self.total.detach()) / count, "accuracy": float(self.right) / count}


class FrameClassifier(nn.Module):
    """A linear classifier of the encoder's contexts for each set of labels; `encoder` is what is kept."""

    encoder_type = CpcEncoder
    wants_plain = False
    wants_labels = True

    def __init__(self, config: FrameClassifierConfig, classes: Sequence[int]) -> None:
        super().__init__()
        self.config = config
        self.encoder = CpcEncoder(config.encoder)
        self.dropout = nn.Dropout(config.dropout)
        self.heads = nn.ModuleList(nn.Linear(config.encoder.context_dim, count) for count in classes)

    @staticmethod
    def inputs(batch: "WaveformBatch", update: int) -> dict[str, Any]:
        """Arguments of `forward`."""
        return {"waveforms": batch.waveforms, "lengths": batch.lengths, "labels": batch.labels}

    def collapse(self) -> None:
        """Targets are given: nothing collapses."""

    def forward(self, waveforms: Tensor, lengths: Tensor, labels: Sequence[Tensor]) -> FrameClassifierLoss:
        """The loss of a batch: waveforms `(N, S)`, `lengths (N,)` in samples, labels `(N, T)` or `NO_LABEL`."""
        (_, context), _, _ = self.encoder(waveforms, lengths)
        context = self.dropout(context)
        sums = []
        for head, each in zip(self.heads, labels, strict=True):
            target = fit_labels(each, context.shape[1])
            chosen = target != NO_LABEL
            logits, target = head(context[chosen]), target[chosen]
            loss = F.cross_entropy(logits, target, reduction="sum")
            sums.append(torch.stack([loss, (logits.argmax(1) == target).sum(), loss.new_tensor(len(target))]))
        total, right, count = torch.stack(sums).sum(0)
        return FrameClassifierLoss(total, right.detach(), int(count))
