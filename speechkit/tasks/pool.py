"""Stored hidden states pooled into segments: what wav2vec-U's generator reads (Baevski et al. 2021, section 3.2).

Clusters and principal components are fitted on the training set, in one pass that keeps sums and an even sample. The
clusters of a small model change within phones too, so segments may come from the spectrum instead.
Frames of a set are pooled part by part, so that memory does not grow with it and a killed run goes on.
"""

import functools
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from speechkit.cluster.kmeans import KMeansConfig, Sample, assign, fit
from speechkit.cluster.merging import merged_segments
from speechkit.cluster.pca import Moments, Pca, check_size
from speechkit.cluster.pooling import Spans, pair_means, pair_spans, segment_means, segments
from speechkit.common.errors import SpeechkitError
from speechkit.common.files import atomic_path, read_json, write_json
from speechkit.common.progress import progress
from speechkit.common.seeds import derive
from speechkit.config.load import to_dict
from speechkit.data.alignments import Spoken, read_spoken
from speechkit.data.manifests import write_lines
from speechkit.data.parallel import parallel_map
from speechkit.data.parts import CUTS, Part, run_parts
from speechkit.data.shards import FeatureWriter, speaker_of_row
from speechkit.data.silence import SILENCE
from speechkit.data.waveforms import read_cut
from speechkit.features.cmvn import Cmvn, CmvnStats
from speechkit.tasks.sources import LogMelEnergies
from speechkit.train.checkpoint import load_tensors

log = logging.getLogger(__name__)
POOL, ORIGIN = "pool.safetensors", "pool.json"
STORAGE, SPANS, STATISTICS = ".lca", ".spans.jsonl.gz", ".cmvn.safetensors"
TOGETHER = 16  # utterances whose products are summed up at a time
SPECTRUM_SHIFT = 0.01  # seconds
TICK_POWER = -10  # values are rounded to multiples of 2 to the power of it
Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class PoolConfig:
    """What is pooled.

    Attributes:
        pca: principal components.
        clusters: of raw frames, from at most `max_points` of these, drawn evenly.
        boundaries: where the cluster changes, or where neighbouring frames of the spectrum were not merged: of log-mel
            energies, normalised over the utterance and of unit length, 100 a second.
        merge_cost: of the last merger, as of `merged_segments`.
        pairs: take means of each two neighbouring segments.
    """

    pca: int = 512
    clusters: int = 128
    max_points: int = 400_000
    boundaries: Literal["clusters", "spectrum"] = "clusters"
    merge_cost: float = 1.3
    pairs: bool = True

    def __post_init__(self) -> None:
        if self.pca < 1 or self.clusters < 2 or self.max_points < self.clusters:
            raise ValueError("pca must be at least 1, clusters at least 2, max_points no fewer than clusters")
        if self.merge_cost < 0:
            raise ValueError(f"merge_cost must not be negative, not {self.merge_cost:g}")


@dataclass(frozen=True)
class Kind:
    """What the frames of all sets have in common."""

    silence: str
    width: int
    frame_shift: float


@dataclass(frozen=True)
class Pooled:
    """What became of the frames of a set, in numbers."""

    seconds: float
    frames: int
    segments: int
    pooled: int

    def __str__(self) -> str:
        """One line."""
        rates = (count / max(self.seconds, 1e-9) for count in (self.frames, self.segments, self.pooled))
        return "{:.1f} frames a second, {:.1f} segments, {:.1f} pooled".format(*rates) + f", {self.pooled} in all"


def pool(data: Path, out: Path, config: PoolConfig, seed: int, nj: int, sets: Sequence[str]) -> dict[str, Pooled]:
    """Write pooled features `(S, pca)` of all `sets`, train among them, to `out`.

    They are stored as `speechkit features` stores them, with `cmvn.safetensors`; `pool.safetensors` has components and
    centres, `pool.json` their origin. `spans_<set>.jsonl.gz` says of each cut which `frames` (first, behind the last)
    of `shift` seconds each vector is of, and which `segments` (the same, and the cluster) these are made of.

    Raises:
        SpeechkitError: no training set, sets whose silence or features differ, more components than values, or too few
            frames.
    """
    if "train" not in sets:
        raise SpeechkitError(f"{data} has no cuts_train.jsonl.gz, on which clusters are fitted; correct --data")
    kind, frames = _inspected(data, sets)
    _fitted(data, out, config, seed, nj, kind, frames)
    work = Pooling(out, hashlib.sha256((out / POOL).read_bytes()).hexdigest(), config)
    found, table = {}, Cmvn()
    for name in sets:
        parts = run_parts(work, data / f"cuts_{name}.jsonl.gz", out / "storage" / name, nj, f"pooling of {name}")
        for stem in parts.stems:
            table.merge(Cmvn.load(stem.with_name(stem.name + STATISTICS)), overall=name == "train")
        parts.join(SPANS, out / f"spans_{name}.jsonl.gz")
        parts.join(CUTS, out / f"cuts_{name}.jsonl.gz")
        found[name] = Pooled(**{key: parts.total(key) for key in ("seconds", "frames", "segments", "pooled")})
    table.save(out / "cmvn.safetensors")
    return found


@dataclass(frozen=True)
class Pooling:
    """Pools the cuts of a part by what is in `folder`, whose `digest` stands for it."""

    folder: Path
    digest: str
    config: PoolConfig

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Of the files of a part."""
        return STORAGE, CUTS, SPANS, STATISTICS

    def settings(self) -> Any:
        """All that pooled features depend on."""
        return [self.digest, to_dict(self.config), TICK_POWER]

    def __call__(self, part: Part) -> dict[str, Any]:
        """Write features, cuts, spans and statistics."""
        torch.set_num_threads(1)
        pca, centres = _read_pool(self.folder, self.digest)
        table, rows, places = Cmvn(), [], []
        figures = {"seconds": 0.0, "frames": 0, "segments": 0, "pooled": 0}
        with atomic_path(part.path(STORAGE)) as storage, FeatureWriter(storage, tick_power=TICK_POWER) as writer:
            for row in part.rows():
                found = self.segmented(Spoken(row), centres)
                spans, vectors = pooled(found.frames, found.segments, pca, self.config.pairs)
                table.add(speaker_of_row(row), CmvnStats.of(vectors))
                row["features"] = writer.store(
                    row, vectors, part.path(STORAGE), "pooled", row["duration"] / len(vectors)
                )
                rows.append(row)
                named = np.column_stack([found.segments, found.clusters])
                place = {"id": row["id"], "shift": found.shift, "frames": spans.tolist(), "segments": named.tolist()}
                places.append(place)
                counts = (row["duration"], len(found.frames), len(found.segments), len(spans))
                figures = {name: figures[name] + count for name, count in zip(figures, counts, strict=True)}
        table.save(part.path(STATISTICS))
        write_lines(part.path(SPANS), places)
        write_lines(part.path(CUTS), rows)
        return figures

    def segmented(self, spoken: Spoken, centres: Tensor) -> "Segmented":
        """The stored frames of a cut with segments of one kind or the other."""
        frames, shift = spoken.features(), float(spoken.row["features"]["frame_shift"])
        if self.config.boundaries == "clusters":
            labels = assign(frames, centres)[0].numpy()
            parts = segments(labels)
            return Segmented(frames, shift, parts, labels[parts[:, 0]])
        energies = _spectrum(spoken)
        times = (torch.arange(len(energies)) + 0.5) * SPECTRUM_SHIFT
        frames = frames[(times / shift).long().clamp(max=len(frames) - 1)]
        parts = merged_segments(torch.nn.functional.normalize(energies, dim=1), self.config.merge_cost)
        return Segmented(frames, SPECTRUM_SHIFT, parts, assign(segment_means(frames, parts), centres)[0].numpy())


@dataclass(frozen=True)
class Segmented:
    """Frames `(T, D)`, `shift` seconds each, with `segments (R, 2)` of them and the cluster `(R,)` of each."""

    frames: Tensor
    shift: float
    segments: Spans
    clusters: npt.NDArray[np.int64]


def _spectrum(spoken: Spoken) -> Tensor:
    """Log-mel energies of all of a cut: frame t is of the time from t to t + 1 shifts.

    A window's middle is 12.5 ms behind the beginning of its frame, hence one more frame in front.
    """
    source = LogMelEnergies(normalise=True)
    samples = read_cut(spoken.cut, source.sampling_rate, 0, round(spoken.duration * source.sampling_rate))
    (energies,) = source([torch.from_numpy(samples)])
    if not len(energies):
        raise SpeechkitError(f"cut {spoken.id} is shorter than a frame of the spectrum; leave it out")
    behind = max(0, round(spoken.duration / SPECTRUM_SHIFT) - len(energies) - 1)
    return torch.cat([energies[:1], energies, energies[-1:].expand(behind, -1)])


def pooled(frames: Tensor, parts: Spans, pca: Pca, pairs: bool) -> tuple[Spans, Tensor]:
    """Spans `(S, 2)` of the vectors `(S, K)` that segments `parts (R, 2)` of `frames (T, D)` are pooled into; the mean
    of components is that of frames along them."""
    vectors = pca(segment_means(frames, parts))
    return (pair_spans(parts), pair_means(vectors)) if pairs else (parts, vectors)


def _inspected(data: Path, sets: Sequence[str]) -> tuple[Kind, int]:
    """What the cuts of all sets are, and the number of frames of the training set."""
    known: Kind | None = None
    frames = 0
    for name in sets:
        path = data / f"cuts_{name}.jsonl.gz"
        for cut in read_spoken(path):
            silence = (cut.row.get("custom") or {}).get(SILENCE)
            if silence is None:
                raise SpeechkitError(
                    f"cut {cut.id} of {path} does not say how silence was treated; make the features of what "
                    "`speechkit silence` writes, with --detector none to keep silence"
                )
            features = cut.row.get("features")
            if not features:
                raise SpeechkitError(f"cut {cut.id} of {path} has no features; run `speechkit features --checkpoint`")
            kind = Kind(silence, features["num_features"], features["frame_shift"])
            known = known or kind
            if kind != known:
                raise SpeechkitError(
                    f"cut {cut.id} of {path} has {_words(kind)}, others have {_words(known)}; run `speechkit silence` "
                    "and `speechkit features` on all sets together"
                )
            frames += features["num_frames"] if name == "train" else 0
    if known is None or frames == 0:
        raise SpeechkitError(f"{data / 'cuts_train.jsonl.gz'} holds no frame; run the stage that makes it again")
    return known, frames


def _words(kind: Kind) -> str:
    return f"{kind.width} values every {kind.frame_shift:g} s with silence '{kind.silence}'"


def _fitted(data: Path, out: Path, config: PoolConfig, seed: int, nj: int, kind: Kind, frames: int) -> None:
    """Write components and centres, unless they are there."""
    manifest = data / "cuts_train.jsonl.gz"
    origin = {
        "features": hashlib.sha256(manifest.read_bytes()).hexdigest(),
        "silence": kind.silence,
        "frame_shift": kind.frame_shift,
        "config": {name: getattr(config, name) for name in ("pca", "clusters", "max_points")},
        "seed": seed,
    }
    if (out / ORIGIN).exists() and (out / POOL).exists() and read_json(out / ORIGIN)["origin"] == origin:
        log.info("components and clusters are there already")
        return
    check_size(config.pca, kind.width)
    generator = torch.Generator().manual_seed(derive(seed, "pool") % 2**63)
    moments, points = _summed(manifest, config.max_points, seed, nj, frames, generator)
    pca = Pca.of(moments, config.pca)
    log.info("%d of %d components have %.2f %% of the variance", config.pca, kind.width, 100 * pca.explained)
    log.info("clustering %d frames of %d values into %d", *points.shape, config.clusters)
    centres = fit(points, KMeansConfig(clusters=config.clusters, max_points=config.max_points), generator)
    _save_pool(out / POOL, pca, centres)
    write_json(out / ORIGIN, {"origin": origin, "explained": pca.explained, "training_frames": frames})


def _summed(
    manifest: Path, size: int, seed: int, nj: int, frames: int, generator: torch.Generator
) -> tuple[Moments, Tensor]:
    """Moments of all frames of a manifest, and a sample of at most `size` of them."""
    cuts = read_spoken(manifest)
    groups = iter(lambda: list(islice(cuts, TOGETHER)), [])
    count = sum(1 for _ in read_spoken(manifest))
    found = parallel_map(partial(_summed_group, min(1.0, size / frames), seed), groups, nj)
    sample = Sample(min(size, frames), generator)
    moments: Moments | None = None
    for number, total, products, chosen in progress(found, -(-count // TOGETHER), f"frames, groups of {TOGETHER}"):
        part = Moments(number, torch.from_numpy(total), torch.from_numpy(products))
        moments = part if moments is None else moments + part
        sample.add(torch.from_numpy(chosen))
    assert moments is not None
    return moments, sample.points()


def _summed_group(share: float, seed: int, cuts: Sequence[Spoken]) -> tuple[int, Array, Array, Array]:
    """Moments of some cuts, and a share of their frames, drawn by the names of the cuts."""
    frames = [cut.features() for cut in cuts]
    every = torch.cat(frames)
    named = zip(cuts, frames, strict=True)
    draws = [np.random.default_rng(derive(seed, "pool", cut.id)).random(len(each)) for cut, each in named]
    moments = Moments.of(every)
    chosen = every[torch.from_numpy(np.concatenate(draws) < share)]
    return moments.count, moments.total.numpy(), moments.products.numpy(), chosen.numpy()


def _save_pool(path: Path, pca: Pca, centres: Tensor) -> None:
    from safetensors.torch import save_file

    with atomic_path(path) as temporary:
        save_file({"mean": pca.mean, "components": pca.components, "centres": centres.contiguous()}, temporary)


@functools.lru_cache(maxsize=1)
def _read_pool(folder: Path, digest: str) -> tuple[Pca, Tensor]:
    """Components and centres in this process; the digest tells them from earlier ones."""
    tensors = load_tensors(folder / POOL)
    return Pca(tensors["mean"], tensors["components"], read_json(folder / ORIGIN)["explained"]), tensors["centres"]
