"""Batches for training: hours of audio per second that speechkit and Lhotse read, distort and turn into features.

Both get the same batches of cuts of a folder of recordings (joined to about 9 s), the same recordings of noise (half of
the utterances at 5 to 20 dB) and, for Lhotse, impulse responses as recordings (half of the utterances), while speechkit
draws a new room each time. One process, one thread, interleaved. Before, the features of both without distortion are
compared. The last line is JSON: "ratio" is Lhotse's time over ours, with noise and rooms.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from fbank import joined
from lhotse import CutSet, Fbank, FbankConfig, MonoCut, RecordingSet, SupervisionSegment
from lhotse.dataset import OnTheFlyFeatures
from lhotse.dataset.cut_transforms import CutMix, ReverbWithImpulseResponse
from timing import compare

from speechkit.data.batches import FeatureDataset, ordered_batches, stored_features
from speechkit.data.distortion import DistortionConfig, coloured_noise, room
from speechkit.data.extraction import FeaturesConfig, extract
from speechkit.data.from_audio import AudioConfig, AudioFeatures
from speechkit.data.manifests import make_recording, read_cuts, write_cuts
from speechkit.features.cmvn import Cmvn

SECONDS_OF_BATCH = 100.0
SHARE, SNR = 0.5, (5.0, 20.0)
TO_16_BIT = 2 * np.log(32768)  # Lhotse's log energies are those of samples in [-1, 1]


def write_audio(folder: Path, waveforms: list[torch.Tensor]) -> None:
    """Speech as cuts, ten recordings of noise and ten impulse responses."""
    rng = np.random.default_rng(0)
    cuts = []
    for number, waveform in enumerate(waveforms):
        path = folder / f"{number:04d}.flac"
        soundfile.write(str(path), waveform.numpy(), 16000, subtype="PCM_16")
        recording = make_recording(f"{number:04d}", path)
        supervision = SupervisionSegment(recording.id, recording.id, 0, recording.duration, text="x", speaker="x")
        cuts.append(MonoCut(recording.id, 0, recording.duration, 0, [supervision], recording=recording))
    write_cuts(folder / "cuts_train.jsonl.gz", cuts)
    for kind, make in (
        ("noise", lambda: coloured_noise(480000, 1.0, rng) * 0.1),
        ("room", lambda: room(0.4, 16000, rng)),
    ):
        (folder / kind).mkdir()
        for number in range(10):
            samples = make()
            soundfile.write(str(folder / kind / f"{number}.wav"), samples / np.abs(samples).max(), 16000)


def recordings(folder: Path) -> RecordingSet:
    return RecordingSet.from_recordings(make_recording(path.stem, path) for path in sorted(folder.iterdir()))


class Ours:
    """Reads batches of cuts."""

    def __init__(self, audio: AudioConfig | None) -> None:
        read = AudioFeatures(audio, seed=0) if audio else stored_features
        self.data = FeatureDataset(lambda fields: [1], Cmvn(), "none", read)

    def __call__(self, batches: list[CutSet]) -> list[torch.Tensor]:
        return [self.data[batch].features for batch in batches]


class Lhotse:
    """The same by Lhotse."""

    def __init__(self, transforms: list[Any]) -> None:
        self.transforms = transforms
        self.read = OnTheFlyFeatures(Fbank(FbankConfig(num_mel_bins=80, snip_edges=True)))

    def __call__(self, batches: list[CutSet]) -> list[torch.Tensor]:
        found = []
        for batch in batches:
            cuts = batch.drop_features()
            for transform in self.transforms:
                cuts = transform(cuts)
            found.append(self.read(cuts)[0])
        return found


def batches_of(cuts: CutSet) -> list[CutSet]:
    class Whole:
        def __getitem__(self, batch: list[MonoCut]) -> CutSet:
            return CutSet.from_cuts(batch)

    return list(ordered_batches(cuts.sort_by_duration(), Whole(), SECONDS_OF_BATCH))  # type: ignore[arg-type]


def check(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    """Without distortion the features are the same, but near the floor of energies and where batches are padded."""
    apart = []
    for mine, other in zip(ours, theirs, strict=True):
        loud = mine > 8.0
        frames = min(mine.shape[1], other.shape[1])
        apart.append((mine - (other + TO_16_BIT)[:, :frames])[loud[:, :frames]].abs())
    difference = torch.cat(apart)
    print(
        f"difference of the features without distortion: mean {difference.mean():.1e}, largest {difference.max():.1e}"
    )
    assert difference.mean() < 2e-2, "the features differ"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of .wav or .flac recordings")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_audio(folder, joined(args.folder, args.minutes))
        extract(folder, folder / "fbank", FeaturesConfig(), seed=0, nj=1, splits=("train",))
        batches = batches_of(read_cuts(folder / "fbank" / "cuts_train.jsonl.gz"))
        hours = sum(cut.duration for batch in batches for cut in batch) / 3600
        print(f"{hours:.2f} hours in {len(batches)} batches")
        distortion = DistortionConfig(noise_share=SHARE, noise=str(folder / "noise"), snr=SNR, reverb_share=SHARE)
        noises = CutSet.from_manifests(recordings=recordings(folder / "noise"))
        transforms = [
            ReverbWithImpulseResponse(recordings(folder / "room"), p=SHARE),
            CutMix(noises, snr=SNR, p=SHARE, pad_to_longest=False, random_mix_offset=True),
        ]
        plain, peer = Ours(AudioConfig()), Lhotse([])
        check(plain(batches), peer(batches))
        distorting, distorting_peer = Ours(AudioConfig(distortion=distortion)), Lhotse(transforms)
        stored = Ours(None)
        seconds = compare(
            {
                "speechkit, noise and rooms": lambda: distorting(batches),
                "lhotse, noise and rooms": lambda: distorting_peer(batches),
                "speechkit, from audio": lambda: plain(batches),
                "lhotse, from audio": lambda: peer(batches),
                "speechkit, stored features": lambda: stored(batches),
            },
            args.repeats,
        )
    speeds = {program: round(hours / taken, 4) for program, taken in seconds.items()}
    ratio = seconds["lhotse, noise and rooms"] / seconds["speechkit, noise and rooms"]
    print(json.dumps({"ratio": ratio, "hours_per_second": speeds}))


if __name__ == "__main__":
    main()
