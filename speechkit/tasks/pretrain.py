"""Self-supervised pre-training on waveforms without transcripts, the same for every system."""

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
from speechkit.data.batches import BatchConfig, TrainingBatches, keep_trainable, load_cuts, name_utterances
from speechkit.data.distortion import DistortionConfig
from speechkit.data.labels import LabelFile
from speechkit.data.speaker_sampler import SpeakerSampler
from speechkit.data.waveforms import PLAIN, WaveformBatch, WaveformDataset
from speechkit.models.cpc import Cpc, CpcConfig
from speechkit.models.frame_classifier import FrameClassifier, FrameClassifierConfig
from speechkit.models.hubert import Hubert, HubertConfig
from speechkit.models.pretraining import Collapse, EncoderConfig, PretrainLoss
from speechkit.models.speech_encoder import SpeechEncoderConfig
from speechkit.models.wav2vec import Wav2Vec, Wav2VecConfig
from speechkit.models.wav2vec2 import Wav2Vec2, Wav2Vec2Config
from speechkit.train.checkpoint import MODEL, TASK, load_tensors, save_folder
from speechkit.train.distributed import World
from speechkit.train.trainer import TrainConfig, Validation

log = logging.getLogger(__name__)
Method = Literal["wav2vec2", "hubert", "cpc", "wav2vec", "supervised"]
SYSTEMS: dict[Method, Any] = {
    "wav2vec2": Wav2Vec2,
    "hubert": Hubert,
    "cpc": Cpc,
    "wav2vec": Wav2Vec,
    "supervised": FrameClassifier,
}


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """Everything that decides what a pre-training does, besides its data and its seed.

    Utterances shorter than `shortest` seconds are left out, longer ones than `longest` are cropped. `distortion` is
    that of the training set; labels and targets stay those of the undistorted sound. A model that is at chance, or uses
    next to no codes, for `patience` updates after the warm-up has collapsed, and stops.
    """

    method: Method = "wav2vec2"
    wav2vec2: Wav2Vec2Config = field(default_factory=Wav2Vec2Config)
    hubert: HubertConfig = field(default_factory=HubertConfig)
    cpc: CpcConfig = field(default_factory=CpcConfig)
    wav2vec: Wav2VecConfig = field(default_factory=Wav2VecConfig)
    supervised: FrameClassifierConfig = field(default_factory=FrameClassifierConfig)
    batches: BatchConfig = field(default_factory=BatchConfig)
    shortest: float = 2.0
    longest: float = 15.625
    distortion: DistortionConfig = field(default_factory=DistortionConfig)
    patience: int = 1000
    train: TrainConfig = field(default_factory=TrainConfig)

    @property
    def system(self) -> Any:
        """The configuration of the chosen method."""
        return getattr(self, self.method)

    @property
    def encoder(self) -> EncoderConfig:
        """That of its encoder."""
        encoder: EncoderConfig = self.system.encoder
        return encoder


class PretrainTask:
    """Trains on `cuts_train.jsonl.gz` of a data folder, and watches the loss on `cuts_dev.jsonl.gz`.

    Args:
        labels: for systems that want them, folders with the label files `train` and `dev`, one for each set of labels;
            or the name of such files with `{}` in place of the set.
    """

    def __init__(
        self, config: PretrainConfig, data: Path, seed: int, world: World, labels: Sequence[Path] = ()
    ) -> None:
        self.config, self.device = config, world.device
        self.update: Callable[[], int] = lambda: 0
        train, dev = ([_label_file(place, split) for place in labels] for split in ("train", "dev"))
        self.module = _model(config, train)
        collapse = self.module.collapse()
        self.alarm = Alarm(collapse, config) if collapse else None
        cuts = _labelled(load_cuts(data / "cuts_train.jsonl.gz").filter(self._is_long), train, data)
        self.train_seconds = sum(cut.duration for cut in cuts)
        heard = self._dataset(train, seed, config.distortion)
        self.batches = TrainingBatches(cuts, heard, config.batches, seed, world.rank, world.size, config.longest)
        dev_cuts = _labelled(load_cuts(data / "cuts_dev.jsonl.gz").filter(self._is_long), dev, data)
        self.dev = dev_batches(list(dev_cuts), config)
        self.dev_data = self._dataset(dev, seed, PLAIN)
        if not self.dev:
            raise SpeechkitError(f"{data}: no utterance of dev is {config.shortest:g} s long; lower shortest")

    def _is_long(self, cut: Any) -> bool:
        return bool(cut.duration >= self.config.shortest)

    def _dataset(self, labels: Sequence[LabelFile], seed: int, distortion: DistortionConfig) -> WaveformDataset:
        hop, rate = self.config.encoder.hop, self.config.encoder.sampling_rate
        keep = SYSTEMS[self.config.method].wants_plain and distortion != PLAIN
        longest = round(self.config.longest * rate)
        return WaveformDataset(labels, longest, hop, rate, seed, distortion=distortion, keep_plain=keep)

    def loss(self, model: nn.Module, batch: WaveformBatch) -> tuple[Tensor, float, dict[str, float]]:
        """The loss summed over its terms, their number, and figures to watch."""
        result = self._run(model, batch)
        figures = result.figures()
        if self.alarm:
            self.alarm.watch(figures, self.update())
        return result.total, float(result.count), {"seconds_of_audio": self._seconds(batch), **figures}

    def _run(self, model: nn.Module, batch: WaveformBatch) -> PretrainLoss:
        result: PretrainLoss = model(**SYSTEMS[self.config.method].inputs(batch.to(self.device), self.update()))
        return result

    def _seconds(self, batch: WaveformBatch) -> float:
        return float(batch.lengths.sum()) / self.config.encoder.sampling_rate

    def validate(self) -> Validation:
        """The loss per term on the development set, with the same masks and negatives each time."""
        sums: dict[str, float] = {}
        weight = 0.0
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for cuts in self.dev:
                result = self._run(self.module, self.dev_data[cuts])
                weight += result.count
                for name, value in result.figures().items():
                    sums[name] = sums.get(name, 0.0) + value * result.count
        metrics = {name: value / max(weight, 1.0) for name, value in sums.items()}
        return Validation(metrics["loss_m"], metrics, [])

    def describe(self, batch: WaveformBatch) -> str:
        """The ids of a batch, at most ten."""
        return name_utterances(batch.ids)

    def record(self) -> dict[str, Any]:
        """Figures of the training for its record."""
        parameters = sum(parameter.numel() for parameter in self.module.parameters())
        return {"num_params": parameters, "train_hours": self.train_seconds / 3600}


def _label_file(place: Path, split: str) -> LabelFile:
    return LabelFile(place.parent, place.name.replace("{}", split)) if "{}" in place.name else LabelFile(place, split)


def _labelled(cuts: Any, labels: Sequence[LabelFile], data: Path) -> Any:
    """The cuts of which all `labels` have some: those of an alignment lack what could not be aligned."""
    if not labels:
        return cuts
    kept, dropped = keep_trainable(cuts, lambda cut: all(cut.id in each for each in labels), "without labels")
    if dropped and next(iter(kept), None) is None:
        raise SpeechkitError(f"no labels for cut {dropped[0]}, nor for others of {data}; make labels of this set")
    return kept


def dev_batches(cuts: list[Any], config: PretrainConfig) -> list[list[Any]]:
    """Batches of the development set, always the same: by length, or of as many speakers as those of the training."""
    if not cuts:
        return []
    limit, speakers = config.batches.max_duration, config.batches.speakers
    if speakers is not None:
        return list(SpeakerSampler(cuts, limit, speakers, seed=0, crop=config.longest))
    cuts = sorted(cuts, key=lambda cut: cut.duration)
    size = max(1, int(limit / min(config.longest, cuts[-1].duration)))
    return [cuts[start : start + size] for start in range(0, len(cuts), size)]


def _model(config: PretrainConfig, labels: Sequence[LabelFile]) -> Any:
    system = SYSTEMS[config.method]
    if not system.wants_labels:
        return system(config.system)
    if not labels:
        raise SpeechkitError(f"{config.method} needs labels; give --labels with those of a stage before")
    for each in labels:
        if len(each.names) < 2:
            raise SpeechkitError("the labels are all the same; make labels with more clusters")
    return system(config.system, [len(each.names) for each in labels])


class Alarm:
    """Stops a training whose model is at chance, or uses a single code, long after the warm-up."""

    def __init__(self, collapse: Collapse, config: PretrainConfig) -> None:
        self.collapse, self.config, self.bad = collapse, config, 0

    def watch(self, figures: dict[str, float], update: int) -> None:
        """Note the figures of a batch; raises `SpeechkitError` with advice after too many bad ones in a row."""
        train, chance = self.config.train, self.collapse.chance
        if update < train.schedule.warmup * train.max_updates:
            return
        at_chance = abs(figures["loss_m"] - chance) < 0.01 * chance
        # Those of the probabilities may be many where one code is always the best, and the other way round.
        codes = min(figures.get(name, math.inf) for name in ("code_perplexity", "used_perplexity"))
        few_codes = codes < self.collapse.fewest_codes
        self.bad = self.bad + 1 if at_chance or few_codes else 0
        if self.bad >= self.config.patience * train.accumulate:
            state = "is at chance" if at_chance else f"uses {codes:.1f} codes"
            raise SpeechkitError(
                f"the training has collapsed: for {self.config.patience} updates it {state}; {self.collapse.advice}"
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


def fine_tunable(config: PretrainConfig, folder: Path) -> SpeechEncoderConfig:
    """The configuration of an encoder with a transformer over an extractor.

    Raises:
        SpeechkitError: the model in `folder` has another one.
    """
    if not isinstance(config.encoder, SpeechEncoderConfig):
        raise SpeechkitError(
            f"{folder} is a model of {config.method}, whose hidden states are used as they are: store them by "
            "`speechkit features --checkpoint` and train on those"
        )
    return config.encoder


def load_encoder(folder: Path) -> Any:
    """The encoder of a pre-trained model that `save_pretrained` wrote, in evaluation mode; an `Encoder`."""
    config, weights = load_pretrained(folder)
    encoder = SYSTEMS[config.method].encoder_type(config.encoder)
    encoder.load_state_dict(weights)
    return encoder.eval()
