"""Feature extraction: shards of cuts, each computed by one process and either whole or absent.

A shard leaves its features, its cuts, its normalisation statistics and, last, a mark with a hash of
what went in. A rerun skips shards whose mark still fits. Shards do not depend on the number of
processes, so neither does anything written.

Features are kept in Lhotse's `lilcom_chunky` storage: values are rounded to multiples of 2^-5, an error of at most
0.0157 and 0.009 root mean square (measured on log energies), in about 1.3 bytes per value. For the pitch
columns that is at most 0.8 % of the pitch, of which the tracker's own steps are half a per cent, and a fifth of the
noise on its delta.
"""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from lhotse import Features, MonoCut
from lhotse.features.compression import lilcom_compress_chunked
from lhotse.features.io import LilcomChunkyWriter
from numpy.typing import NDArray
from torch import Tensor

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import atomic_path, read_json, require_file, write_json
from speechkit.common.progress import progress
from speechkit.config.load import to_dict
from speechkit.data.adoption import ALL
from speechkit.data.alignments import WITH_PITCH
from speechkit.data.audio import read_part
from speechkit.data.distortion import change_speed
from speechkit.data.manifests import SPLITS, Problem, read_lines, write_lines, write_problems
from speechkit.data.parallel import parallel_map
from speechkit.features.cmvn import Cmvn, CmvnStats
from speechkit.features.fbank import Fbank, FbankConfig
from speechkit.features.pitch import Pitch
from speechkit.features.pitch_config import PitchConfig

log = logging.getLogger(__name__)
LAYOUT = 1  # raise it when a shard's files change, so that old shards are not taken for finished
SHARDS_PER_SPLIT = 64
FEWEST_CUTS, MOST_CUTS = 50, 2000
COPIED = ("train", ALL)  # splits with speed copies and dither, over which the global statistics are
LENGTH_TOLERANCE = 2  # frames by which parts may differ in length, as in Kaldi's paste-feats
SHARD_FILES = (".lca", ".jsonl.gz", ".cmvn.safetensors", ".json")


@dataclass(frozen=True)
class FeaturesConfig:
    """Features of one data set: parts that are joined along the feature axis, and the copies of the training set.

    `pitch` adds voicing, log pitch and its slope behind the log-mel energies; there is none where it is left out.
    `speeds` other than 1 add copies of the training set at that speed, with ids and speakers `sp<speed>-...`.
    """

    fbank: FbankConfig = field(default_factory=FbankConfig)
    pitch: PitchConfig | None = None
    speeds: tuple[float, ...] = (1.0,)

    @property
    def num_features(self) -> int:
        """Columns of the features."""
        return self.fbank.num_bins + (self.pitch.num_features if self.pitch else 0)

    def __post_init__(self) -> None:
        if self.pitch and self.pitch.sample_frequency != self.fbank.sampling_rate:
            raise ValueError("pitch.sample_frequency must be fbank.sampling_rate")
        if self.pitch and self.pitch.frame_shift != self.fbank.frame_shift_ms:
            raise ValueError("pitch.frame_shift must be fbank.frame_shift_ms")
        distinct = set(self.speeds)
        if not distinct or len(distinct) < len(self.speeds) or not all(0.5 <= speed <= 2 for speed in distinct):
            raise ValueError("speeds must be different numbers between 0.5 and 2")


class Extractor:
    """Computes every part of the configuration for one waveform and joins them."""

    def __init__(self, config: FeaturesConfig) -> None:
        self.config = config
        self._parts = [Fbank(config.fbank).extract]
        if config.pitch:
            self._parts.append(Pitch(config.pitch).extract)

    @property
    def random(self) -> bool:
        """Whether the features depend on a generator."""
        return bool(self.config.fbank.dither or (self.config.pitch and self.config.pitch.delta_pitch_noise_stddev))

    def __call__(self, waveform: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Features `(T, C)` of a waveform `(S,)` in [-1, 1]; T is 0 where it is shorter than one window.

        Raises:
            SpeechkitError: the parts differ in length by more than `LENGTH_TOLERANCE` frames.
        """
        parts = [extract(waveform, generator) for extract in self._parts]
        lengths = [len(part) for part in parts]
        if max(lengths) - min(lengths) > LENGTH_TOLERANCE and min(lengths):
            raise SpeechkitError(
                f"fbank has {lengths[0]} frames where pitch has {lengths[1]}; set pitch.snip_edges true, pitch.delay 0 "
                "and one frame length for both"
            )
        return torch.cat([part[: min(lengths)] for part in parts], dim=1)


@dataclass(frozen=True)
class Shard:
    """A run of cuts at one speed; `lines` are their manifest lines, `stem` is where results go, without suffix."""

    split: str
    stem: Path
    lines: tuple[str, ...]
    speed: float
    config: FeaturesConfig
    seed: int

    @property
    def hash(self) -> str:
        """Identifies everything that the result depends on."""
        settings = [LAYOUT, str(self.stem), self.speed, self.seed, to_dict(self.config.fbank)]
        if self.config.pitch:
            settings.append(to_dict(self.config.pitch))
        text = json.dumps(settings) + "".join(self.lines)
        return hashlib.sha256(text.encode()).hexdigest()

    def path(self, suffix: str) -> Path:
        """The result file with this suffix."""
        return _result_file(self.stem, suffix)


@dataclass
class ShardResult:
    """What a finished shard holds: the ids that it was to hold, and those of them that were left out."""

    stem: Path
    ids: list[str]
    problems: list[Problem]
    audio_seconds: float
    computed: bool

    def path(self, suffix: str) -> Path:
        """The result file with this suffix."""
        return _result_file(self.stem, suffix)


def _result_file(stem: Path, suffix: str) -> Path:
    return stem.with_name(stem.name + suffix)


def extract(
    cuts: Path, out: Path, config: FeaturesConfig, seed: int, nj: int, splits: Sequence[str] = SPLITS
) -> dict[str, list[Problem]]:
    """Extract features of the `splits` in folder `cuts` and write cuts, statistics and `report.jsonl` to `out`.

    Returns the utterances left out, by split: those shorter than one window.

    Raises:
        SpeechkitError: a cut is lost or stands twice, or audio has changed since its validation.
    """
    start, audio, computed = time.monotonic(), 0.0, 0.0
    left_out, table = {}, Cmvn()
    for split in splits:
        require_file(cuts / f"cuts_{split}.jsonl.gz", "run `speechkit validate`, or correct --in")
    for split in splits:
        manifest = cuts / f"cuts_{split}.jsonl.gz"
        plan = config if split in COPIED else replace(config, speeds=(1.0,), fbank=replace(config.fbank, dither=0.0))
        size, total = _shard_sizes(manifest, plan)
        shards = _shards(split, manifest, out, plan, seed, size)
        results = list(progress(parallel_map(run_shard, shards, nj), total, f"features of {split}"))
        left_out[split] = _merge(split, results, out, table)
        audio += sum(result.audio_seconds for result in results)
        computed += sum(result.audio_seconds for result in results if result.computed)
    table.save(out / "cmvn.safetensors")
    write_problems(out / "report.jsonl", (problem for problems in left_out.values() for problem in problems))
    elapsed = time.monotonic() - start
    log.info("%.2f hours of audio, %.2f of them computed now, in %.1f s", audio / 3600, computed / 3600, elapsed)
    if computed:
        log.info("real-time factor %.5f with %d processes", elapsed / computed, nj)
    return left_out


def _shard_sizes(manifest: Path, config: FeaturesConfig) -> tuple[int, int]:
    """Cuts in a shard, and number of shards."""
    cuts = sum(1 for _ in read_lines(manifest))
    if cuts == 0:
        raise SpeechkitError(f"{manifest} holds no cut; run `speechkit validate` again")
    size = min(max(-(-cuts // SHARDS_PER_SPLIT), FEWEST_CUTS), MOST_CUTS)
    return size, -(-cuts // size) * len(config.speeds)


def _shards(split: str, manifest: Path, out: Path, config: FeaturesConfig, seed: int, size: int) -> Iterator[Shard]:
    for speed in config.speeds:
        lines = (json.dumps(row, ensure_ascii=False) for row in read_lines(manifest))
        for number in count():
            part = tuple(islice(lines, size))
            if not part:
                break
            yield Shard(split, out / "storage" / split / f"{_prefix(speed)}{number:04d}", part, speed, config, seed)


def _prefix(speed: float) -> str:
    return "" if speed == 1 else f"sp{speed:g}-"


def run_shard(shard: Shard) -> ShardResult:
    """Compute a shard unless its mark says that it is there."""
    torch.set_num_threads(1)
    mark = shard.path(".json")
    if mark.exists() and (done := _finished(shard, mark)):
        return done
    mark.unlink(missing_ok=True)
    table, rows, ids, problems = Cmvn(), [], [], []
    with atomic_path(shard.path(".lca")) as storage, _Writer(storage) as writer:
        for row, features in _features_of(shard):
            ids.append(row["id"])
            if len(features) == 0:
                problems.append(_too_short(shard, row))
                continue
            table.add(_speaker(row), CmvnStats.of(features))
            row["features"] = _store(row, features, writer, shard).to_dict()
            rows.append(row)
    table.save(shard.path(".cmvn.safetensors"))
    write_lines(shard.path(".jsonl.gz"), rows)
    seconds = sum(row["duration"] for row in rows)
    bad = [vars(problem) for problem in problems]
    write_json(mark, {"hash": shard.hash, "ids": ids, "problems": bad, "audio_seconds": seconds})
    return ShardResult(shard.stem, ids, problems, seconds, computed=True)


def _finished(shard: Shard, mark: Path) -> ShardResult | None:
    content = read_json(mark)
    whole = all(shard.path(suffix).exists() for suffix in SHARD_FILES)
    if content["hash"] != shard.hash or not whole:
        return None
    problems = [Problem(**row) for row in content["problems"]]
    return ShardResult(shard.stem, content["ids"], problems, content["audio_seconds"], computed=False)


def _features_of(shard: Shard) -> Iterator[tuple[dict[str, Any], Tensor]]:
    """Rows of the manifest, which are cheaper than Lhotse's objects, with the features of each."""
    extractor, fbank = Extractor(shard.config), shard.config.fbank
    for line in shard.lines:
        row = json.loads(line)
        samples = _samples(row, fbank.sampling_rate)
        if shard.speed != 1:
            row = _perturbed(row, shard.speed)
            samples = change_speed(samples, shard.speed, round(row["duration"] * fbank.sampling_rate))
        generator = torch.Generator().manual_seed(_seed_of(row["id"], shard.seed)) if extractor.random else None
        yield row, extractor(torch.from_numpy(samples), generator)


def _speaker(row: dict[str, Any]) -> str:
    """Whom the statistics of a cut belong to: its recording where nobody is named."""
    names = [supervision.get("speaker") for supervision in row["supervisions"]]
    return str(next(filter(None, names), row["recording"]["id"]))


def _audio_file(row: dict[str, Any]) -> str:
    return str(row["recording"]["sources"][0]["source"])


def _samples(row: dict[str, Any], rate: int) -> NDArray[np.float32]:
    found = row["recording"]["sampling_rate"]
    if found != rate:
        raise SpeechkitError(f"{row['id']} has {found} Hz but the features are configured for {rate} Hz")
    return read_part(Path(_audio_file(row)), rate, round(row["start"] * rate), round(row["duration"] * rate))


def _perturbed(row: dict[str, Any], speed: float) -> dict[str, Any]:
    """The cut with times, ids and speaker of its copy at `speed`."""
    prefix = _prefix(speed)
    copy = MonoCut.from_dict({key: value for key, value in row.items() if key != "type"}).perturb_speed(speed, False)
    copy.id = prefix + copy.id
    copy.recording.id = prefix + copy.recording.id
    for supervision in copy.supervisions:
        supervision.id = prefix + supervision.id
        supervision.recording_id = copy.recording.id
        supervision.speaker = prefix + str(supervision.speaker)
    changed: dict[str, Any] = copy.to_dict()
    return changed


def _seed_of(name: str, seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:8], "little") >> 1


def _too_short(shard: Shard, row: dict[str, Any]) -> Problem:
    needed = shard.config.fbank.frame_length_ms / 1000
    reason = f"too short: {row['duration']:.3f} s, one analysis window is {needed:.3f} s"
    return Problem(shard.split, row["id"], _audio_file(row), reason)


class _Writer(LilcomChunkyWriter):  # type: ignore[misc]
    """Lhotse's writer without linear prediction, which costs a fifth of the time and saves a twentieth of the space."""

    curr_offset: int

    def write(self, key: str, value: NDArray[np.float32]) -> str:
        """Append an array, which is rounded in place; return the offsets that Lhotse's reader takes as key."""
        pieces = lilcom_compress_chunked(
            value, tick_power=self.tick_power, do_regression=False, chunk_size=self.CHUNK_SIZE
        )
        offsets = [self.curr_offset, *map(len, pieces)]
        self.file.writelines(pieces)
        self.curr_offset = sum(offsets)
        return ",".join(map(str, offsets))


def _store(row: dict[str, Any], features: Tensor, writer: _Writer, shard: Shard) -> Features:
    """Write features and describe where they will be after the storage file has got its final name."""
    fbank = shard.config.fbank
    return Features(
        type=WITH_PITCH if shard.config.pitch else "fbank",
        num_frames=features.shape[0],
        num_features=features.shape[1],
        frame_shift=fbank.frame_shift / fbank.sampling_rate,
        sampling_rate=fbank.sampling_rate,
        start=row["start"],
        duration=row["duration"],
        storage_type=writer.name,
        storage_path=str(shard.path(".lca")),
        storage_key=writer.write(row["id"], features.numpy()),
        recording_id=row["recording"]["id"],
        channels=0,
    )


def _merge(split: str, results: Sequence[ShardResult], out: Path, table: Cmvn) -> list[Problem]:
    """Join the shards' cuts and statistics, after checking that every cut is there once."""
    seen: set[str] = set()
    for result in results:
        dropped = {problem.id for problem in result.problems}
        written = [row["id"] for row in read_lines(result.path(".jsonl.gz"))]
        if written != [name for name in result.ids if name not in dropped]:
            raise SpeechkitError(
                f"features of {split}: {result.stem} lost cuts; delete {out / 'storage'} and run again"
            )
        for name in result.ids:
            if name in seen:
                raise SpeechkitError(
                    f"features of {split}: cut {name} stands twice in the manifest; run `speechkit validate` again"
                )
            seen.add(name)
    parts = [result.path(".jsonl.gz") for result in results]
    with atomic_path(out / f"cuts_{split}.jsonl.gz") as temporary, temporary.open("wb") as joined:
        _join(parts, joined)  # gzip files one after the other are a gzip file
    _sweep(out / "storage" / split, parts)
    for result in results:
        part = Cmvn.load(result.path(".cmvn.safetensors"))
        table.merge(part)
        if split in COPIED:
            for stats in part.speakers.values():
                table.overall = stats if table.overall is None else table.overall + stats
    return [problem for result in results for problem in result.problems]


def _sweep(folder: Path, kept: Sequence[Path]) -> None:
    """Delete what killed runs and other settings have left beside the shards in use."""
    names = {path.name.removesuffix(".jsonl.gz") + suffix for path in kept for suffix in SHARD_FILES}
    for path in folder.iterdir():
        if path.name not in names:
            path.unlink()


def _join(parts: Sequence[Path], joined: BinaryIO) -> None:
    for part in parts:
        with part.open("rb") as stream:
            shutil.copyfileobj(stream, joined)
