"""Training of BERT-ASR on features whose characters have segments."""

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from speechkit.common.errors import SpeechkitError
from speechkit.data.augment import augment
from speechkit.data.batches import (
    Batch,
    TrainingBatches,
    keep_trainable,
    load_cuts,
    name_utterances,
    ordered_batches,
    text_fields,
)
from speechkit.data.segments import Times, read_segments
from speechkit.nn.prediction import PredictionLoss, prediction_loss
from speechkit.tasks.bert_asr import BertAsrModel, characters, segment_frames
from speechkit.train.distributed import World
from speechkit.train.trainer import Validation

log = logging.getLogger(__name__)


class BertAsrTask:
    """Trains on `data/cuts_train.jsonl.gz` and watches `data/cuts_dev.jsonl.gz`, with segments in files beside.

    The criterion is the share of dev's characters that are wrong where those before them are true ones, in percent.

    Args:
        segments: folder with `segments_train.jsonl.gz` and `segments_dev.jsonl.gz`, a segment for each character.

    Raises:
        SpeechkitError: no utterance is left.
    """

    def __init__(self, model: BertAsrModel, data: Path, segments: Path, seed: int, world: World) -> None:
        self.model, self.device = model, world.device
        self.module: nn.Module = model.module
        self.dataset = model.dataset()
        self.characters = torch.tensor(model.vocabulary.single, device=world.device)
        train, self.segments = self._usable(data / "cuts_train.jsonl.gz", segments / "segments_train.jsonl.gz")
        self.train_seconds = sum(cut.duration for cut in train)
        dev, more = self._usable(data / "cuts_dev.jsonl.gz", segments / "segments_dev.jsonl.gz")
        self.dev = list(dev.sort_by_duration(ascending=True))
        self.segments |= more
        self.frame_shift = float(self.dev[0].features.frame_shift)
        self.batches = TrainingBatches(train, self.dataset, model.config.batches, seed, world.rank, world.size)

    def _usable(self, cuts: Path, segments: Path) -> tuple[Any, dict[str, Times]]:
        """The cuts that have a segment for each character, no more than fit, and what segments there are."""
        found = read_segments(segments)

        def fits(cut: Any) -> bool:
            count = len(characters(text_fields(cut)))
            whole = count > 0 and len(found.get(cut.id, ())) == count
            return whole and self.model.takes(count, cut.features.num_frames)

        kept, _ = keep_trainable(load_cuts(cuts), fits, f"without a segment in {segments} for each character")
        limit = self.model.config.batches.max_duration
        kept, _ = keep_trainable(kept, lambda cut: bool(cut.duration <= limit), "longer than batches.max_duration")
        if next(iter(kept), None) is None:
            raise SpeechkitError(f"no utterance of {cuts} has the segments that its text asks for in {segments}")
        self._report_missing(kept, cuts)
        return kept, found

    def _report_missing(self, cuts: Any, path: Path) -> None:
        missing = self.model.vocabulary.missing(each for cut in cuts for each in characters(text_fields(cut)))
        if missing:
            log.warning("%s: no character of the BERT, and not predicted: %s", path, " ".join(missing))

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, float, dict[str, float]]:
        """Negative log-probability summed over the characters, their number, and figures to watch."""
        found = self._run(model, batch)
        return found.total, float(found.count), {"accuracy": found.right / max(1, found.count)}

    def _run(self, model: nn.Module, batch: Batch) -> PredictionLoss:
        config, training = self.model.config, model.training
        frames, counts = segment_frames(batch, self.segments, self.frame_shift, config.jitter if training else 0.0)
        batch, frames, counts = batch.to(self.device), frames.to(self.device), counts.to(self.device)
        features, history = batch.features, batch.targets
        if training:
            features = augment(features, batch.lengths, config.augment)
            history = self._corrupted(history)
        logits, targets = model(features, batch.lengths, frames, counts, batch.targets, history)
        known = targets != self.model.vocabulary.unknown
        return prediction_loss(logits[known].float(), targets[known])

    def _corrupted(self, tokens: Tensor) -> Tensor:
        """Some of the characters exchanged for any others: recognition hears what it has got wrong itself."""
        others = self.characters[torch.randint(len(self.characters), tokens.shape, device=tokens.device)]
        return torch.where(torch.rand(tokens.shape, device=tokens.device) < self.model.config.corrupt, others, tokens)

    def validate(self) -> Validation:
        """Loss and error in percent of dev's characters, those before being the true ones."""
        loss, right, count = 0.0, 0, 0
        for batch in ordered_batches(self.dev, self.dataset, self.model.config.batches.max_duration):
            found = self._run(self.module, batch)
            loss, right, count = loss + float(found.total), right + found.right, count + found.count
        error = 100 * (1 - right / max(1, count))
        return Validation(error, {"loss": loss / max(1, count), "error_rate": error}, [])

    def describe(self, batch: Batch) -> str:
        """The ids of a batch, at most ten."""
        return name_utterances(batch.ids)

    def record(self) -> dict[str, Any]:
        """Figures of the training for its record."""
        parameters = sum(parameter.numel() for parameter in self.module.parameters())
        return {"num_params": parameters, "train_hours": self.train_seconds / 3600}
