"""Training of a network on frame labels, such as the states of an alignment, with cross entropy."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from speechkit.common.seeds import derive
from speechkit.data.batches import name_utterances
from speechkit.train.trainer import Validation

NO_LABEL = -100


@dataclass(frozen=True)
class LabelledFrames:
    """Features `(T, C)` of an utterance and the label of each frame `(T,)`, -100 where it has none."""

    id: str
    features: Tensor
    labels: Tensor


@dataclass(frozen=True)
class FrameBatch:
    """Padded features `(N, T, C)`, `lengths (N,)`, and labels `(N, T)` with -100 on padding."""

    ids: list[str]
    features: Tensor
    lengths: Tensor
    labels: Tensor

    @classmethod
    def of(cls, items: Sequence[LabelledFrames]) -> "FrameBatch":
        """Pad some utterances."""
        return cls(
            [item.id for item in items],
            pad_sequence([item.features for item in items], batch_first=True),
            torch.tensor([len(item.features) for item in items]),
            pad_sequence([item.labels for item in items], batch_first=True, padding_value=NO_LABEL),
        )

    def to(self, device: torch.device) -> "FrameBatch":
        """The batch with its tensors on `device`."""
        moved = {name: getattr(self, name).to(device) for name in ("features", "lengths", "labels")}
        return replace(self, **moved)


class FrameBatches:
    """Batches of similar length of utterances in memory, in an order fixed by seed and epoch."""

    def __init__(self, items: Sequence[LabelledFrames], max_frames: int, seed: int) -> None:
        self.seed = seed
        ordered = sorted(items, key=lambda item: (len(item.features), item.id))
        self.batches: list[list[LabelledFrames]] = []
        for item in ordered:
            if not self.batches or len(item.features) * (len(self.batches[-1]) + 1) > max_frames:
                self.batches.append([])
            self.batches[-1].append(item)

    def epoch(self, epoch: int, skip: int) -> Iterator[FrameBatch]:
        """The batches of an epoch after the first `skip`."""
        generator = torch.Generator().manual_seed(derive(self.seed, "order of batches", epoch))
        for index in torch.randperm(len(self.batches), generator=generator).tolist()[skip:]:
            yield FrameBatch.of(self.batches[index])


class FrameTask:
    """Cross entropy of a network that gives log posteriors `(N, T, P)` for `(features, lengths)`."""

    def __init__(self, module: nn.Module, dev: Sequence[LabelledFrames], max_frames: int, device: torch.device) -> None:
        self.module, self.device = module, device
        self.dev = [FrameBatch.of(each) for each in FrameBatches(dev, max_frames, seed=0).batches]

    def loss(self, model: nn.Module, batch: FrameBatch) -> tuple[Tensor, float, dict[str, float]]:
        """Cross entropy summed over the labelled frames, and their number."""
        batch = batch.to(self.device)
        log_posteriors = model(batch.features, batch.lengths)
        loss = F.nll_loss(log_posteriors.flatten(0, 1), batch.labels.flatten(), ignore_index=NO_LABEL, reduction="sum")
        return loss, float((batch.labels != NO_LABEL).sum()), {}

    def validate(self) -> Validation:
        """Percentage of wrong frames on the development set, and the cross entropy."""
        loss, wrong, count = 0.0, 0, 0.0
        for batch in self.dev:
            moved = batch.to(self.device)
            each, frames, _ = self.loss(self.module, moved)
            best = self.module(moved.features, moved.lengths).argmax(-1)
            wrong += int(((best != moved.labels) & (moved.labels != NO_LABEL)).sum())
            loss, count = loss + float(each), count + frames
        rate = 100 * wrong / max(1.0, count)
        return Validation(rate, {"loss": loss / max(1.0, count), "frame_error_rate": rate}, [])

    def describe(self, batch: FrameBatch) -> str:
        """The ids of a batch, at most ten."""
        return name_utterances(batch.ids)
