"""Small corpora on disk for the tests of data preparation."""

import math
import struct
import wave
from pathlib import Path

import numpy as np

SPEAKERS = {"TRAIN": ("fcjf0", "mdpk0", "mtjs0"), "TEST": ("faks0", "mdab0", "mabc0")}  # mabc0 is in no list
SENTENCES = ("SA1", "SI648", "SX37", "SX127", "SX217")


def tone(num_samples: int, seed: int = 0) -> np.ndarray:
    """16-bit samples that are not silent."""
    noise = np.random.default_rng(seed).standard_normal(num_samples)
    wave_ = 0.3 * np.sin(2 * math.pi * 300 * np.arange(num_samples) / 16000) + 0.01 * noise
    return (wave_ * 20000).astype("<i2")


def sphere(samples: np.ndarray, rate: int = 16000, claimed: int | None = None) -> bytes:
    """A NIST SPHERE file, written from the definition of its header."""
    fields = [
        "NIST_1A\n   1024",
        f"sample_count -i {len(samples) if claimed is None else claimed}",
        "sample_n_bytes -i 2",
        "channel_count -i 1",
        "sample_byte_format -s2 01",
        f"sample_rate -i {rate}",
        "sample_coding -s3 pcm",
        "end_head\n",
    ]
    return "\n".join(fields).encode().ljust(1024) + samples.tobytes()


def riff(path: Path, samples: np.ndarray, rate: int = 16000, channels: int = 1) -> None:
    """A 16-bit WAV file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.repeat(samples, channels).tobytes())


def float_riff(samples: np.ndarray, rate: int = 16000) -> bytes:
    """A 32-bit float WAV file."""
    data = samples.astype("<f4").tobytes()
    format_ = struct.pack("<HHIIHH", 3, 1, rate, rate * 4, 4, 32)
    return (
        b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<I", 16) + format_
        + b"data" + struct.pack("<I", len(data)) + data
    )  # fmt: skip


def fake_timit(root: Path, num_samples: int = 8000, lower: bool = False) -> Path:
    """A TIMIT of six speakers with five sentences each, one of which is an SA sentence."""
    seed = 0
    for part, speakers in SPEAKERS.items():
        for speaker in speakers:
            folder = root / part / "DR1" / speaker.upper()
            if lower:
                folder = root / part.lower() / "dr1" / speaker
            folder.mkdir(parents=True, exist_ok=True)
            for sentence in SENTENCES:
                seed += 1
                name = sentence.lower() if lower else sentence
                suffix = str.lower if lower else str.upper
                (folder / f"{name}{suffix('.WAV')}").write_bytes(sphere(tone(num_samples, seed)))
                third = num_samples // 3
                phones = f"0 {third} h#\n{third} {2 * third} sh\n{2 * third} {num_samples} h#\n"
                (folder / f"{name}{suffix('.PHN')}").write_text(phones)
                (folder / f"{name}{suffix('.WRD')}").write_text(f"{third} {2 * third} she\n")
                (folder / f"{name}{suffix('.TXT')}").write_text(f"0 {num_samples} She.\n")
    return root


def fake_digits(
    root: Path, speakers: tuple[str, ...] = ("ann", "bob", "cat"), count: int = 12, rate: int = 8000
) -> Path:
    """FSDD names: `count` recordings of each digit and speaker, whose lengths tell them apart."""
    root.mkdir(parents=True, exist_ok=True)
    for who, speaker in enumerate(speakers):
        for digit in range(10):
            for index in range(count):
                length = 1000 + 200 * digit + 10 * index + who
                riff(root / f"{digit}_{speaker}_{index}.wav", tone(length, length), rate)
    return root


AISHELL_SPEAKERS = {"train": ("S0002", "S0003"), "dev": ("S0724",), "test": ("S0764",)}


def fake_aishell(root: Path, num_samples: int = 8000) -> Path:
    """An AISHELL-1 of four speakers with two sentences each."""
    lines = []
    for split, speakers in AISHELL_SPEAKERS.items():
        for speaker in speakers:
            folder = root / "data_aishell" / "wav" / split / speaker
            folder.mkdir(parents=True)
            for number in (121, 122):
                name = f"BAC009{speaker}W{number:04d}"
                riff(folder / f"{name}.wav", tone(num_samples, number))
                lines.append(f"{name} 而 对 楼市\n")
    (root / "data_aishell" / "transcript").mkdir()
    (root / "data_aishell" / "transcript" / "aishell_transcript_v0.8.txt").write_text("".join(lines), encoding="utf-8")
    (root / "resource_aishell").mkdir()
    (root / "resource_aishell" / "speaker.info").write_text("0002 F\n0764 M\n")
    (root / "resource_aishell" / "lexicon.txt").write_text(
        "SIL sil\n<SPOKEN_NOISE> sil\n而 ee er2\n对 d ui4\n对 d ui4\n楼市 l ou2 sh ix4\n", encoding="utf-8"
    )
    return root
