"""Self-supervised pre-training of wav2vec 2.0 and HuBERT on waveforms without transcripts."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import read_json
from speechkit.config.load import from_dict, to_dict
from speechkit.data.batches import BatchConfig, TrainingBatches, load_cuts
from speechkit.data.distortion import DistortionConfig
from speechkit.data.labels import LabelFile
from speechkit.data.waveforms import PLAIN, WaveformBatch, WaveformDataset
from speechkit.models.hubert import Hubert, HubertConfig, HubertLoss
from speechkit.models.speech_encoder import SpeechEncoder, SpeechEncoderConfig
from speechkit.models.wav2vec2 import Wav2Vec2, Wav2Vec2Config, Wav2Vec2Loss
from speechkit.train.checkpoint import MODEL, load_tensors, save_folder
from speechkit.train.distributed import World
from speechkit.train.trainer import TrainConfig, Validation

log = logging.getLogger(__name__)
TASK = "task.json"
Method = Literal["wav2vec2", "hubert"]


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """Everything that decides what a pre-training does, besides its data and its seed.

    Utterances shorter than `shortest` seconds are left out, longer ones than `longest` are cropped. `distortion` is
    that of the training set; labels and targets stay those of the undistorted sound. A wav2vec 2.0 that is at chance,
    or uses next to no codes, for `patience` updates after the warm-up has collapsed, and stops.
    """

    method: Method = "wav2vec2"
    wav2vec2: Wav2Vec2Config = field(default_factory=Wav2Vec2Config)
    hubert: HubertConfig = field(default_factory=HubertConfig)
    batches: BatchConfig = field(default_factory=BatchConfig)
    shortest: float = 2.0
    longest: float = 15.625
    distortion: DistortionConfig = field(default_factory=DistortionConfig)
    patience: int = 1000
    train: TrainConfig = field(default_factory=TrainConfig)

    @property
    def encoder(self) -> SpeechEncoderConfig:
        """The encoder of the chosen method."""
        return self.wav2vec2.encoder if self.method == "wav2vec2" else self.hubert.encoder


class PretrainTask:
    """Trains on `cuts_train.jsonl.gz` of a data folder, and watches the loss on `cuts_dev.jsonl.gz`.

    Args:
        labels: for HuBERT, folders with the label files `train` and `dev`, one for each set of clusters.
    """

    def __init__(
        self, config: PretrainConfig, data: Path, seed: int, world: World, labels: Sequence[Path] = ()
    ) -> None:
        self.config, self.device = config, world.device
        self.update: Callable[[], int] = lambda: 0
        train, dev = ([LabelFile(folder, split) for folder in labels] for split in ("train", "dev"))
        self.module: nn.Module = _model(config, train)
        self.chance = Chance(config)
        cuts = load_cuts(data / "cuts_train.jsonl.gz").filter(self._is_long)
        self.train_seconds = sum(cut.duration for cut in cuts)
        heard = self._dataset(train, seed, config.distortion)
        self.batches = TrainingBatches(cuts, heard, config.batches, seed, world.rank, world.size)
        self.dev = list(load_cuts(data / "cuts_dev.jsonl.gz").filter(self._is_long).sort_by_duration(ascending=True))
        self.dev_data = self._dataset(dev, seed, PLAIN)
        if not self.dev:
            raise SpeechkitError(f"{data}: no utterance of dev is {config.shortest:g} s long; lower shortest")

    def _is_long(self, cut: Any) -> bool:
        return bool(cut.duration >= self.config.shortest)

    def _dataset(self, labels: Sequence[LabelFile], seed: int, distortion: DistortionConfig) -> WaveformDataset:
        hop, rate = self.config.encoder.hop, self.config.encoder.sampling_rate
        keep = self.config.method == "wav2vec2" and distortion != PLAIN
        longest = round(self.config.longest * rate)
        return WaveformDataset(labels, longest, hop, rate, seed, distortion=distortion, keep_plain=keep)

    def loss(self, model: nn.Module, batch: WaveformBatch) -> tuple[Tensor, float, dict[str, float]]:
        """The loss summed over masked frames, their number, and figures to watch."""
        result = self._run(model, batch)
        figures = _figures(result)
        if isinstance(result, Wav2Vec2Loss):
            self.chance.watch(figures, self.update())
        return result.total, float(result.count), {"seconds_of_audio": self._seconds(batch), **figures}

    def _run(self, model: nn.Module, batch: WaveformBatch) -> Wav2Vec2Loss | HubertLoss:
        batch = batch.to(self.device)
        result: Wav2Vec2Loss | HubertLoss
        if self.config.method == "wav2vec2":
            result = model(batch.waveforms, batch.lengths, self.update(), plain=batch.plain, speed=batch.speed)
        else:
            result = model(batch.waveforms, batch.lengths, batch.labels)
        return result

    def _seconds(self, batch: WaveformBatch) -> float:
        return float(batch.lengths.sum()) / self.config.encoder.sampling_rate

    def validate(self) -> Validation:
        """The loss per masked frame on the development set, with the same masks and negatives each time."""
        sums: dict[str, float] = {}
        weight = 0.0
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for start in range(0, len(self.dev), size := _batch_size(self.dev, self.config)):
                result = self._run(self.module, self.dev_data[self.dev[start : start + size]])
                weight += result.count
                for name, value in _figures(result).items():
                    sums[name] = sums.get(name, 0.0) + value * result.count
        metrics = {name: value / max(weight, 1.0) for name, value in sums.items()}
        return Validation(metrics["loss_m"], metrics, [])

    def describe(self, batch: WaveformBatch) -> str:
        """The ids of a batch, at most ten."""
        return f"utterances {' '.join(batch.ids[:10])}{' ...' if len(batch.ids) > 10 else ''}"

    def record(self) -> dict[str, Any]:
        """Figures of the training for its record."""
        parameters = sum(parameter.numel() for parameter in self.module.parameters())
        return {"num_params": parameters, "train_hours": self.train_seconds / 3600}


def _batch_size(cuts: Sequence[Any], config: PretrainConfig) -> int:
    longest = min(config.longest, max(cut.duration for cut in cuts))
    return max(1, int(config.batches.max_duration / longest))


def _model(config: PretrainConfig, labels: Sequence[LabelFile]) -> nn.Module:
    if config.method == "wav2vec2":
        return Wav2Vec2(config.wav2vec2)
    if not labels:
        raise SpeechkitError("HuBERT needs labels; give --labels with a folder that stage 5 made")
    for each in labels:
        if len(each.names) < 2:
            raise SpeechkitError("the labels are all the same; make labels with more clusters")
    return Hubert(config.hubert, [len(each.names) for each in labels])


def _figures(result: Wav2Vec2Loss | HubertLoss) -> dict[str, float]:
    """What tells whether a training is healthy; `loss_m` is the loss per masked frame without its other terms."""
    if isinstance(result, Wav2Vec2Loss):
        count = max(result.count, 1)
        return {
            "loss_m": float(result.contrastive.detach()) / count,
            "accuracy": float(result.right) / count,
            "code_perplexity": float(result.code_perplexity.detach()),
            "used_perplexity": float(result.used_perplexity),
            "penalty": float(result.penalty.detach()),
        }
    masked, unmasked = result.masked.clamp(min=1), result.unmasked.clamp(min=1)
    loss_m = float((result.masked_loss.detach() / masked).mean())
    figures = {"loss_m": loss_m, "penalty": float(result.penalty.detach())}
    for kind, shares in (("masked", result.masked_right / masked), ("unmasked", result.unmasked_right / unmasked)):
        for number, share in enumerate(shares.tolist()):
            figures[f"{kind}_accuracy{f'_{number}' if len(shares) > 1 else ''}"] = share
    return figures


class Chance:
    """The collapse alarm: a loss at chance or a single code, long after the warm-up."""

    def __init__(self, config: PretrainConfig) -> None:
        self.config, self.bad = config, 0
        sizes = config.wav2vec2.quantiser
        self.chance = math.log(config.wav2vec2.negatives + 1)
        self.fewest = max(1.05 * sizes.groups, 0.015 * sizes.groups * sizes.entries)

    def watch(self, figures: dict[str, float], update: int) -> None:
        """Note the figures of a batch; raises `SpeechkitError` with advice after too many bad ones in a row."""
        if update < self.config.train.schedule.warmup * self.config.train.max_updates:
            return
        at_chance = abs(figures["loss_m"] - self.chance) < 0.01 * self.chance
        few_codes = figures["code_perplexity"] < self.fewest
        self.bad = self.bad + 1 if at_chance or few_codes else 0
        if self.bad >= self.config.patience * self.config.train.accumulate:
            state = "is at chance" if at_chance else f"uses {figures['code_perplexity']:.1f} codes"
            raise SpeechkitError(
                f"the training has collapsed: for {self.config.patience} updates it {state}; lower "
                "train.schedule.peak, raise train.accumulate (the paper's batch is 1.6 h of audio) or "
                "wav2vec2.diversity_weight"
            )


def save_pretrained(folder: Path, config: PretrainConfig, weights: dict[str, Tensor]) -> None:
    """Write the whole model, with what `load_encoder` needs."""
    save_folder(folder, {MODEL: weights}, {TASK: {"task": config.method, "config": to_dict(config)}})


def load_pretrained(folder: Path) -> tuple[PretrainConfig, dict[str, Tensor]]:
    """The configuration of a model that `save_pretrained` wrote, and the weights of its encoder.

    Raises:
        SpeechkitError: the folder holds no pre-trained model.
    """
    if not (folder / TASK).is_file():
        raise SpeechkitError(f"{folder} is not a pre-trained model ({TASK} is missing); run stage 4 first")
    document = read_json(folder / TASK)
    if document["task"] not in get_args(Method):
        raise SpeechkitError(f"{folder} holds a model of {document['task']}, not a pre-trained one")
    config = from_dict(PretrainConfig, document["config"], str(folder / TASK))
    weights = load_tensors(folder / MODEL)
    prefix = "encoder."
    return config, {name.removeprefix(prefix): each for name, each in weights.items() if name.startswith(prefix)}


def load_encoder(folder: Path) -> SpeechEncoder:
    """The encoder of a pre-trained model that `save_pretrained` wrote, in evaluation mode."""
    config, weights = load_pretrained(folder)
    encoder = SpeechEncoder(config.encoder)
    encoder.load_state_dict(weights)
    return encoder.eval()
