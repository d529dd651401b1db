"""Stored hidden states pooled into segments: what wav2vec-U's generator reads (Baevski et al. 2021, section 3.2).

Clusters and principal components are fitted on the training set, in one pass that keeps sums and an even sample.
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
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from speechkit.cluster.kmeans import KMeansConfig, Sample, assign, fit
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
from speechkit.features.cmvn import Cmvn, CmvnStats
from speechkit.train.checkpoint import load_tensors

log = logging.getLogger(__name__)
POOL, ORIGIN = "pool.safetensors", "pool.json"
STORAGE, SPANS, STATISTICS = ".lca", ".spans.jsonl.gz", ".cmvn.safetensors"
TOGETHER = 16  # utterances whose products are summed up at a time
TICK_POWER = -10  # values are rounded to multiples of 2 to the power of it
Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class PoolConfig:
    """`pca` components, `clusters` of raw frames whose changes are boundaries, from at most `max_points` frames drawn
    evenly, and with `pairs` means of each two neighbouring segments."""

    pca: int = 512
    clusters: int = 128
    max_points: int = 400_000
    pairs: bool = True

    def __post_init__(self) -> None:
        if self.pca < 1 or self.clusters < 2 or self.max_points < self.clusters:
            raise ValueError("pca must be at least 1, clusters at least 2, max_points no fewer than clusters")


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
    each vector is of, and which `segments` (the same, and the cluster) these are made of.

    Raises:
        SpeechkitError: no training set, sets whose silence or features differ, more components than values, or too few
            frames.
    """
    if "train" not in sets:
        raise SpeechkitError(f"{data} has no cuts_train.jsonl.gz, on which clusters are fitted; correct --data")
    kind, frames = _inspected(data, sets)
    _fitted(data, out, config, seed, nj, kind, frames)
    work = Pooling(out, hashlib.sha256((out / POOL).read_bytes()).hexdigest(), config.pairs)
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
    pairs: bool

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Of the files of a part."""
        return STORAGE, CUTS, SPANS, STATISTICS

    def settings(self) -> Any:
        """All that pooled features depend on."""
        return [self.digest, self.pairs, TICK_POWER]

    def __call__(self, part: Part) -> dict[str, Any]:
        """Write features, cuts, spans and statistics."""
        torch.set_num_threads(1)
        pca, centres = _read_pool(self.folder, self.digest)
        table, rows, places = Cmvn(), [], []
        figures = {"seconds": 0.0, "frames": 0, "segments": 0, "pooled": 0}
        with atomic_path(part.path(STORAGE)) as storage, FeatureWriter(storage, tick_power=TICK_POWER) as writer:
            for row in part.rows():
                frames = Spoken(row).features()
                labels = assign(frames, centres)[0].numpy()
                parts, spans, vectors = pooled(frames, labels, pca, self.pairs)
                table.add(speaker_of_row(row), CmvnStats.of(vectors))
                shift = row["duration"] / len(vectors)
                row["features"] = writer.store(row, vectors, part.path(STORAGE), "pooled", shift)
                rows.append(row)
                named = np.column_stack([parts, labels[parts[:, 0]]])
                places.append({"id": row["id"], "frames": spans.tolist(), "segments": named.tolist()})
                counts = (row["duration"], len(frames), len(parts), len(spans))
                figures = {name: figures[name] + count for name, count in zip(figures, counts, strict=True)}
        table.save(part.path(STATISTICS))
        write_lines(part.path(SPANS), places)
        write_lines(part.path(CUTS), rows)
        return figures


def pooled(frames: Tensor, labels: npt.NDArray[np.integer], pca: Pca, pairs: bool) -> tuple[Spans, Spans, Tensor]:
    """Segments `(R, 2)` of `frames (T, D)` with cluster `labels (T,)`, and the spans `(S, 2)` of the vectors `(S, K)`
    that they are pooled into; the mean of components is that of frames along them."""
    parts = segments(labels)
    vectors = pca(segment_means(frames, parts))
    return (parts, pair_spans(parts), pair_means(vectors)) if pairs else (parts, parts, vectors)


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
        "config": to_dict(config),
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
