"""Shards of feature extraction: runs of cuts, each computed by one process and either whole or absent.

A shard leaves its features, its cuts, its normalisation statistics and, last, a mark with a hash of what went in. A
rerun skips shards whose mark still fits.

Features are kept in Lhotse's `lilcom_chunky` storage, whose values are rounded to multiples of 2^tick_power.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from lhotse import Features, MonoCut
from lhotse.features.compression import lilcom_compress_chunked
from lhotse.features.io import LilcomChunkyWriter
from numpy.typing import NDArray
from torch import Tensor

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import atomic_path, read_json, write_json
from speechkit.data.audio import read_part
from speechkit.data.distortion import change_speed
from speechkit.data.manifests import Problem, write_lines
from speechkit.features.cmvn import Cmvn, CmvnStats

LAYOUT = 1  # raise it when a shard's files change, so that old shards are not taken for finished
SHARD_FILES = (".lca", ".jsonl.gz", ".cmvn.safetensors", ".json")
Extract = Callable[[str, Tensor, torch.Generator | None], Tensor]
"""Features `(T, C)` of the cut with an id and its waveform `(S,)` in [-1, 1], noise from a generator; T is 0 for less
than one window."""


class Source(Protocol):
    """What features are: settings, which are sent to processes and make an extractor there.

    Attributes:
        kind: type of the features in manifests.
        sampling_rate: of the audio, in Hz.
        window, frame_shift: of a frame, in seconds.
        speeds: of the copies of the training set.
        tick_power: values are rounded to multiples of 2 to the power of it.
    """

    @property
    def speeds(self) -> tuple[float, ...]: ...
    @property
    def kind(self) -> str: ...
    @property
    def sampling_rate(self) -> int: ...
    @property
    def window(self) -> float: ...
    @property
    def frame_shift(self) -> float: ...
    @property
    def tick_power(self) -> int: ...

    def settings(self) -> list[Any]:
        """All that the features of an utterance depend on, as JSON has it."""
        ...

    def plain(self) -> "Source":
        """The same without what is for training alone."""
        ...

    def extractor(self) -> Extract:
        """What computes them."""
        ...


@dataclass(frozen=True)
class Shard:
    """A run of cuts at one speed; `lines` are their manifest lines, `stem` is where results go, without suffix."""

    split: str
    stem: Path
    lines: tuple[str, ...]
    speed: float
    source: Source
    seed: int

    @property
    def hash(self) -> str:
        """Identifies everything that the result depends on."""
        settings = [LAYOUT, str(self.stem), self.speed, self.seed, *self.source.settings()]
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


def speed_prefix(speed: float) -> str:
    """What ids of copies at a speed begin with."""
    return "" if speed == 1 else f"sp{speed:g}-"


def run_shard(shard: Shard) -> ShardResult:
    """Compute a shard unless its mark says that it is there."""
    torch.set_num_threads(1)
    mark = shard.path(".json")
    if mark.exists() and (done := _finished(shard, mark)):
        return done
    mark.unlink(missing_ok=True)
    source = shard.source
    table, rows, ids, problems = Cmvn(), [], [], []
    with atomic_path(shard.path(".lca")) as storage, FeatureWriter(storage, tick_power=source.tick_power) as writer:
        for row, features in _features_of(shard):
            ids.append(row["id"])
            if len(features) == 0:
                problems.append(_too_short(shard, row))
                continue
            table.add(speaker_of_row(row), CmvnStats.of(features))
            row["features"] = writer.store(row, features, shard.path(".lca"), source.kind, source.frame_shift)
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
    extract, rate = shard.source.extractor(), shard.source.sampling_rate
    for line in shard.lines:
        row = json.loads(line)
        samples = _samples(row, rate)
        if shard.speed != 1:
            row = _perturbed(row, shard.speed)
            samples = change_speed(samples, shard.speed, round(row["duration"] * rate))
        generator = torch.Generator().manual_seed(_seed_of(row["id"], shard.seed))
        yield row, extract(row["id"], torch.from_numpy(samples), generator)


def speaker_of_row(row: dict[str, Any]) -> str:
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
    prefix = speed_prefix(speed)
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
    reason = f"too short: {row['duration']:.3f} s, one analysis window is {shard.source.window:.3f} s"
    return Problem(shard.split, row["id"], _audio_file(row), reason)


class FeatureWriter(LilcomChunkyWriter):  # type: ignore[misc]
    """Lhotse's writer without linear prediction, which costs a fifth of the time and saves a twentieth of the space.

    Values are rounded to multiples of 2^tick_power.
    """

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

    def store(self, row: dict[str, Any], features: Tensor, path: Path, kind: str, frame_shift: float) -> dict[str, Any]:
        """Append the features `(T, C)` of a cut; `path` is where they will be when the file has got its final name.

        Returns:
            What the manifest says of them.
        """
        described: dict[str, Any] = Features(
            type=kind,
            num_frames=features.shape[0],
            num_features=features.shape[1],
            frame_shift=frame_shift,
            sampling_rate=row["recording"]["sampling_rate"],
            start=row["start"],
            duration=row["duration"],
            storage_type=self.name,
            storage_path=str(path),
            storage_key=self.write(row["id"], features.numpy()),
            recording_id=row["recording"]["id"],
            channels=0,
        ).to_dict()
        return described
