"""Pseudo-labels: what a trained model, the teacher, hears in audio without transcripts, for a student to learn from.

The teacher decodes with a language model, and labels that show typical mistakes or of which it is less sure are left
out (Kahn et al. 2019, "Self-training for end-to-end speech recognition": loops of n-grams, and a low probability of
the label, normalised by its length). Transcripts that the audio may have are removed before anything is done with it.
"""

import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from speechkit.common.errors import SpeechkitError
from speechkit.common.progress import progress
from speechkit.data.batches import ordered_batches, text_fields
from speechkit.data.manifests import read_cuts, read_lines, write_lines
from speechkit.data.parallel import parallel_map
from speechkit.data.unlabelled import (
    TRAIN,
    labelled_ids,
    labelled_with,
    require_other_speakers,
    without_transcripts,
    write_statistics,
    write_training_set,
)
from speechkit.decode.beam import Weights
from speechkit.decode.greedy import greedy
from speechkit.decode.methods import Method
from speechkit.features.cmvn import Cmvn
from speechkit.metrics.error_rate import count_corpus
from speechkit.tasks.recognition import SECONDS_PER_BATCH, Emission, WordsJob
from speechkit.tasks.recognizer import Recognizer

SORTED_TOGETHER = 2000  # utterances that are batched by their length
EMPTY, LOOP, SHORT, LONG, UNSURE = "empty", "loop", "too short for its audio", "too long for its audio", "unsure"
REASONS = (EMPTY, LOOP, SHORT, LONG, UNSURE)
LABELS = "labels.jsonl"


@dataclass(frozen=True, kw_only=True)
class PseudoConfig:
    """Which labels the student gets, and how many times it hears the labelled utterances in one epoch.

    Left out are labels without words, those in which a sequence of `loop_words` words comes more than `loop_count`
    times, and those with less than `slowest` or more than `fastest` times as many tokens a second as the true labels
    have on average. Of the rest the most confident stay, `keep` percent.
    """

    repeat: int = 1
    keep: float = 90.0
    loop_words: int = 4
    loop_count: int = 2
    slowest: float = 0.4
    fastest: float = 2.0

    def __post_init__(self) -> None:
        if self.repeat < 1 or self.loop_words < 1 or self.loop_count < 1:
            raise ValueError("repeat, loop_words and loop_count must be at least 1")
        if not 0 < self.keep <= 100 or not 0 <= self.slowest < self.fastest:
            raise ValueError("keep must be more than 0 and at most 100, slowest less than fastest")


@dataclass(frozen=True)
class Label:
    """What the teacher heard in one utterance.

    Attributes:
        words: as the student's language has them.
        confidence: log P(words | audio) by CTC for each token, in nats; minus infinity without words.
        rate: tokens for each frame of the model.
        reason: why it is left out; empty for one that is kept.
    """

    id: str
    words: tuple[str, ...]
    confidence: float
    rate: float
    reason: str = ""


@dataclass(frozen=True)
class Teacher:
    """A trained model with the way it decodes: `method` with `weights`, or greedily without one."""

    recognizer: Recognizer
    method: Method | None
    weights: Weights
    device: torch.device
    nj: int = 1

    def labels(self, cuts: Iterable[Any], speakers: Cmvn | None) -> Iterator[Label]:
        """Labels of `cuts`, in an order of their lengths; `speakers` are the cuts' statistics."""
        if self.method:
            self.method.prepare()
        ahead, emissions = itertools.tee(self._emissions(cuts, speakers))
        if self.method:
            found = parallel_map(WordsJob(self.method, self.weights), ahead, self.nj if self.method.forks else 1)
        else:
            found = map(self._greedy, ahead)
        for words, emission in zip(found, emissions, strict=True):
            yield self._label(emission, words)

    def _emissions(self, cuts: Iterable[Any], speakers: Cmvn | None) -> Iterator[Emission]:
        dataset, iterator = self.recognizer.dataset(speakers), iter(cuts)
        while part := sorted(itertools.islice(iterator, SORTED_TOGETHER), key=lambda cut: float(cut.duration)):
            batches = ordered_batches(part, dataset, SECONDS_PER_BATCH)
            for batch, log_probs, lengths in self.recognizer.emissions(batches, self.device):
                for index, (name, length) in enumerate(zip(batch.ids, lengths.tolist(), strict=True)):
                    yield Emission(name, log_probs[index, :length].numpy().copy(), [])

    def _greedy(self, emission: Emission) -> list[str]:
        log_probs = torch.from_numpy(emission.log_probs)
        return self.recognizer.lang.words(greedy(log_probs[None], torch.tensor([len(log_probs)]))[0])

    def _label(self, emission: Emission, words: Sequence[str]) -> Label:
        tokens = self.recognizer.lang.encode(" ".join(words))
        frames = max(1, len(emission.log_probs))
        return Label(emission.id, tuple(words), confidence(emission.log_probs, tokens), len(tokens) / frames)


def confidence(log_probs: npt.NDArray[np.float32], tokens: Sequence[int]) -> float:
    """log P(tokens | audio) by CTC, over their number, from `log_probs (T, V)` with blank 0; nats.

    Kahn et al. normalise likewise; a CTC model has no end of sentence whose lack would show a mistake.
    """
    if not tokens:
        return -math.inf
    inputs, targets = torch.from_numpy(log_probs)[:, None], torch.tensor([tokens])
    lengths = torch.tensor([len(inputs)]), torch.tensor([len(tokens)])
    return -float(F.ctc_loss(inputs, targets, *lengths, blank=0, reduction="sum")) / len(tokens)


def filtered(labels: Iterable[Label], usual_rate: float, config: PseudoConfig) -> list[Label]:
    """The labels with the reasons why some of them are left out, ordered by id."""
    found = [
        replace(each, reason=_mistake(each, usual_rate, config)) for each in sorted(labels, key=lambda each: each.id)
    ]
    sure = sorted((each for each in found if not each.reason), key=lambda each: (-each.confidence, each.id))
    unsure = {each.id for each in sure[math.ceil(len(sure) * config.keep / 100) :]}
    return [replace(each, reason=UNSURE) if each.id in unsure else each for each in found]


def _mistake(label: Label, usual_rate: float, config: PseudoConfig) -> str:
    if not label.words:
        return EMPTY
    if _most_said(label.words, config.loop_words) > config.loop_count:
        return LOOP
    if label.rate < config.slowest * usual_rate:
        return SHORT
    return LONG if label.rate > config.fastest * usual_rate else ""


def _most_said(words: Sequence[str], order: int) -> int:
    """How often the most frequent sequence of `order` words comes."""
    counts = Counter(tuple(words[start : start + order]) for start in range(len(words) - order + 1))
    return max(counts.values(), default=0)


def make_pseudo_labels(
    teacher: Teacher, pool: Path, labelled: Path, out: Path, config: PseudoConfig, previous: Path | None = None
) -> dict[str, Any]:
    """Write to `out` a training set of the `labelled` folder and of what the teacher hears in the cuts of `pool`.

    `out/labels.jsonl` has all labels with confidence and reason. `previous` names the folder of the round before.

    Returns:
        For a report: counts of utterances, hours, and how far the labels are from those of the round before.

    Raises:
        SpeechkitError: the pool has a speaker of the development or test set, or no label is left.
    """
    require_other_speakers(pool, labelled)
    known = labelled_ids(labelled)
    sizes = Counter("labelled" if cut.id in known else "pool" for cut in read_cuts(pool))
    if not sizes["pool"]:
        raise SpeechkitError(f"every utterance of {pool} is in {labelled} with its label; name other audio, or more")
    speakers = Cmvn.load(pool.with_name("cmvn.safetensors")) if teacher.recognizer.uses_statistics else None
    found = teacher.labels(without_transcripts(pool, known), speakers)
    usual, seconds = _true_labels(teacher.recognizer, labelled)
    labels = filtered(progress(found, sizes["pool"], "labelling"), usual, config)
    kept = {each.id: each for each in labels if not each.reason}
    if not kept:
        counts = ", ".join(f"{count} {reason}" for reason, count in _counted(labels).items() if count)
        raise SpeechkitError(f"no label of {pool} is left ({counts}); train the teacher better, or filter less")
    write_lines(out / LABELS, (_row(each) for each in labels))
    heard = _Heard(pool, kept, teacher.recognizer.lang.field)
    write_statistics(out, labelled, pool)
    write_training_set(out, labelled, config.repeat, heard, len(kept))
    return {
        "counts": {
            "labelled already": sizes["labelled"],
            "decoded": len(labels),
            **_counted(labels),
            "kept": len(kept),
        },
        "hours": {"labelled": config.repeat * seconds / 3600, "pseudo": heard.seconds / 3600},
        "drift": _drift(teacher.recognizer, kept, previous) if previous else None,
    }


class _Heard:
    """The cuts of the pool that have a label, with it; counts their seconds."""

    def __init__(self, pool: Path, labels: dict[str, Label], field: str) -> None:
        self.pool, self.labels, self.field, self.seconds = pool, labels, field, 0.0

    def __iter__(self) -> Iterator[Any]:
        for cut in read_cuts(self.pool):
            if cut.id in self.labels:
                self.seconds += cut.duration
                yield labelled_with(cut, {self.field: " ".join(self.labels[cut.id].words)})


def _true_labels(recognizer: Recognizer, labelled: Path) -> tuple[float, float]:
    """Tokens for each frame of the model, and seconds, of the labelled training set."""
    tokens, frames, seconds = 0, 0, 0.0
    for cut in read_cuts(labelled / TRAIN):
        tokens += len(recognizer.encode_known(text_fields(cut)))
        frames += recognizer.num_frames(cut)
        seconds += cut.duration
    return tokens / max(1, frames), seconds


def _counted(labels: Sequence[Label]) -> dict[str, int]:
    counts = Counter(each.reason for each in labels)
    return {reason: counts[reason] for reason in REASONS}


def _row(label: Label) -> dict[str, Any]:
    sure = label.confidence if math.isfinite(label.confidence) else None
    return {**asdict(label), "words": " ".join(label.words), "confidence": sure}


def _drift(recognizer: Recognizer, kept: dict[str, Label], previous: Path) -> dict[str, Any]:
    """Errors of the labels counted against those of the round before, on what both rounds have kept."""
    before = {row["id"]: row["words"].split() for row in read_lines(previous / LABELS) if not row["reason"]}
    common = [name for name in kept if name in before]
    old = [recognizer.scored(before[name]) for name in common]
    new = [recognizer.scored(list(kept[name].words)) for name in common]
    return {"previous": str(previous), "utterances": len(common), "error_rate": count_corpus(old, new).rate}


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while part := stream.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()
