"""What frozen frames tell a linear classifier of phones and of speakers (van den Oord et al. 2018, section 3.1).

Frames are computed when they are needed and never written. The classifier is fitted on an even sample of those of the
training set, which bounds the memory; all frames of the other sets are counted.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from speechkit.cluster.kmeans import Sample
from speechkit.common.errors import SpeechkitError
from speechkit.common.progress import progress
from speechkit.common.seeds import derive
from speechkit.data.alignments import Spoken, read_spoken
from speechkit.nn.lengths import NO_LABEL
from speechkit.tasks.frame_stream import frames_of, map_waveforms, phone_spans
from speechkit.tasks.sources import Frames, Layers
from speechkit.train.logistic import LogisticConfig, LogisticRegression, fit_logistic

log = logging.getLogger(__name__)
Target = Literal["phone", "speaker"]
HELD_OUT = "held_out"


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """A `classifier` fitted on at most `max_frames` frames, drawn evenly from all of the training set.

    Of speakers the share `held_out` of each one's utterances, and one at least, is what is counted.
    """

    classifier: LogisticConfig = field(default_factory=LogisticConfig)
    max_frames: int = 200_000
    held_out: float = 0.2

    def __post_init__(self) -> None:
        if self.max_frames < 1 or not 0 < self.held_out < 1:
            raise ValueError("max_frames must be at least 1, held_out between 0 and 1")


@dataclass(frozen=True)
class Accuracy:
    """Frames that have a label, and how many of them are classified rightly."""

    right: int
    frames: int

    @property
    def share(self) -> float:
        """Right ones."""
        return self.right / self.frames if self.frames else 0.0


@dataclass(frozen=True)
class Probed:
    """What a probe found: accuracies by set, of a classifier of so many classes fitted on `fitted` of `seen` frames."""

    target: Target
    sets: dict[str, Accuracy]
    classes: int
    fitted: int
    seen: int

    def __str__(self) -> str:
        """One line."""
        rates = ", ".join(f"{name} {100 * each.share:.2f} % of {each.frames}" for name, each in self.sets.items())
        return f"{self.target} accuracy: {rates} frames; {self.classes} classes, fitted on {self.fitted} frames"

    def figures(self) -> dict[str, Any]:
        """For JSON."""
        sets = {name: {"accuracy": each.share, **asdict(each)} for name, each in self.sets.items()}
        return {
            "target": self.target,
            "sets": sets,
            "classes": self.classes,
            "fitted_frames": self.fitted,
            "training_frames": self.seen,
        }


@dataclass(frozen=True)
class FrameSet:
    """Cuts of a manifest with a name, read anew by each call of `cuts`."""

    name: str
    path: Path
    cuts: Callable[[], Iterator[Spoken]]


def probe(
    source: Frames, target: Target, train: Path, tests: Sequence[Path], config: ProbeConfig, seed: int, nj: int
) -> Probed:
    """Fit on the cuts of `train` and count on those of `tests`, or for speakers on held-out utterances of `train`.

    Frames count that stand with their middle in a phone; in a test set phones that training has none of are wrong.

    Raises:
        SpeechkitError: a set has no labels.
    """
    data = _sets(target, train, tests, config, seed)
    return _probe(source, [slice(None)], target, data, config, seed, nj)[0]


def probe_layers(
    source: Layers,
    target: Target,
    train: Path,
    tests: Sequence[Path],
    config: ProbeConfig,
    seed: int,
    nj: int,
    work: Path,
) -> dict[int, Probed]:
    """What `probe` finds for each layer, in one pass over each set; the sample is kept in a file in folder `work`.

    Speakers of the training set that speak in a test set for phones too are counted in a warning.
    """
    data = _sets(target, train, tests, config, seed)
    if target == "phone":
        _warn_of_shared_speakers(*data)
    found = _probe(source, list(source.columns.values()), target, data, config, seed, nj, work)
    return dict(zip(source.columns, found, strict=True))


def best_layer(found: Mapping[int, Probed]) -> int:
    """The layer with the most right frames of the first set counted, of equal ones the lowest."""
    return max(sorted(found), key=lambda layer: next(iter(found[layer].sets.values())).share)


def layer_table(found: Mapping[int, Probed]) -> list[str]:
    """Accuracies in per cent as lines of text, a line for each layer and a column for each set."""
    names = list(next(iter(found.values())).sets)
    width = max(8, *(len(name) + 2 for name in names))
    lines = ["layer" + "".join(f"{name:>{width}}" for name in names)]
    for layer, each in found.items():
        lines.append(f"{layer:5d}" + "".join(f"{100 * each.sets[name].share:>{width}.2f}" for name in names))
    return lines


def _probe(
    source: Frames,
    columns: Sequence[slice],
    target: Target,
    data: tuple[FrameSet, list[FrameSet]],
    config: ProbeConfig,
    seed: int,
    nj: int,
    work: Path | None = None,
) -> list[Probed]:
    """A classifier for each of several groups of columns of the frames."""
    fitted_on, counted = data
    numbers: dict[str, int] = {}
    generator = torch.Generator().manual_seed(derive(seed, "probe") % 2**63)
    sample = Sample(config.max_frames, generator, work)
    for frames, labels in _labelled(source, target, fitted_on, numbers, nj):
        sample.add(torch.cat([frames, labels.unsqueeze(1).to(frames)], dim=1))
    if len(numbers) < 2:
        raise SpeechkitError(f"{fitted_on.path} has no {target}s to tell apart; name cuts with {_remedy(target)}")
    points = sample.points()
    if sample.seen > len(points):
        log.info("fitting on a sample of %d of %d frames", len(points), sample.seen)
    classes, models = points[:, -1].long().to(source.device), []
    for each in progress(columns, description="classifiers") if len(columns) > 1 else columns:
        part = points[:, :-1][:, each].to(source.device)
        models.append(fit_logistic(part, classes, len(numbers), config.classifier))
    sets = {each.name: _count(models, columns, source, target, each, dict(numbers), nj) for each in counted}
    for name, accuracies in sets.items():
        if accuracies[0].frames == 0:
            raise SpeechkitError(f"set {name} has no frame with a {target}; name cuts with {_remedy(target)}")
    return [
        Probed(target, {name: each[index] for name, each in sets.items()}, len(numbers), len(points), sample.seen)
        for index in range(len(columns))
    ]


def _warn_of_shared_speakers(train: FrameSet, tests: Sequence[FrameSet]) -> None:
    known = {cut.speaker for cut in train.cuts()} - {"None"}
    for each in tests:
        if shared := known & {cut.speaker for cut in each.cuts()}:
            log.warning("%d speakers of %s are in the training set too: they are not held out", len(shared), each.name)


def _remedy(target: Target) -> str:
    return "alignments, as stage 3 makes" if target == "phone" else "several speakers in their supervisions"


def _sets(
    target: Target, train: Path, tests: Sequence[Path], config: ProbeConfig, seed: int
) -> tuple[FrameSet, list[FrameSet]]:
    """What is fitted on, and what is counted."""
    if target == "phone":
        names = [path.name.partition(".")[0].removeprefix("cuts_") for path in tests]
        counted = [FrameSet(name, path, partial(read_spoken, path)) for name, path in zip(names, tests, strict=True)]
        return FrameSet("train", train, partial(read_spoken, train)), counted
    held = _held_out(train, config.held_out, seed)

    def part(inside: bool) -> Iterator[Spoken]:
        return (cut for cut in read_spoken(train) if (cut.id in held) == inside)

    return FrameSet("train", train, partial(part, False)), [FrameSet(HELD_OUT, train, partial(part, True))]


def _held_out(train: Path, share: float, seed: int) -> set[str]:
    """Ids of utterances of every speaker who has more than one."""
    by_speaker: dict[str, list[str]] = {}
    for cut in read_spoken(train):
        by_speaker.setdefault(cut.speaker, []).append(cut.id)
    held: set[str] = set()
    for names in by_speaker.values():
        drawn = sorted(names, key=lambda name: derive(seed, "held out", name))
        held.update(drawn[: min(max(1, round(share * len(names))), len(names) - 1)])
    return held


def _labelled(
    source: Frames, target: Target, chosen: FrameSet, numbers: dict[str, int], nj: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Frames `(T, D)` of each cut that have a label, and the labels `(T,)`; new ones are added to `numbers`."""
    count = sum(1 for _ in chosen.cuts())
    found = map_waveforms(partial(frames_of, source), source, chosen.cuts(), nj, count, f"frames of {chosen.name}")
    for cut, frames in zip(chosen.cuts(), found, strict=True):
        labels = np.full(len(frames), NO_LABEL, np.int64)
        for name, first, end in _spans(cut, source, target, len(frames)):
            labels[max(first, 0) : max(end, 0)] = numbers.setdefault(name, len(numbers))
        inside = labels != NO_LABEL
        yield torch.from_numpy(frames[inside]), torch.from_numpy(labels[inside])


def _spans(cut: Spoken, source: Frames, target: Target, frames: int) -> list[tuple[str, int, int]]:
    return phone_spans(cut, source) if target == "phone" else [(cut.speaker, 0, frames)]


def _count(
    models: Sequence[LogisticRegression],
    columns: Sequence[slice],
    source: Frames,
    target: Target,
    chosen: FrameSet,
    numbers: dict[str, int],
    nj: int,
) -> list[Accuracy]:
    """How many frames of a set each of the models classifies rightly, from its columns."""
    right, frames = [0] * len(models), 0
    for points, labels in _labelled(source, target, chosen, numbers, nj):
        for index, (model, each) in enumerate(zip(models, columns, strict=True)):
            right[index] += int((model.predict(points[:, each].to(source.device)).cpu() == labels).sum())
        frames += len(labels)
    return [Accuracy(count, frames) for count in right]
