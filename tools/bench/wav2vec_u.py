"""wav2vec-U's speech side on one core: hours of audio in an hour, from synthetic audio and hidden states.

Finding silence in memory, `speechkit silence` with its reading and writing of FLAC, rVADfast on a part of the audio
where it is installed, and `speechkit pool` of hidden states as wide as the paper's: fitting, pooling, and both, and
with segments of the spectrum. The last line is JSON: "ratio" is the speed of `speechkit silence` over 100 times real
time, which is asked.
"""

import argparse
import contextlib
import io
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from speechkit.common.errors import SpeechkitError
from speechkit.data.conversion import Samples, write_flac
from speechkit.data.manifests import make_recording, write_lines
from speechkit.data.shards import FeatureWriter
from speechkit.data.silence import remove_silence
from speechkit.features.silence import Detector, EnergyDetector, RvadDetector
from speechkit.tasks.pool import PoolConfig, pool

RATE, FRAMES_PER_SECOND, SECONDS = 16000, 50, 12.0
PHONES, PHONE_FRAMES = 40, 4


def utterance(rng: np.random.Generator) -> Samples:
    """Seconds of sounds between silences, in noise."""
    samples = rng.normal(0, 0.002, int(SECONDS * RATE))
    for start in range(RATE // 2, len(samples) - 2 * RATE, 2 * RATE):
        length = int(rng.integers(RATE // 2, 3 * RATE // 2))
        samples[start : start + length] += 0.1 * np.sin(np.arange(length) * rng.uniform(0.05, 0.5))
    return samples.astype(np.float32)


def row_of(name: str, samples: Samples, folder: Path) -> dict[str, Any]:
    """The manifest line of an utterance, whose audio is written."""
    write_flac(folder / f"{name}.flac", samples, RATE)
    recording = make_recording(name, folder / f"{name}.flac")
    whole = {"start": 0.0, "duration": recording.duration, "channel": 0}
    speech = {"id": name, "recording_id": name, **whole, "text": "", "speaker": name}
    return {"id": name, **whole, "supervisions": [speech], "recording": recording.to_dict(), "type": "MonoCut"}


def hidden_states(rows: list[dict[str, Any]], folder: Path, width: int, rng: np.random.Generator) -> Path:
    """A folder with stored frames of these cuts: points that stay for a few frames, with noise."""
    points = rng.normal(size=(PHONES, width))
    storage, count = folder / "hidden.lca", int(SECONDS * FRAMES_PER_SECOND)
    with FeatureWriter(storage, tick_power=-8) as writer:
        stored = []
        for row in rows:
            phones = np.repeat(rng.integers(PHONES, size=-(-count // PHONE_FRAMES)), PHONE_FRAMES)[:count]
            frames = torch.from_numpy((points[phones] + 0.3 * rng.normal(size=(count, width))).astype(np.float32))
            described = writer.store(row, frames, storage, "layer-15", 1 / FRAMES_PER_SECOND)
            stored.append({**row, "custom": {"silence": "none"}, "features": described})
    write_lines(folder / "hidden/cuts_train.jsonl.gz", stored)
    return folder / "hidden"


def timed(function: Callable[[], object]) -> float:
    """Seconds of processor time, as a busy machine takes its own."""
    start = time.process_time()
    with contextlib.redirect_stderr(io.StringIO()):
        function()
    return time.process_time() - start


def detected(detector: Detector, waveforms: list[Samples]) -> float:
    """Seconds to find the speech of all."""
    return timed(lambda: [detector(samples, RATE) for samples in waveforms])


def main() -> None:
    """Print hours of audio per hour of one core."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="of synthetic audio")
    parser.add_argument("--width", type=int, default=1024, help="of the hidden states, as of the paper's model")
    parser.add_argument("--pca", type=int, default=512)
    parser.add_argument("--clusters", type=int, default=128)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    waveforms = [utterance(rng) for _ in range(max(1, round(60 * args.minutes / SECONDS)))]
    seconds = len(waveforms) * SECONDS
    detector, config = EnergyDetector(), PoolConfig(pca=args.pca, clusters=args.clusters)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [row_of(f"u{number}", samples, folder / "audio") for number, samples in enumerate(waveforms)]
        write_lines(folder / "valid/cuts_train.jsonl.gz", rows)
        hidden = hidden_states(rows, folder, args.width, rng)
        spent = {
            "silence, found": detected(detector, waveforms),
            "silence, whole command": timed(
                lambda: remove_silence(folder / "valid", folder / "silence", detector, 1, ["train"])
            ),
            "pooling, fit and pool": timed(lambda: pool(hidden, folder / "pool", config, 0, 1, ["train"])),
        }
        for written in (folder / "pool/storage/train").iterdir():
            written.unlink()
        spent["pooling, pool alone"] = timed(lambda: pool(hidden, folder / "pool", config, 0, 1, ["train"]))
        merged = replace(config, boundaries="spectrum")
        spent["the same, by the spectrum"] = timed(lambda: pool(hidden, folder / "pool", merged, 0, 1, ["train"]))
    rates = {what: seconds / each for what, each in spent.items()}
    with contextlib.suppress(SpeechkitError):
        part = waveforms[: max(1, len(waveforms) // 10)]
        rates["silence, found by rVADfast"] = len(part) * SECONDS / detected(RvadDetector(), part)
    print(f"{seconds / 3600:.2f} hours of synthetic audio, frames of {args.width} values, 1 core")
    for what, rate in rates.items():
        print(f"{what:28} {rate:9.0f} hours of audio in an hour")
    print(
        json.dumps(
            {"ratio": round(rates["silence, whole command"] / 100, 2), **{k: round(v) for k, v in rates.items()}}
        )
    )


if __name__ == "__main__":
    main()
