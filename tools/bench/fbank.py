"""Log-mel features of real recordings: speechkit against kaldifeat, torchaudio and Lhotse, on one thread.

Compute only, then the whole extraction (reading, features, statistics, storage, manifests), all interleaved.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import soundfile
import torch
from lhotse import Fbank as LhotseFbank
from lhotse import FbankConfig as LhotseFbankConfig
from timing import compare

from speechkit.data.extraction import FeaturesConfig
from speechkit.data.manifests import make_recording, read_lines
from speechkit.data.shards import Shard, run_shard
from speechkit.features.fbank import Fbank, FbankConfig

SECONDS_PER_FILE = 9  # files are joined up to this length, as utterances of read speech are


def joined(folder: Path, minutes: float) -> list[torch.Tensor]:
    """Waveforms of about `SECONDS_PER_FILE` at 16 kHz made of the folder's recordings, whatever their rate."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".wav", ".flac"))
    waveforms, pieces, total = [], [], 0
    while paths and total < minutes * 60 * 16000:
        for path in paths:
            pieces.append(torch.from_numpy(soundfile.read(str(path), dtype="float32")[0]))
            if sum(map(len, pieces)) >= SECONDS_PER_FILE * 16000:
                waveforms.append(torch.cat(pieces))
                total += len(waveforms[-1])
                pieces = []
            if total >= minutes * 60 * 16000:
                break
    return waveforms


def shard_of(waveforms: list[torch.Tensor], folder: Path) -> Shard:
    """The waveforms as WAV files, and a shard that extracts them."""
    lines = []
    for number, waveform in enumerate(waveforms):
        path = folder / f"{number}.wav"
        soundfile.write(str(path), waveform.numpy(), 16000, subtype="PCM_16")
        recording = make_recording(str(number), path)
        supervision = {"id": str(number), "recording_id": str(number), "start": 0.0, "duration": recording.duration}
        row = {
            "id": str(number),
            "type": "MonoCut",
            "start": 0.0,
            "duration": recording.duration,
            "channel": 0,
            "supervisions": [{**supervision, "text": "x", "speaker": "x"}],
            "recording": recording.to_dict(),
        }
        lines.append(json.dumps(row))
    return Shard("train", folder / "storage" / "0000", tuple(lines), 1.0, FeaturesConfig(), 0)


def extraction(shard: Shard) -> None:
    """Extract the shard afresh."""
    shutil.rmtree(shard.stem.parent, ignore_errors=True)
    result = run_shard(shard)
    assert len(list(read_lines(result.path(".jsonl.gz")))) == len(shard.lines)


def peers() -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """Other programs that are installed."""
    found: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {}
    try:
        found["kaldifeat"] = Fbank(FbankConfig(backend="kaldifeat")).extract
    except Exception as error:
        print(error)
    try:
        from torchaudio.compliance.kaldi import fbank
    except (ImportError, OSError) as error:
        print(f"no torchaudio: {error}")
    else:
        found["torchaudio"] = lambda waveform: fbank(
            waveform[None] * 32768, num_mel_bins=80, high_freq=-400.0, low_freq=20.0, dither=0.0
        )
    lhotse = LhotseFbank(LhotseFbankConfig(snip_edges=True))
    found["lhotse"] = lambda waveform: torch.from_numpy(lhotse.extract((waveform * 32768).numpy(), 16000))
    return found


def main() -> None:
    """Print times and differences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of .wav or .flac recordings")
    parser.add_argument("--minutes", type=float, default=21.9)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    waveforms = joined(args.folder, args.minutes)
    ours, others = Fbank(FbankConfig()).extract, peers()
    for name, program in others.items():
        apart = torch.cat([(ours(waveform) - program(waveform)).abs() for waveform in waveforms])
        print(f"difference from {name}: mean {apart.mean():.1e}, largest {apart.max():.1e} (near the energy floor)")
    seconds = sum(map(len, waveforms)) / 16000
    print(f"{len(waveforms)} waveforms, {seconds / 60:.1f} minutes, 1 thread")
    with tempfile.TemporaryDirectory() as name:
        shard = shard_of(waveforms, Path(name))
        candidates = {program: lambda f=f: [f(x) for x in waveforms] for program, f in others.items()}
        candidates["speechkit, compute only"] = lambda: [ours(x) for x in waveforms]
        candidates["speechkit, whole extraction"] = lambda: extraction(shard)
        medians = compare(candidates, args.repeats)
    fastest = min(others, key=lambda program: medians[program])
    print(json.dumps({"ratio": medians[fastest] / medians["speechkit, compute only"], "fastest peer": fastest}))


if __name__ == "__main__":
    main()
