"""A predictor of where characters end, by continuous integrate-and-fire: its training, its checkpoint and its use."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from speechkit.align.characters import Spans
from speechkit.align.forced import Timing
from speechkit.common.errors import SpeechkitError
from speechkit.config.load import from_dict, to_dict
from speechkit.data.batches import (
    Batch,
    BatchConfig,
    FeatureDataset,
    Fields,
    TrainingBatches,
    keep_trainable,
    load_cuts,
    name_utterances,
    ordered_batches,
)
from speechkit.data.segments import WINDOW, Times, read_segments, segments_of
from speechkit.features.cmvn import Cmvn, CmvnStats
from speechkit.losses.cif import cif_loss, running_targets
from speechkit.metrics.segments import score_segments
from speechkit.models.cif import Cif, CifConfig, fire
from speechkit.train.checkpoint import MODEL, TASK, load_module, read_document, save_folder
from speechkit.train.distributed import World
from speechkit.train.trainer import TrainConfig, Validation

NAME = "cif"
SECONDS_PER_BATCH = 200.0


@dataclass(frozen=True, kw_only=True)
class CifTrainingConfig:
    """Everything that decides what a training does, besides its data and its seed."""

    model: CifConfig = field(default_factory=CifConfig)
    batches: BatchConfig = field(default_factory=BatchConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


class CifModel:
    """A predictor with its configuration, the normalisation of its features and how far apart those are in seconds."""

    def __init__(self, config: CifTrainingConfig, cmvn: Cmvn, frame_shift: float) -> None:
        self.config, self.cmvn, self.frame_shift = config, cmvn, frame_shift
        self.module = Cif(config.model)
        strides = int(np.prod(config.model.strides))
        self.timing = Timing.centred(frame_shift * strides, WINDOW)

    def dataset(self, cmvn: Cmvn | None = None) -> FeatureDataset:
        """Reader of batches; `cmvn` holds the speakers of another set than the training's."""
        speakers = Cmvn(self.cmvn.overall, (cmvn or self.cmvn).speakers)
        return FeatureDataset(_no_targets, speakers, self.config.batches.normalisation)

    def require_fit(self, cut: Any) -> None:
        """Raise `SpeechkitError` unless the features of a cut are of the kind that the model reads."""
        if not cut.has_features:
            raise SpeechkitError(f"cut {cut.id} has no features; run the feature stage (1) and pass its cuts")
        columns, shift = cut.features.num_features, cut.features.frame_shift
        if columns != self.config.model.in_dim:
            raise SpeechkitError(
                f"cut {cut.id} has features of {columns} columns, the model reads {self.config.model.in_dim}; "
                f"pass other cuts, or train with model.in_dim={columns}"
            )
        if abs(shift - self.frame_shift) > 1e-6:
            raise SpeechkitError(
                f"cut {cut.id} has features every {1000 * shift:g} ms, the model reads them every "
                f"{1000 * self.frame_shift:g} ms; pass the cuts of the same features"
            )

    def num_frames(self, cut: Any) -> int:
        """Output frames of a cut."""
        return int(self.module.output_lengths(torch.tensor([cut.features.num_frames])))

    def edges(self, num_frames: int, duration: float) -> npt.NDArray[np.float64]:
        """Where output frames begin and end, `(T + 1,)`, in seconds."""
        inner = np.arange(1, num_frames) * self.timing.shift + self.timing.offset
        return np.concatenate([[0.0], np.minimum(inner, duration), [duration]])

    def segments(self, cuts: Sequence[Any], cmvn: Cmvn, device: torch.device) -> Iterator[tuple[str, Spans]]:
        """Characters of each cut, in the order of `cuts`; `cmvn` holds their speakers."""
        durations = {cut.id: cut.duration for cut in cuts}
        for cut in cuts:
            self.require_fit(cut)
        self.module.to(device).eval()
        with torch.inference_mode():
            for batch in ordered_batches(cuts, self.dataset(cmvn), SECONDS_PER_BATCH):
                weights, lengths = self.module(batch.features.to(device), batch.lengths.to(device))
                spans = self.fired(weights, lengths, [durations[name] for name in batch.ids])
                yield from zip(batch.ids, spans, strict=True)

    def fired(self, weights: Tensor, lengths: Tensor, durations: Sequence[float]) -> list[Spans]:
        """Characters of each utterance of a batch from its weights `(N, T)`."""
        rows = zip(weights.cpu().numpy(), lengths.tolist(), durations, strict=True)
        return [fire(row[:length], self.edges(length, duration)) for row, length, duration in rows]

    def save(self, folder: Path, weights: dict[str, Tensor]) -> None:
        """Write a checkpoint that its use needs nothing else of."""
        cmvn = self.cmvn.overall.state() if self.cmvn.overall else None
        document = {"task": NAME, "config": to_dict(self.config), "cmvn": cmvn, "frame_shift": self.frame_shift}
        save_folder(folder, {MODEL: weights}, {TASK: document})

    @classmethod
    def load(cls, folder: Path) -> "CifModel":
        """Read what `save` wrote.

        Raises:
            SpeechkitError: the folder holds no such model, or a damaged one.
        """
        document = read_document(folder, NAME, "is not a boundary predictor; `speechkit cif` writes one to OUT/final")
        config = from_dict(CifTrainingConfig, document["config"], str(folder / TASK))
        overall = CmvnStats.from_state(document["cmvn"]) if document["cmvn"] else None
        model = cls(config, Cmvn(overall), document["frame_shift"])
        load_module(model.module, folder / MODEL)
        return model


def _no_targets(fields: Fields) -> list[int]:
    return []


def frame_shift(cuts: Any, data: Path) -> float:
    """Seconds from one frame of the first cut's features to the next."""
    first = next(iter(cuts), None)
    if first is None or not first.has_features:
        raise SpeechkitError(f"{data / 'cuts_train.jsonl.gz'} holds no features; run the feature stage (1)")
    return float(first.features.frame_shift)


class Known(NamedTuple):
    """Where the characters of an utterance lie, and its length in seconds."""

    segments: Times
    duration: float


class CifTask:
    """Trains on `cuts_train` of a folder and the segments of `segments_train` in another; validates on dev.

    Utterances without segments, or with more of them than output frames, are left out; their ids are logged.
    """

    def __init__(self, config: CifTrainingConfig, data: Path, segments: Path, seed: int, world: World) -> None:
        self.device = world.device
        train, dev = (read_segments(segments_of(segments, name)) for name in ("train", "dev"))
        cuts = load_cuts(data / "cuts_train.jsonl.gz")
        self.model = CifModel(config, Cmvn.load(data / "cmvn.safetensors"), frame_shift(cuts, data))
        self.module: nn.Module = self.model.module
        self.dataset = self.model.dataset()
        cuts, without = keep_trainable(cuts, lambda cut: cut.id in train, f"without segments in {segments}")
        cuts, too_long = keep_trainable(cuts, self._is_within_limit, "longer than batches.max_duration")
        cuts, tight = keep_trainable(cuts, lambda cut: self._fits(cut, train), "with more characters than frames")
        self.dropped = [*without, *too_long, *tight]
        self.dev = [cut for cut in load_cuts(data / "cuts_dev.jsonl.gz") if cut.id in dev]
        self.dev.sort(key=lambda cut: float(cut.duration))
        self.known = {cut.id: Known(train[cut.id], cut.duration) for cut in cuts}
        self.known_dev = {cut.id: Known(dev[cut.id], cut.duration) for cut in self.dev}
        for name, known in (("train", self.known), ("dev", self.known_dev)):
            if not known:
                raise SpeechkitError(f"{segments_of(segments, name)} has no usable segments of the cuts in {data}")
        self.train_seconds = sum(known.duration for known in self.known.values())
        self.batches = TrainingBatches(cuts, self.dataset, config.batches, seed, world.rank, world.size)

    def _is_within_limit(self, cut: Any) -> bool:
        return bool(cut.duration <= self.model.config.batches.max_duration)

    def _fits(self, cut: Any, segments: Mapping[str, Times]) -> bool:
        self.model.require_fit(cut)
        return len(segments[cut.id]) <= self.model.num_frames(cut)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, float, dict[str, float]]:
        """`cif_loss`, counted per utterance, and by how many characters the sums are wrong."""
        weights, lengths = model(batch.features.to(self.device), batch.lengths.to(self.device))
        total = self._loss(weights, lengths, [self.known[name] for name in batch.ids])
        counts = torch.tensor([len(self.known[name].segments) for name in batch.ids])
        error = float((weights.detach().sum(dim=1).cpu() - counts).abs().mean())
        return total, float(len(counts)), {"seconds_of_audio": batch.seconds, "count_error": error}

    def _loss(self, weights: Tensor, lengths: Tensor, known: Sequence[Known]) -> Tensor:
        targets = [
            running_targets(torch.from_numpy(each.segments), torch.from_numpy(self.model.edges(length, each.duration)))
            for each, length in zip(known, lengths.tolist(), strict=True)
        ]
        counts = torch.tensor([len(each.segments) for each in known])
        return cif_loss(weights, lengths, pad_sequence(targets, batch_first=True).to(weights), counts.to(weights))

    def validate(self) -> Validation:
        """Loss, share of right numbers of characters, their mean error, and how far boundaries are off."""
        total = 0.0
        found: dict[str, Spans] = {}
        for batch in ordered_batches(self.dev, self.dataset, SECONDS_PER_BATCH):
            known = [self.known_dev[name] for name in batch.ids]
            weights, lengths = self.module(batch.features.to(self.device), batch.lengths.to(self.device))
            total += float(self._loss(weights, lengths, known))
            spans = self.model.fired(weights, lengths, [each.duration for each in known])
            found |= dict(zip(batch.ids, spans, strict=True))
        figures = score_segments({name: each.segments for name, each in self.known_dev.items()}, found).figures()
        chosen = {name: figures[name] for name in ("right_count", "count_error", "boundary_ms")}
        loss = total / len(found)
        return Validation(loss, {"loss": loss, **{name: each for name, each in chosen.items() if each is not None}}, [])

    def describe(self, batch: Batch) -> str:
        """The ids of a batch, at most ten."""
        return name_utterances(batch.ids)

    def record(self) -> dict[str, Any]:
        """Figures of the training for its record."""
        parameters = sum(parameter.numel() for parameter in self.module.parameters())
        return {
            "num_params": parameters,
            "train_hours": self.train_seconds / 3600,
            "num_dropped": len(self.dropped),
        }
