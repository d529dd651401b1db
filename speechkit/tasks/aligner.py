"""Training of an aligner: Gaussians from a flat start, then a network on their alignments; the better one is kept."""

import logging
import random
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from speechkit.align.forced import Failure, ForcedAligner
from speechkit.align.hmm import HmmConfig, num_pdfs
from speechkit.align.models import AlignerModel, GmmEmissions, StoredFrames, Utterance
from speechkit.align.neural import FrameNetwork, NetworkConfig, NeuralEmissions
from speechkit.align.segments import Alignment
from speechkit.align.train import NOT_ALIGNED, GmmConfig, TrainingSet, log_priors, train_gmms
from speechkit.align.units import OutOfVocabularyError, Transcript, Units
from speechkit.common.errors import SpeechkitError
from speechkit.common.seeds import seed_everything
from speechkit.data.alignments import Spoken, read_spoken
from speechkit.features.cmvn import Cmvn, normalise
from speechkit.features.fbank import FbankConfig
from speechkit.tasks.boundaries import Truth, true_boundaries
from speechkit.tasks.frames import NO_LABEL, FrameBatches, FrameTask, LabelledFrames
from speechkit.train.distributed import World
from speechkit.train.schedule import ScheduleConfig
from speechkit.train.trainer import TrainConfig, Trainer

log = logging.getLogger(__name__)
UTTERANCES_PER_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class NeuralConfig:
    """How the network is trained: in each round `epochs` times over the alignments of the model before."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    rounds: int = 1
    epochs: int = 4
    least_updates: int = 100
    batch_frames: int = 4000
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            average_best=1, schedule=ScheduleConfig(peak=3e-3, warmup=0.1, hold=0.3), log_every=100
        )
    )

    def __post_init__(self) -> None:
        for name in ("rounds", "epochs", "least_updates", "batch_frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class AlignerConfig:
    """Everything that decides what training an aligner does, besides its data and its seed.

    Attributes:
        emissions: what to train; "best" trains both and keeps the one that aligns the development set better.
        max_hours: of audio to train on, drawn at random from the training set: few parameters need no more, and all of
            it is kept in memory, about a gigabyte an hour.
    """

    hmm: HmmConfig = field(default_factory=HmmConfig)
    gmm: GmmConfig = field(default_factory=GmmConfig)
    neural: NeuralConfig = field(default_factory=NeuralConfig)
    emissions: Literal["best", "gmm", "neural"] = "best"
    max_hours: float = 1.0


@dataclass(frozen=True)
class AlignmentData:
    """Utterances of one set with their cuts, and those that cannot be aligned."""

    spoken: list[Spoken]
    utterances: list[Utterance]
    failures: list[Failure]

    def rows(self, chosen: Iterable[int]) -> "AlignmentData":
        """Some of the utterances."""
        picked = list(chosen)
        return replace(
            self, spoken=[self.spoken[row] for row in picked], utterances=[self.utterances[row] for row in picked]
        )


def utterance_of(spoken: Spoken, units: Units, cmvn: Cmvn, bins: int) -> Utterance | Failure:
    """Log-mel features and transcript of a cut, or why it has none; pitch behind the `bins` of log-mel is left out."""
    try:
        transcript = units.transcript(spoken.fields)
    except OutOfVocabularyError as error:
        return Failure(spoken.id, str(error), tuple(error.words))
    except SpeechkitError as error:
        return Failure(spoken.id, str(error))
    return observed(spoken, transcript, cmvn, bins)


def observed(spoken: Spoken, transcript: Transcript, cmvn: Cmvn, bins: int) -> Utterance:
    """A cut with its features and a transcript, which is empty where none is known."""
    features, speaker = spoken.features(), cmvn.stats(spoken.speaker)
    if spoken.has_pitch:
        features, speaker = features[:, :bins], speaker.first(bins)
    return Utterance(spoken.id, features, speaker, spoken.duration, transcript)


def read_data(cuts: Path, units: Units, bins: int, max_hours: float, seed: int) -> AlignmentData:
    """Read a set, or `max_hours` of it drawn at random; `cmvn.safetensors` lies beside the cuts."""
    cmvn, data = Cmvn.load(cuts.with_name("cmvn.safetensors")), AlignmentData([], [], [])
    chosen = _chosen([spoken.duration for spoken in read_spoken(cuts)], 3600 * max_hours, seed)
    for index, spoken in enumerate(read_spoken(cuts)):
        if index not in chosen:
            continue
        each = utterance_of(spoken, units, cmvn, bins)
        if isinstance(each, Failure):
            data.failures.append(each)
        else:
            data.spoken.append(spoken)
            data.utterances.append(each)
    return data


def stored_frames(cuts: Path) -> StoredFrames | None:
    """What the features of a set are, where they are not those of `speechkit.features`; None where they are."""
    manifest = next((each.row.get("features") for each in read_spoken(cuts)), None)
    if manifest is None or str(manifest["type"]).startswith("fbank"):
        return None
    shift = 1000 * float(manifest["frame_shift"])
    return StoredFrames(
        num_bins=int(manifest["num_features"]),
        frame_shift_ms=shift,
        frame_length_ms=shift,
        sampling_rate=int(manifest["sampling_rate"]),
    )


def _chosen(durations: Sequence[float], seconds: float, seed: int) -> set[int]:
    """Indices that come to about `seconds` in all."""
    order = list(range(len(durations)))
    if sum(durations) > seconds:
        random.Random(f"{seed} hours").shuffle(order)
    chosen, total = set(), 0.0
    for index in order:
        if total >= seconds:
            break
        chosen.add(index)
        total += durations[index]
    return chosen


class AlignerTraining:
    """Trains on `train`, judges on `dev`, and writes checkpoints of the network to `out`."""

    def __init__(
        self,
        config: AlignerConfig,
        units: Units,
        fbank: FbankConfig | StoredFrames,
        out: Path,
        seed: int,
        engine: str,
        world: World,
    ) -> None:
        self.config, self.units, self.fbank, self.out = config, units, fbank, out
        self.seed, self.engine, self.world = seed, engine, world

    def run(self, train: AlignmentData, dev: AlignmentData) -> tuple[AlignerModel, dict[str, Any]]:
        """Train, choose, and return the model with the figures of the choice."""
        if not train.utterances:
            raise SpeechkitError(
                f"no utterance can be aligned; the first of {len(train.failures)} says: {train.failures[0].reason}"
                if train.failures
                else "there is no utterance to train on"
            )
        if not dev.utterances:
            log.warning("no utterance of the development set can be aligned; models are judged on training utterances")
            dev = train.rows(range(min(len(train.utterances), UTTERANCES_PER_BATCH)))
        features = self.config.gmm.features
        sets = [
            TrainingSet(
                [features.features(each) for each in data.utterances],
                [each.transcript for each in data.utterances],
                self.units,
                self.config.hmm,
            )
            for data in (train, dev)
        ]
        seconds = sum(each.duration for each in train.utterances)
        log.info("%d utterances, %.2f h, %d units", len(train.utterances), seconds / 3600, len(self.units))
        gaussians = train_gmms(sets[0], self.config.gmm, self.seed, self.engine)
        models = {"gmm": self._model(gaussians)}
        if self.config.emissions != "gmm":
            neural = self._train_network(gaussians, sets, (train, dev))
            models["neural"] = self._model(neural)
        judged = {kind: judge(model, dev, self.engine) for kind, model in models.items()}
        best = (
            max(models, key=lambda kind: judged[kind].value)
            if self.config.emissions == "best"
            else self.config.emissions
        )
        for kind, each in judged.items():
            log.info("%s on dev: %s %.2f%s", kind, each.criterion, each.value, " (kept)" if kind == best else "")
        record = {"chosen": best, "hours": seconds / 3600, "dev": {kind: vars(each) for kind, each in judged.items()}}
        return models[best], record

    def _model(self, emissions: GmmEmissions | NeuralEmissions) -> AlignerModel:
        return AlignerModel(self.units, self.config.hmm, self.fbank, emissions)

    def _train_network(
        self, gaussians: GmmEmissions, sets: Sequence[TrainingSet], data: Sequence[AlignmentData]
    ) -> NeuralEmissions:
        """Rounds of training on the alignments of the model before, Gaussians first."""
        config = self.config.neural
        log_mel = [[normalise(each.log_mel, each.speaker) for each in part.utterances] for part in data]
        seed_everything(self.seed, "network")
        sizes = replace(config.network, in_dim=self.fbank.num_bins)
        network = FrameNetwork(sizes, num_pdfs(self.units, self.config.hmm))
        pdfs = [each.align(each.gmm_likelihoods(gaussians.gmms), self.engine) for each in sets]
        emissions = NeuralEmissions(network, log_priors(pdfs[0], network.num_pdfs))
        for number in range(config.rounds):
            if number:
                pdfs = [self._realigned(emissions, *pair) for pair in zip(sets, data, strict=True)]
            items = [
                _labelled(part.utterances, features, each, labels)
                for part, features, each, labels in zip(data, log_mel, sets, pdfs, strict=True)
            ]
            self._train_round(network, items[0], items[1], number)
            emissions = NeuralEmissions(network.cpu(), log_priors(pdfs[0], network.num_pdfs))
        return emissions

    def _train_round(
        self, network: FrameNetwork, train: list[LabelledFrames], dev: list[LabelledFrames], number: int
    ) -> None:
        config = self.config.neural
        seed = self.seed + number
        batches = FrameBatches(train, config.batch_frames, seed)
        updates = max(config.least_updates, config.epochs * len(batches.batches))
        schedule = replace(config.train, max_updates=updates, validate_every=updates, save_every=updates)
        task = FrameTask(network, dev or train[:1], config.batch_frames, self.world.device)
        folder = self.out / f"network-{number + 1}"
        shutil.rmtree(folder, ignore_errors=True)  # a minute's work is not worth resuming from other data
        trainer = Trainer(schedule, task, batches, folder, seed, self.world)
        network.load_state_dict(trainer.run())

    def _realigned(self, emissions: NeuralEmissions, data: TrainingSet, part: AlignmentData) -> Tensor:
        return data.align(lambda rows: emissions.log_likelihoods([part.utterances[row] for row in rows]), self.engine)


def _labelled(
    utterances: Sequence[Utterance], features: Sequence[Tensor], data: TrainingSet, pdfs: Tensor
) -> list[LabelledFrames]:
    """Aligned utterances with their pdfs as labels."""
    found = []
    for row, (utterance, each) in enumerate(zip(utterances, features, strict=True)):
        labels = pdfs[data.frames(row)]
        if len(each) and int(labels[0]) != NOT_ALIGNED:
            found.append(LabelledFrames(utterance.id, each, labels.masked_fill(labels == NOT_ALIGNED, NO_LABEL)))
    return found


@dataclass(frozen=True)
class Judgement:
    """How well a model aligns a set: larger is better."""

    criterion: str
    value: float
    figures: dict[str, float]


def judge(model: AlignerModel, data: AlignmentData, engine: str) -> Judgement:
    """Share of boundaries within 20 ms where the cuts have true ones, else the mean log confidence of the frames."""
    results = align_all(ForcedAligner(model, engine), data.utterances)
    aligned = [(spoken, each) for spoken, each in zip(data.spoken, results, strict=True) if isinstance(each, Alignment)]
    if not aligned:
        return Judgement("nothing aligned", -float("inf"), {})
    truth = true_boundaries([spoken for spoken, _ in aligned], model.units)
    if truth is None:
        frames = sum(len(each.frame_labels) for _, each in aligned)
        total = sum(len(each.frame_labels) * torch.tensor(each.confidence).log() for _, each in aligned)
        return Judgement("mean log confidence", float(total) / max(1, frames), {})
    return _against(truth, [each for _, each in aligned])


def _against(truth: Truth, alignments: Sequence[Alignment]) -> Judgement:
    score = truth.score(alignments)
    return Judgement(f"{truth.kind} boundaries within 20 ms", score.within(20), score.figures())


def align_all(aligner: ForcedAligner, utterances: Sequence[Utterance]) -> list[Alignment | Failure]:
    """Alignments in the order of the utterances."""
    found: list[Alignment | Failure] = []
    for start in range(0, len(utterances), UTTERANCES_PER_BATCH):
        found += aligner(utterances[start : start + UTTERANCES_PER_BATCH])
    return found
