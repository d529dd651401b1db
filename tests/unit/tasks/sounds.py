"""Recordings of five harmonic sounds with their true times, as cuts with phone alignments."""

from pathlib import Path

import numpy as np
import soundfile
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.supervision import AlignmentItem

RATE = 16000


def write_sounds(folder: Path, sounds_per_cut: int = 6, train: int = 12) -> Path:
    """`cuts_train.jsonl.gz` and `cuts_dev.jsonl.gz` with 3 cuts, in `folder`, which is given back."""
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("dev", 3)):
        cuts = []
        for number in range(count):
            name, items, parts, place = f"{split}{number}", [], [], 0
            for sound in rng.integers(5, size=sounds_per_cut).tolist():
                size = int(rng.integers(1200, 2400))
                time = np.arange(size) / RATE
                parts.append(sum(np.sin(2 * np.pi * 300 * (sound + 1) * k * time) / k for k in (1, 2, 3)))
                items.append(AlignmentItem("abcde"[sound], place / RATE, size / RATE))
                place += size
            waveform = 0.1 * np.concatenate(parts) + rng.normal(0, 0.003, size=place)
            soundfile.write(folder / f"{name}.wav", waveform, RATE, subtype="PCM_16")
            recording = Recording.from_file(folder / f"{name}.wav", recording_id=name)
            supervision = SupervisionSegment(
                name, name, 0, recording.duration, text="a", speaker=name[-1], alignment={"phone": items}
            )
            cuts.append(MonoCut(name, 0, recording.duration, 0, recording=recording, supervisions=[supervision]))
        CutSet.from_cuts(cuts).to_file(folder / f"cuts_{split}.jsonl.gz")
    return folder


def read_sound(folder: Path, name: str) -> np.ndarray:
    """The samples of a cut."""
    samples: np.ndarray = soundfile.read(folder / f"{name}.wav", dtype="float32")[0]
    return samples
