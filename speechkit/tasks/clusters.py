"""Frame labels for HuBERT: k-means on cepstra or on a layer of a model, fitted on the training set, for all sets.

Frames are computed when they are needed and never written: once for the sample that is clustered, once for the labels.
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from speechkit.cluster.kmeans import KMeansConfig, assign, fit, sampled
from speechkit.cluster.quality import Quality, joint_counts, quality
from speechkit.common.errors import SpeechkitError
from speechkit.common.files import write_json
from speechkit.common.progress import progress
from speechkit.common.seeds import derive
from speechkit.config.load import to_dict
from speechkit.data.alignments import Spoken, read_spoken
from speechkit.data.labels import LabelWriter
from speechkit.data.parallel import parallel_map
from speechkit.data.waveforms import read_cut
from speechkit.features.mfcc import Mfcc, MfccConfig
from speechkit.tasks.pretrain import load_encoder
from speechkit.train.checkpoint import MODEL, save_folder

log = logging.getLogger(__name__)
CENTRES = "centres.safetensors"
WINDOW = 0.025  # seconds that a frame looks at, of cepstra as of wav2vec 2.0 and HuBERT
TOGETHER = 8  # utterances that a process takes at a time


class Frames(Protocol):
    """What is clustered: frames of a waveform, so many a second; `origin` says what they are."""

    frame_rate: float
    sampling_rate: int
    origin: dict[str, Any]

    def __call__(self, waveform: Tensor) -> Tensor:
        """Frames `(T, D)` of one waveform `(S,)` in [-1, 1]."""
        ...


class Cepstra:
    """13 cepstra with first and second derivatives, 100 frames a second: what HuBERT's first iteration clusters."""

    frame_rate = 100.0

    def __init__(self) -> None:
        config = MfccConfig()
        self._mfcc = Mfcc(config)
        self.sampling_rate = config.fbank.sampling_rate
        self.origin: dict[str, Any] = {"features": "mfcc", "config": to_dict(config)}

    def __call__(self, waveform: Tensor) -> Tensor:
        """Frames `(T, 39)`."""
        return self._mfcc.extract(waveform)


class Layer:
    """Hidden states of one layer of a pre-trained model, counted from 1, without masks and dropout."""

    def __init__(self, checkpoint: Path, layer: int) -> None:
        self._encoder = load_encoder(checkpoint)
        blocks = self._encoder.config.transformer.layers
        if not 1 <= layer <= blocks:
            raise SpeechkitError(f"{checkpoint} has layers 1 to {blocks}, not {layer}; correct --layer")
        self._layer = layer
        config = self._encoder.config
        self.sampling_rate, self.frame_rate = config.sampling_rate, config.sampling_rate / config.extractor.hop
        digest = hashlib.sha256((checkpoint / MODEL).read_bytes()).hexdigest()
        self.origin: dict[str, Any] = {"features": "model", "model": digest, "layer": layer}

    @torch.inference_mode()
    def __call__(self, waveform: Tensor) -> Tensor:
        """Frames `(T, dim)`."""
        frames, lengths, _ = self._encoder.extract(waveform[None], torch.tensor([len(waveform)]))
        if int(lengths) < 1:
            return frames.new_zeros(0, self._encoder.config.transformer.dim)
        return self._encoder.transformer.layers(self._encoder.enter(frames), lengths, self._layer)[-1][0]


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """`kmeans` on a `share` of the training utterances (the paper takes a tenth of LibriSpeech)."""

    kmeans: KMeansConfig = field(default_factory=KMeansConfig)
    share: float = 1.0


def make_labels(
    source: Frames, data: Path, out: Path, config: ClusterConfig, seed: int, nj: int, sets: Sequence[str]
) -> dict[str, Quality]:
    """Fit clusters on `cuts_train.jsonl.gz` of `data`, and write labels of all sets to `out`.

    Returns:
        For each set with phone alignments, what the labels say about the phones.
    """
    train = list(read_spoken(data / "cuts_train.jsonl.gz"))
    chosen = [each for each in train if derive(seed, "share", each.id) / 2**63 < config.share]
    generator = torch.Generator().manual_seed(derive(seed, "clusters") % 2**63)
    blocks = _blocks(source, chosen, nj, f"frames of {len(chosen)} utterances")
    points = sampled((torch.from_numpy(block) for block in blocks), config.kmeans, generator)
    log.info("clustering %d frames of %d values into %d", *points.shape, config.kmeans.clusters)
    centres = fit(points, config.kmeans, generator)
    inertia = float(assign(points, centres)[1].mean())
    log.info("mean squared distance %.4f", inertia)
    origin = {**source.origin, "clusters": config.kmeans.clusters, "frame_rate": source.frame_rate, "seed": seed}
    save_folder(out / "kmeans", {CENTRES: {"centres": centres}}, {"kmeans.json": {**origin, "inertia": inertia}})
    found = {}
    for name in sets:
        cuts = train if name == "train" else list(read_spoken(data / f"cuts_{name}.jsonl.gz"))
        figures = _label_set(source, centres, cuts, out, name, origin, nj)
        if figures is not None:
            found[name] = figures
    write_json(out / "quality.json", {name: asdict(figures) for name, figures in found.items()})
    return found


def _label_set(
    source: Frames, centres: Tensor, cuts: Sequence[Spoken], out: Path, name: str, origin: Mapping[str, Any], nj: int
) -> Quality | None:
    """Write the labels of one set."""
    names = [str(number) for number in range(len(centres))]
    phones: dict[str, int] = {}
    pairs: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
    with LabelWriter(out, name, source.frame_rate, names, origin) as writer:
        for cut, labels in zip(cuts, _labels(source, centres, cuts, nj, name), strict=True):
            writer.add(cut.id, labels)
            if (items := cut.labels("phone")) is not None:
                pairs.append((_phones(items, len(labels), source.frame_rate, phones), labels))
    if not pairs:
        return None
    truth, found = (np.concatenate(each) for each in zip(*pairs, strict=True))
    inside = truth >= 0
    return quality(joint_counts(truth[inside], found[inside], (len(phones), len(centres)))) if inside.any() else None


def _phones(
    items: Sequence[tuple[str, float, float]], frames: int, rate: float, numbers: dict[str, int]
) -> npt.NDArray[np.int64]:
    """The phone at the middle of each frame, as a number; -1 where there is none."""
    found = np.full(frames, -1, np.int64)
    for phone, start, end in items:
        first, last = (int(np.ceil((time - WINDOW / 2) * rate - 1e-6)) for time in (start, end))
        found[max(first, 0) : max(last, 0)] = numbers.setdefault(phone, len(numbers))
    return found


def _blocks(source: Frames, cuts: Sequence[Spoken], nj: int, what: str) -> Iterator[npt.NDArray[np.float32]]:
    groups = [cuts[start : start + TOGETHER] for start in range(0, len(cuts), TOGETHER)]
    for block in progress(parallel_map(partial(_frames_of, source), groups, nj), len(groups), what):
        yield from block


def _labels(
    source: Frames, centres: Tensor, cuts: Sequence[Spoken], nj: int, name: str
) -> Iterator[npt.NDArray[np.int64]]:
    groups = [cuts[start : start + TOGETHER] for start in range(0, len(cuts), TOGETHER)]
    job = partial(_labels_of, source, centres)
    for block in progress(parallel_map(job, groups, nj), len(groups), f"labels of {name}, groups of {TOGETHER}"):
        yield from block


def _frames_of(source: Frames, cuts: Sequence[Spoken]) -> list[npt.NDArray[np.float32]]:
    return [_frames(source, each).numpy() for each in cuts]


def _labels_of(source: Frames, centres: Tensor, cuts: Sequence[Spoken]) -> list[npt.NDArray[np.int64]]:
    return [assign(_frames(source, each), centres)[0].numpy() for each in cuts]


def _frames(source: Frames, spoken: Spoken) -> Tensor:
    cut = spoken.cut
    rate = source.sampling_rate
    return source(torch.from_numpy(read_cut(cut, rate, 0, round(cut.duration * rate))))
