"""Frame labels for HuBERT: k-means on cepstra or on a layer of a model, fitted on the training set, for all sets.

Frames are computed when they are needed and never written: once for the sample that is clustered, once for the labels.
Memory holds the sample and a few utterances, whatever the size of a set.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from speechkit.cluster.kmeans import KMeansConfig, assign, fit, sampled
from speechkit.cluster.quality import Quality, Tally
from speechkit.common.errors import SpeechkitError
from speechkit.common.files import write_json
from speechkit.common.seeds import derive
from speechkit.data.alignments import Spoken, read_spoken
from speechkit.data.labels import LabelWriter
from speechkit.tasks.frame_stream import Waveforms, frames_of, map_waveforms, phone_spans
from speechkit.tasks.sources import Frames
from speechkit.train.checkpoint import save_folder

log = logging.getLogger(__name__)
CENTRES = "centres.safetensors"


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """`kmeans` on a `share` of the training utterances (the paper takes a tenth of LibriSpeech).

    Columns are cut into so many equal `groups`, each clustered by itself (product quantisation, HuBERT section V-D);
    of cepstra, `normalise` gives each column of an utterance zero mean and unit variance, and `splice` joins so many
    frames, before that.
    """

    kmeans: KMeansConfig = field(default_factory=KMeansConfig)
    share: float = 1.0
    normalise: bool = False
    splice: int = 1
    groups: int = 1

    def __post_init__(self) -> None:
        if self.groups < 1 or not 0 < self.share <= 1:
            raise ValueError("groups must be at least 1, share more than 0 and at most 1")


@dataclass(frozen=True)
class Codebook:
    """Centres `(K, D)` of one group of columns, and where its labels go."""

    folder: Path
    columns: slice
    centres: Tensor
    origin: Mapping[str, Any]

    def label(self, frames: Tensor) -> npt.NDArray[np.int64]:
        """The cluster `(T,)` of each of `frames (T, D)`, all columns."""
        return assign(frames[:, self.columns], self.centres.to(frames.device))[0].cpu().numpy()


def make_labels(
    source: Frames,
    data: Path,
    out: Path,
    config: ClusterConfig,
    seed: int,
    nj: int,
    sets: Sequence[str],
    device: torch.device | None = None,
) -> list[dict[str, Quality]]:
    """Fit clusters on `cuts_train.jsonl.gz` of `data`, and write labels of all sets to `out`.

    With several groups of columns each has a folder of its own, `out/0` and so on. Clusters are fitted on `device`,
    that of the source where None.

    Returns:
        For each group and each set how the clusters are used and, with phone alignments, what they say about phones.
    """
    codebooks = _fitted(source, data, out, config, seed, nj, device or source.device)
    found: list[dict[str, Quality]] = [{} for _ in codebooks]
    for name in sets:
        for number, figures in enumerate(_label_set(source, codebooks, data, name, nj)):
            found[number][name] = figures
    for codebook, each in zip(codebooks, found, strict=True):
        write_json(codebook.folder / "quality.json", {name: asdict(figures) for name, figures in each.items()})
    return found


def _fitted(
    source: Frames, data: Path, out: Path, config: ClusterConfig, seed: int, nj: int, device: torch.device
) -> list[Codebook]:
    """Clusters of every group, written to their folders."""
    chosen = partial(_chosen, data, config.share, seed)
    count = sum(1 for _ in chosen())
    generator = torch.Generator().manual_seed(derive(seed, "clusters") % 2**63)
    blocks = map_waveforms(partial(frames_of, source), source, chosen(), nj, count, f"frames of {count} utterances")
    points = sampled((torch.from_numpy(block) for block in blocks), config.kmeans, generator)
    width, beyond = divmod(points.shape[1], config.groups)
    if beyond:
        raise SpeechkitError(f"frames of {points.shape[1]} values cannot be cut into {config.groups} equal groups")
    codebooks = []
    for group in range(config.groups):
        columns = slice(group * width, (group + 1) * width)
        part = points[:, columns].to(device).contiguous()
        log.info("clustering %d frames of %d values into %d", *part.shape, config.kmeans.clusters)
        centres = fit(part, config.kmeans, generator)
        inertia = float(assign(part, centres)[1].mean())
        log.info("mean squared distance %.4f", inertia)
        origin = {**source.origin, "clusters": config.kmeans.clusters, "frame_rate": source.frame_rate, "seed": seed}
        if config.groups > 1:
            origin |= {"group": group, "groups": config.groups}
        folder = out / str(group) if config.groups > 1 else out
        save_folder(folder / "kmeans", {CENTRES: {"centres": centres}}, {"kmeans.json": {**origin, "inertia": inertia}})
        codebooks.append(Codebook(folder, columns, centres.cpu(), origin))
    return codebooks


def _chosen(data: Path, share: float, seed: int) -> Iterator[Spoken]:
    """The training utterances that clusters are fitted on."""
    cuts = read_spoken(data / "cuts_train.jsonl.gz")
    return (each for each in cuts if derive(seed, "share", each.id) / 2**63 < share)


def _label_set(source: Frames, codebooks: Sequence[Codebook], data: Path, name: str, nj: int) -> list[Quality]:
    """Write the labels of one set by every group."""
    manifest = data / f"cuts_{name}.jsonl.gz"
    count = sum(1 for _ in read_spoken(manifest))
    job = partial(_labels_of, source, codebooks)
    labels = map_waveforms(job, source, read_spoken(manifest), nj, count, f"labels of {name}")
    tallies = [Tally(len(codebook.centres)) for codebook in codebooks]
    with ExitStack() as stack:
        writers = []
        for codebook in codebooks:
            names = [str(number) for number in range(len(codebook.centres))]
            writer = LabelWriter(codebook.folder, name, source.frame_rate, names, codebook.origin)
            writers.append(stack.enter_context(writer))
        for cut, by_group in zip(read_spoken(manifest), labels, strict=True):
            phones = phone_spans(cut, source)
            for writer, tally, each in zip(writers, tallies, by_group, strict=True):
                writer.add(cut.id, each)
                tally.add(each, phones)
    return [tally.quality() for tally in tallies]


def _labels_of(
    source: Frames, codebooks: Sequence[Codebook], waveforms: Waveforms
) -> list[list[npt.NDArray[np.int64]]]:
    found = source([torch.from_numpy(each) for each in waveforms])
    return [[codebook.label(frames) for codebook in codebooks] for frames in found]
