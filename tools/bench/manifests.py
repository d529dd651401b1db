"""Memory and time of manifests of 10 thousand to a million cuts: written, read, validated, and trained on for an epoch.

Each measurement has a process of its own. An epoch is checked: every cut comes once, and no batch is longer, padding
included, than its limit. The last line is JSON: "ratio" is the peak memory of an epoch over the largest manifest
to that over the one before it, 1 for memory that does not grow with the data. (Lhotse's sampler looks 20 thousand cuts
ahead; where there are fewer, it takes less.)
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from lhotse import Features, MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource
from peak import Peak
from torch.utils.data import Dataset

from speechkit.data.batches import BatchConfig, TrainingBatches
from speechkit.data.manifests import read_cuts, write_cuts, write_lines
from speechkit.data.validation import validate

CONFIG = BatchConfig(max_duration=200.0, buckets=20, workers=0)
RATE = 16000


def made(count: int) -> Iterator[MonoCut]:
    """Cuts as stage 1 writes them, of 2 to 18 seconds; there are no files behind them."""
    for number in range(count):
        name, samples = f"speaker{number % 2500:05d}-utterance{number:07d}", 32000 + number * 7919 % 256000
        source = AudioSource("file", [0], f"corpus/speaker{number % 2500:05d}/{name}.flac")
        recording = Recording(name, [source], RATE, samples, samples / RATE)
        text = "the quick brown fox jumps over the lazy dog and runs away from it as fast as it can"
        supervision = SupervisionSegment(name, name, 0, recording.duration, text=text, speaker=f"{number % 2500}")
        features = Features(
            "fbank", samples // 160, 80, 0.01, RATE, 0, recording.duration, "lilcom_chunky",
            f"data/{number // 2000}.lca", "0,41000,41000,41000", name, 0,
        )  # fmt: skip
        yield MonoCut(name, 0, recording.duration, 0, [supervision], features, recording)


class Described(Dataset[tuple[int, float, float]]):
    """For a batch of cuts, instead of features: how many, and its seconds without and with padding."""

    def __getitem__(self, cuts: Any) -> tuple[int, float, float]:
        durations = [cut.duration for cut in cuts]
        return len(durations), sum(durations), max(durations) * len(durations)


def write(path: Path, count: int) -> None:
    write_cuts(path, made(count))


def validation(path: Path, count: int) -> None:
    """All recordings have the same file, which is decoded once: what is measured is the rest."""
    folder = path.with_suffix(".manifests")
    folder.mkdir()
    soundfile.write(str(folder / "a.wav"), np.full(RATE, 0.1), RATE)
    source = {"type": "file", "channels": [0], "source": str(folder / "a.wav")}
    audio = {"sources": [source], "sampling_rate": RATE, "num_samples": RATE, "duration": 1.0, "channel_ids": [0]}
    speech = {"start": 0.0, "duration": 1.0, "channel": 0, "text": "some words", "speaker": "anna"}
    write_lines(folder / "recordings_train.jsonl.gz", ({"id": f"u{number}", **audio} for number in range(count)))
    spoken = ({"id": f"u{number}", "recording_id": f"u{number}", **speech} for number in range(count))
    write_lines(folder / "supervisions_train.jsonl.gz", spoken)
    assert validate(folder, folder / "valid", RATE, 0.0, 1, ("train",))["train"].utterances == count


def read(path: Path, count: int) -> None:
    assert sum(1 for _ in read_cuts(path)) == count


def epoch(path: Path, count: int) -> None:
    batches = TrainingBatches(read_cuts(path), Described(), CONFIG, seed=0)  # type: ignore[arg-type]
    seen, longest, speech, padded = 0, 0.0, 0.0, 0.0
    for size, seconds, with_padding in batches.epoch(0, 0):  # type: ignore[misc,attr-defined]
        seen, speech, padded = seen + size, speech + seconds, padded + with_padding
        longest = max(longest, with_padding)
    assert seen == count, (seen, count)
    assert longest <= CONFIG.max_duration, longest
    print(
        f"    longest batch {longest:.1f} of {CONFIG.max_duration:.0f} s, {100 - 100 * speech / padded:.1f} % padding"
    )


def measured(job: tuple[Callable[[Path, int], None], Path, int]) -> tuple[float, float]:
    """Megabytes at the peak, and seconds."""
    work, path, count = job
    peak, start = Peak(), time.perf_counter()
    work(path, count)
    return peak.megabytes(), time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    sizes = parser.parse_args().sizes
    if len(sizes) < 2:
        parser.error("--sizes takes two or more")
    peaks: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            for work in (write, read, validation, epoch):
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    megabytes, seconds = pool.apply(measured, [(work, Path(folder) / f"{size}.jsonl.gz", size)])
                peaks.setdefault(work.__name__, []).append(round(megabytes, 1))
                print(
                    f"{work.__name__:10} {size:9} cuts  {megabytes:8.1f} MB at the peak  {size / seconds:8.0f} cuts/s"
                )
    print(json.dumps({"ratio": peaks["epoch"][-1] / peaks["epoch"][-2], "sizes": sizes, "peak_megabytes": peaks}))


if __name__ == "__main__":
    main()
