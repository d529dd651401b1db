"""Feature extraction: cuts in shards that processes compute, joined to cuts with features and statistics.

Shards do not depend on the number of processes, so neither does anything written.

Log energies are rounded to multiples of 2^-5, an error of at most 0.0157 and 0.009 root mean square (measured), in
about 1.3 bytes per value. For the pitch columns that is at most 0.8 % of the pitch, of which the tracker's own steps
are half a per cent, and a fifth of the noise on its delta.
"""

import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import require_file
from speechkit.common.progress import progress
from speechkit.config.load import to_dict
from speechkit.data.adoption import ALL
from speechkit.data.alignments import WITH_PITCH
from speechkit.data.manifests import SPLITS, Problem, read_lines, write_problems
from speechkit.data.parallel import parallel_map
from speechkit.data.parts import join_files, part_size, sweep
from speechkit.data.shards import SHARD_FILES, Extract, Shard, ShardResult, Source, run_shard, speed_prefix
from speechkit.features.cmvn import Cmvn
from speechkit.features.fbank import Fbank, FbankConfig
from speechkit.features.pitch import Pitch
from speechkit.features.pitch_config import PitchConfig

log = logging.getLogger(__name__)
COPIED = ("train", ALL)  # splits with speed copies and dither, over which the global statistics are
LENGTH_TOLERANCE = 2  # frames by which parts may differ in length, as in Kaldi's paste-feats


@dataclass(frozen=True)
class FeaturesConfig:
    """Features of one data set: parts that are joined along the feature axis, and the copies of the training set.

    `pitch` adds voicing, log pitch and its slope behind the log-mel energies; there is none where it is left out.
    `speeds` other than 1 add copies of the training set at that speed, with ids and speakers `sp<speed>-...`.
    """

    fbank: FbankConfig = field(default_factory=FbankConfig)
    pitch: PitchConfig | None = None
    speeds: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if self.pitch and self.pitch.sample_frequency != self.fbank.sampling_rate:
            raise ValueError("pitch.sample_frequency must be fbank.sampling_rate")
        if self.pitch and self.pitch.frame_shift != self.fbank.frame_shift_ms:
            raise ValueError("pitch.frame_shift must be fbank.frame_shift_ms")
        distinct = set(self.speeds)
        if not distinct or len(distinct) < len(self.speeds) or not all(0.5 <= speed <= 2 for speed in distinct):
            raise ValueError("speeds must be different numbers between 0.5 and 2")

    @property
    def num_features(self) -> int:
        """Columns of the features."""
        return self.fbank.num_bins + (self.pitch.num_features if self.pitch else 0)

    @property
    def kind(self) -> str:
        """Type of the features in manifests."""
        return WITH_PITCH if self.pitch else "fbank"

    @property
    def sampling_rate(self) -> int:
        """Of the audio, in Hz."""
        return self.fbank.sampling_rate

    @property
    def window(self) -> float:
        """Of a frame, in seconds."""
        return self.fbank.frame_length_ms / 1000

    @property
    def frame_shift(self) -> float:
        """Seconds from one frame to the next."""
        return self.fbank.frame_shift / self.fbank.sampling_rate

    @property
    def tick_power(self) -> int:
        """Values are rounded to multiples of 2 to the power of it."""
        return -5

    def settings(self) -> list[Any]:
        """All that the features of an utterance depend on."""
        return [to_dict(part) for part in (self.fbank, self.pitch) if part]

    def plain(self) -> "FeaturesConfig":
        """The same without what is for training: copies and dither."""
        return replace(self, speeds=(1.0,), fbank=replace(self.fbank, dither=0.0))

    def extractor(self) -> Extract:
        """What computes them."""
        extractor = Extractor(self)
        return lambda _, waveform, generator: extractor(waveform, generator)


class Extractor:
    """Computes every part of the configuration for one waveform and joins them."""

    def __init__(self, config: FeaturesConfig) -> None:
        self.config = config
        self._parts = [Fbank(config.fbank).extract]
        if config.pitch:
            self._parts.append(Pitch(config.pitch).extract)

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


def extract(
    cuts: Path, out: Path, source: Source, seed: int, nj: int, splits: Sequence[str] = SPLITS
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
        plan = source if split in COPIED else source.plain()
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


def _shard_sizes(manifest: Path, source: Source) -> tuple[int, int]:
    """Cuts in a shard, and number of shards."""
    cuts = sum(1 for _ in read_lines(manifest))
    if cuts == 0:
        raise SpeechkitError(f"{manifest} holds no cut; run `speechkit validate` again")
    size = part_size(cuts)
    return size, -(-cuts // size) * len(source.speeds)


def _shards(split: str, manifest: Path, out: Path, source: Source, seed: int, size: int) -> Iterator[Shard]:
    for speed in source.speeds:
        lines = (json.dumps(row, ensure_ascii=False) for row in read_lines(manifest))
        for number in count():
            part = tuple(islice(lines, size))
            if not part:
                break
            yield Shard(
                split, out / "storage" / split / f"{speed_prefix(speed)}{number:04d}", part, speed, source, seed
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
    join_files(parts, out / f"cuts_{split}.jsonl.gz")
    stems = (path.name.removesuffix(".jsonl.gz") for path in parts)
    sweep(out / "storage" / split, (stem + suffix for stem in stems for suffix in SHARD_FILES))
    for result in results:
        table.merge(Cmvn.load(result.path(".cmvn.safetensors")), overall=split in COPIED)
    return [problem for result in results for problem in result.problems]
