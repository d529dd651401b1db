"""Cuts whose samples count, and labels that count frames: what comes out says where it was taken from."""

from pathlib import Path

import numpy as np
import soundfile
from lhotse import MonoCut, Recording, SupervisionSegment

from speechkit.data.labels import LabelFile, LabelWriter

HOP, RATE = 20, 1000  # 50 frames a second


def make_cut(folder: Path, name: str, num_samples: int, start: float = 0.0) -> MonoCut:
    """A cut whose sample i is i / 32768, counted from the beginning of the file."""
    path = folder / f"{name}.wav"
    offset = round(start * RATE)
    soundfile.write(path, np.arange(offset + num_samples, dtype=np.int16), RATE, subtype="PCM_16")
    recording = Recording.from_file(path, recording_id=name)
    seconds = num_samples / RATE
    supervision = SupervisionSegment(name, name, 0, seconds, text="a")
    return MonoCut(name, start, seconds, 0, recording=recording, supervisions=[supervision])


def make_labels(folder: Path, rate: float, **counts: int) -> LabelFile:
    """Frame i of an utterance has label i."""
    with LabelWriter(folder, "train", rate, [str(number) for number in range(200)]) as writer:
        for name, count in counts.items():
            writer.add(name, np.arange(count))
    return LabelFile(folder, "train")
