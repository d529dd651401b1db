"""Stage 1, feature extraction, on one core: hours of audio per second, and what reading and storing cost.

Whole shards (reading, features, statistics, storage, manifests), the same without statistics and storage, and the
computation alone, with and without pitch; and Lhotse's `compute_and_store_features` on the same files, interleaved.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from fbank import extraction, joined, shard_of
from lhotse import CutSet, Fbank, LilcomChunkyWriter
from timing import compare

from speechkit.data.audio import read_audio
from speechkit.data.extraction import FeaturesConfig
from speechkit.data.manifests import read_cuts
from speechkit.data.shards import Shard
from speechkit.features.pitch_config import PitchConfig

ROUNDING = 2.0**-6 + 1e-4


def read_and_compute(shard: Shard) -> None:
    """Everything but statistics and storage."""
    extractor = shard.source.extractor()
    for row in map(json.loads, shard.lines):
        path = Path(row["recording"]["sources"][0]["source"])
        extractor(row["id"], torch.from_numpy(read_audio(path, 0, row["recording"]["num_samples"])[0]), None)


def lhotse_extraction(shard: Shard, folder: Path) -> None:
    """The same by Lhotse, with its own filter bank."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    cuts = CutSet.from_dicts(json.loads(line) for line in shard.lines)
    cuts = cuts.compute_and_store_features(
        Fbank(), folder / "features", storage_type=LilcomChunkyWriter, progress_bar=False
    )
    cuts.to_file(folder / "cuts.jsonl.gz")


def check(shard: Shard, waveforms: list[torch.Tensor]) -> None:
    """What is stored is what is computed, but for its rounding."""
    extraction(shard)
    extractor = shard.source.extractor()
    for cut, waveform in zip(read_cuts(shard.path(".jsonl.gz")), waveforms, strict=True):
        apart = np.abs(cut.load_features()[:, :82] - extractor(cut.id, waveform, None)[:, :82].numpy()).max()
        assert apart < ROUNDING + 2e-3, f"{cut.id} is {apart} off"


def main() -> None:
    """Print times, hours per second and shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of .wav or .flac recordings")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    waveforms = joined(args.folder, args.minutes)
    hours = sum(map(len, waveforms)) / 16000 / 3600
    print(f"{len(waveforms)} waveforms, {60 * hours:.1f} minutes, 1 core")
    with tempfile.TemporaryDirectory() as name:
        plain = shard_of(waveforms, Path(name))
        shards = {"fbank": plain, "fbank and pitch": replace(plain, source=FeaturesConfig(pitch=PitchConfig()))}
        peer = Path(name) / "lhotse"
        candidates: dict[str, Callable[[], object]] = {"lhotse": lambda: lhotse_extraction(plain, peer)}
        for kind, shard in shards.items():
            check(shard, waveforms)
            extractor = shard.source.extractor()
            candidates[f"{kind}, whole"] = lambda shard=shard: extraction(shard)
            candidates[f"{kind}, not stored"] = lambda shard=shard: read_and_compute(shard)
            candidates[f"{kind}, computed only"] = lambda extractor=extractor: [
                extractor("", x, None) for x in waveforms
            ]
        medians = compare(candidates, args.repeats)
    result = {"ratio": medians["lhotse"] / medians["fbank, whole"]}
    for kind in shards:
        whole, unstored, bare = (medians[f"{kind}, {part}"] for part in ("whole", "not stored", "computed only"))
        result[f"{kind}, hours per second"] = hours / whole
        result[f"{kind}, share of storage"] = 1 - unstored / whole
        result[f"{kind}, share of reading"] = (unstored - bare) / whole
    for key, value in result.items():
        print(f"{key}: {value:.3f}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
