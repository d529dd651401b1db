"""Training of an acoustic model on transcribed features or waveforms, by CTC or LF-MMI."""

import functools
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from speechkit.common.errors import SpeechkitError
from speechkit.data.augment import augment
from speechkit.data.batches import (
    Batch,
    BatchConfig,
    FeatureDataset,
    TrainingBatches,
    keep_trainable,
    load_cuts,
    name_utterances,
    ordered_batches,
    text_fields,
)
from speechkit.data.from_audio import AudioFeatures
from speechkit.data.waveforms import Waveforms
from speechkit.losses.ctc import blank_ratio
from speechkit.models.finetuned import FinetunedEncoder
from speechkit.nn.lengths import valid_mask
from speechkit.tasks.lfmmi import Lfmmi
from speechkit.tasks.objective import Ctc, Objective
from speechkit.tasks.recognizer import Recognizer, error_rate
from speechkit.tasks.token_times import TokenTimes, token_times
from speechkit.text.lang import Lang
from speechkit.train.distributed import World
from speechkit.train.trainer import Validation

log = logging.getLogger(__name__)
Times = dict[str, TokenTimes]


class CtcTask:
    """Trains a `Recognizer` on `data/cuts_train.jsonl.gz`, validates on `data/cuts_dev.jsonl.gz`.

    Args:
        alignments: the training cuts with alignments in their supervisions, for `lfmmi.numerator: alignment`.
        fsa_engine: of `speechkit.fsa.intersect`, for LF-MMI.

    Attributes:
        update: how many updates were made so far; whoever runs the training sets it.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        data: Path,
        seed: int,
        world: World,
        *,
        alignments: Path | None = None,
        fsa_engine: str = "auto",
    ) -> None:
        self.recognizer, self.device = recognizer, world.device
        self.module: nn.Module = recognizer.module
        self.update: Callable[[], int] = lambda: 0
        config = recognizer.config
        self.dataset = recognizer.dataset()
        train = load_cuts(data / "cuts_train.jsonl.gz")
        times: Times | None = None
        unaligned: list[str] = []
        if config.loss == "lfmmi" and config.lfmmi.numerator == "alignment":
            train, times, unaligned = _aligned(train, alignments or data / "cuts_train.jsonl.gz", recognizer.lang)
        self.objective = _objective(recognizer, train, times, fsa_engine)
        train, too_long = keep_trainable(train, self._is_within_limit, "longer than batches.max_duration")
        train, too_short = keep_trainable(train, self._fits)
        self.dropped = [*unaligned, *too_long, *too_short]
        if next(iter(train), None) is None:
            raise SpeechkitError(
                f"{data}: no utterance is left to train on; raise batches.max_duration, or check the texts"
            )
        self.dev = list(load_cuts(data / "cuts_dev.jsonl.gz").sort_by_duration(ascending=True))
        self.train_seconds = sum(cut.duration for cut in train)
        heard = self._distorted(next(iter(train)), seed) if config.audio else self.dataset
        self.batches = TrainingBatches(train, heard, self._slowest(config.batches), seed, world.rank, world.size)

    def _distorted(self, cut: Any, seed: int) -> FeatureDataset:
        """What the training set is read by where `audio` is configured."""
        config = self.recognizer.config
        assert config.audio is not None
        if config.encoder is not None:
            return self.recognizer.dataset(read=Waveforms(config.encoder.sampling_rate, config.audio.distortion, seed))
        read = AudioFeatures(config.audio, seed)
        read.require_columns(cut.features.num_features)
        return self.recognizer.dataset(read=read)

    def _speeds(self) -> tuple[float, ...]:
        audio = self.recognizer.config.audio
        return audio.distortion.speeds if audio else (1.0,)

    def _slowest(self, config: BatchConfig) -> BatchConfig:
        """The limit that batches keep to even if all are played at the lowest speed."""
        return replace(config, max_duration=config.max_duration * min(1.0, *self._speeds()))

    def _is_within_limit(self, cut: Any) -> bool:
        return bool(cut.duration <= self._slowest(self.recognizer.config.batches).max_duration)

    def _fits(self, cut: Any) -> bool:
        fewest = self.recognizer.num_frames(cut, max(1.0, *self._speeds()))
        return fewest >= max(1, self.objective.min_frames(self.recognizer.encode(text_fields(cut))))

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, float, dict[str, float]]:
        """The objective's loss summed over the batch, counted per target token."""
        batch = batch.to(self.device)
        inputs = batch.features
        if isinstance(self.recognizer.module, FinetunedEncoder):
            self.recognizer.module.head_only = self.update() < self.recognizer.config.finetune.head_updates
        else:
            inputs = augment(inputs, batch.lengths, self.recognizer.config.augment)
        outputs, lengths = model(inputs, batch.lengths)
        loss = self.objective(outputs, lengths, batch, self.update())
        return loss.total, loss.tokens, {"seconds_of_audio": batch.seconds, **loss.figures}

    def validate(self) -> Validation:
        """Error rate in percent, loss per token and blank ratio on the development set, and three hypotheses."""
        loss, tokens, blanks, frames = 0.0, 0.0, 0.0, 0.0
        references: list[list[str]] = []
        hypotheses: list[list[str]] = []
        batches = ordered_batches(self.dev, self.dataset, self.recognizer.config.batches.max_duration)
        for batch, outputs, lengths in self.recognizer.outputs(batches, self.device):
            result = self.objective(outputs, lengths, batch, self.update())
            loss += float(result.total)
            tokens += result.tokens
            mask = valid_mask(lengths, outputs.shape[1])
            blanks += blank_ratio(outputs, mask) * float(mask.sum())
            frames += float(mask.sum())
            references += [self.recognizer.scored(self.recognizer.lang.reference(fields)) for fields in batch.fields]
            found = self.objective.decode(outputs, lengths)
            hypotheses += [self.recognizer.scored(self.recognizer.lang.words(ids)) for ids in found]
        rate = error_rate(references, hypotheses)
        metrics = {"loss": loss / max(tokens, 1), "error_rate": rate, "blank_ratio": blanks / max(frames, 1)}
        chosen = (0, len(references) // 2, len(references) - 1)
        return Validation(rate, metrics, [(" ".join(references[i]), " ".join(hypotheses[i])) for i in chosen])

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
            **self.objective.describe(),
        }


def _aligned(cuts: Any, alignments: Path, lang: Lang) -> tuple[Any, Times, list[str]]:
    """The cuts that have an alignment, the alignments, and the ids of the others, which are logged."""
    found = {cut.id: token_times(cut, lang) for cut in load_cuts(alignments)}
    times = {name: each for name, each in found.items() if each is not None}
    lost = [cut.id for cut in cuts if cut.id not in times]
    if not lost:
        return cuts, times, lost
    problem = f"{len(lost)} utterances have no alignment of phones in {alignments} that fits their words"
    kept = cuts.filter(functools.partial(_is_among, times))
    if next(iter(kept), None) is None:
        raise SpeechkitError(f"all {problem}; name an aligned set with --alignments, or set lfmmi.numerator=transcript")
    log.warning("left out: %s: %s", problem, " ".join(lost[:20]))
    return kept, times, lost


def _is_among(times: Times, cut: Any) -> bool:
    return cut.id in times


def _objective(recognizer: Recognizer, cuts: Any, times: Times | None, fsa_engine: str) -> Objective:
    config = recognizer.config
    if config.loss == "ctc":
        return Ctc()
    return Lfmmi(
        config.lfmmi,
        len(recognizer.lang.tokens),
        [recognizer.encode(text_fields(cut)) for cut in cuts],
        recognizer.pronunciations,
        times=times,
        frame_shift=recognizer.frame_shift(next(iter(cuts))),
        engine=fsa_engine,
    )
