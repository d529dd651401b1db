"""Padded batches of features and targets from Lhotse cuts."""

import functools
import itertools
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import require_file
from speechkit.common.seeds import derive
from speechkit.data.alignments import features_of
from speechkit.data.speaker_sampler import SpeakerSampler
from speechkit.features.cmvn import Cmvn, CmvnStats, normalise

log = logging.getLogger(__name__)
CUTS_LOOKED_AT = 10_000
STEP_BETWEEN_BUCKETS = 1.1
Fields = Mapping[str, str | None]
Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class BatchConfig:
    """How cuts become batches; `max_duration` is seconds of audio, padding included.

    Utterances of a batch are alike in length, of `buckets` kinds; or, with `speakers`, of so many speakers at most.
    """

    max_duration: float = 100.0
    buckets: int = 10
    speakers: int | None = None
    workers: int = 1
    normalisation: Literal["speaker", "utterance", "global", "none"] = "speaker"


@dataclass(frozen=True)
class Batch:
    """Features `(N, T, C)` or waveforms `(N, T)` with `lengths (N,)`, token ids `(N, S)` with `target_lengths (N,)`.

    `seconds` of audio are in it; `fields` are the texts of each utterance.
    """

    ids: list[str]
    seconds: float
    features: Tensor
    lengths: Tensor
    targets: Tensor
    target_lengths: Tensor
    fields: list[Fields]

    def to(self, device: torch.device) -> "Batch":
        """The batch with its tensors on `device`."""
        names = ("features", "lengths", "targets", "target_lengths")
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=True) for name in names})


def load_cuts(path: Path) -> Any:
    """A lazy Lhotse `CutSet` from `cuts_<split>.jsonl.gz`."""
    from lhotse import CutSet

    require_file(path, "run the feature stage (1) first, or correct the path")
    return CutSet.from_jsonl_lazy(path)


def text_fields(cut: Any) -> Fields:
    """The text and the custom strings of a cut's supervision."""
    if len(cut.supervisions) != 1:
        raise SpeechkitError(
            f"cut {cut.id} has {len(cut.supervisions)} supervisions; one per cut is needed: trim the cuts to them"
        )
    supervision = cut.supervisions[0]
    custom = {name: value for name, value in (supervision.custom or {}).items() if isinstance(value, str)}
    return {"text": supervision.text, **custom}


def name_utterances(ids: Sequence[str]) -> str:
    """At most ten of them, for messages about a batch."""
    return f"utterances {' '.join(ids[:10])}{' ...' if len(ids) > 10 else ''}"


def stored_features(cuts: Any) -> list[Tensor]:
    """The features `(T, C)` that stage 1 has stored for each cut."""
    for cut in cuts:
        if not cut.has_features:
            raise SpeechkitError(f"cut {cut.id} has no features; run the feature stage (1) and pass its cuts")
    return [features_of(cut) for cut in cuts]


class FeatureDataset(Dataset[Batch]):
    """Turns the cuts of one batch, as a sampler gives them, into a `Batch`; `read` gives their inputs."""

    def __init__(
        self,
        encode: Callable[[Fields], list[int]],
        cmvn: Cmvn,
        normalisation: str,
        read: Callable[[Any], list[Tensor]] = stored_features,
    ) -> None:
        self.encode, self.cmvn, self.normalisation, self.read = encode, cmvn, normalisation, read

    def __getitem__(self, cuts: Any) -> Batch:
        fields = [text_fields(cut) for cut in cuts]
        features = [self._normalised(cut, each) for cut, each in zip(cuts, self.read(cuts), strict=True)]
        targets = [torch.tensor(self.encode(each), dtype=torch.int64) for each in fields]
        return Batch(
            ids=[cut.id for cut in cuts],
            seconds=sum(cut.duration for cut in cuts),
            features=pad_sequence(features, batch_first=True),
            lengths=torch.tensor([len(each) for each in features]),
            targets=pad_sequence(targets, batch_first=True),
            target_lengths=torch.tensor([len(each) for each in targets]),
            fields=fields,
        )

    def _normalised(self, cut: Any, features: Tensor) -> Tensor:
        if self.normalisation == "none":
            return features
        if self.normalisation == "utterance":
            return normalise(features, CmvnStats.of(features))
        return self.cmvn.apply(features, cut.supervisions[0].speaker if self.normalisation == "speaker" else None)


class TrainingBatches(Generic[Item]):
    """Batches of similar length, shuffled by (seed, epoch); any epoch can be entered in its middle.

    A `dataset` that crops takes `crop` seconds of a cut at most.
    """

    def __init__(
        self,
        cuts: Any,
        dataset: Dataset[Item],
        config: BatchConfig,
        seed: int,
        rank: int = 0,
        size: int = 1,
        crop: float = math.inf,
    ) -> None:
        self.cuts, self.dataset, self.config, self.seed = cuts, dataset, config, seed
        self.rank, self.size, self.crop = rank, size, crop

    def epoch(self, epoch: int, skip: int) -> Iterable[Item]:
        """Batches of `epoch` after the first `skip`, of which no features are read."""
        sampler = _Tail(self._sampler(epoch), skip)
        workers = self.config.workers
        return DataLoader(
            self.dataset,
            batch_size=None,
            sampler=sampler,
            num_workers=workers,
            multiprocessing_context="fork" if workers else None,
            # Without one of its own it draws from torch's, and what a training draws depends on where it was resumed.
            generator=torch.Generator().manual_seed(derive(self.seed, "workers", epoch)),
        )

    def _sampler(self, epoch: int) -> Any:
        from lhotse.dataset import DynamicBucketingSampler

        from speechkit.data.padding import PaddedLimit

        if self.config.speakers is not None:
            seed = derive(self.seed, "order of batches", epoch)
            limits = self.config.max_duration, self.config.speakers
            return SpeakerSampler(self.cuts, *limits, seed, self.rank, self.size, self.crop)
        sampler = DynamicBucketingSampler(
            self.cuts,
            constraint=PaddedLimit(self.config.max_duration, edges=tuple(self._edges), crop=self.crop),
            num_buckets=self.config.buckets,
            shuffle=True,
            seed=derive(self.seed, "order of batches") % 2**31,  # lhotse adds the epoch to it
            rank=self.rank,
            world_size=self.size,
            duration_bins=self._edges[:-1] or self._edges,
        )
        sampler.set_epoch(epoch)
        return sampler

    @functools.cached_property
    def _edges(self) -> list[float]:
        """The longest duration of each bucket, the same in every epoch and after every resume.

        Quantiles of the first durations, the longest of them, and, where there are further cuts, steps up to the limit.
        """
        durations = sorted(cut.duration for cut in itertools.islice(self.cuts, CUTS_LOOKED_AT)) or [1.0]
        count = min(self.config.buckets, max(1, len(durations) // 10))
        edges = {durations[-1], *(durations[len(durations) * index // count] for index in range(1, count))}
        edge = durations[-1] if len(durations) == CUTS_LOOKED_AT else math.inf
        while edge < self.config.max_duration:
            edge = min(edge * STEP_BETWEEN_BUCKETS, self.config.max_duration)
            edges.add(edge)
        return sorted(edges)


class _Tail:
    """The batches of a sampler after the first `skip`."""

    def __init__(self, sampler: Any, skip: int) -> None:
        self.sampler, self.skip = sampler, skip

    def __iter__(self) -> Iterator[Any]:
        iterator: Iterator[Any] = iter(self.sampler)
        for _ in range(self.skip):
            next(iterator)
        return iterator


def ordered_batches(cuts: Any, dataset: FeatureDataset, max_duration: float) -> Iterator[Batch]:
    """Batches in the order of `cuts`, for validation and decoding."""
    batch: list[Any] = []
    longest = 0.0
    for cut in cuts:
        longest = max(longest, cut.duration)
        if batch and longest * (len(batch) + 1) > max_duration:
            yield dataset[batch]
            batch, longest = [], cut.duration
        batch.append(cut)
    if batch:
        yield dataset[batch]


def keep_trainable(
    cuts: Any, is_trainable: Callable[[Any], bool], reason: str = "too short for their transcript"
) -> tuple[Any, Sequence[str]]:
    """Leave out the cuts for which `is_trainable` is false; their ids are logged with the reason, and returned."""
    dropped = [cut.id for cut in cuts if not is_trainable(cut)]
    if not dropped:
        return cuts, dropped
    log.warning("left out %d utterances %s: %s", len(dropped), reason, " ".join(dropped[:20]))
    return cuts.filter(functools.partial(_is_kept, set(dropped))), dropped


def _is_kept(dropped: set[str], cut: Any) -> bool:
    return cut.id not in dropped
