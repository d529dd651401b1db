"""Miniature digits in the manner of the Free Spoken Digit Dataset.

One folder of `{digit}_{speaker}_{take}.wav`, 8 kHz, 16-bit, mono, without silence at the ends.
"""

import wave
from pathlib import Path

from speechkit.data.miniature.render import Plan, Recording, Utterance
from speechkit.data.miniature.speakers import invent

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SIZES = {"tiny": (3, 6), "mini": (6, 20), "small": (12, 50)}  # speakers, takes of each digit by each speaker
_SPEAKERS = (
    ("anna", "f"), ("boris", "m"), ("clara", "f"), ("dmitri", "m"), ("elena", "f"), ("felix", "m"),
    ("greta", "f"), ("henry", "m"), ("irene", "f"), ("jonas", "m"), ("karla", "f"), ("louis", "m"),
)  # fmt: skip


def plan(size: str, seed: int) -> Plan:
    """Plan the miniature digits of a size in `SIZES`; takes 0 to 4 are the test set by the corpus's own rule."""
    num_speakers, num_takes = SIZES[size]
    speakers = [invent(name, sex, seed, held_out=False) for name, sex in _SPEAKERS[:num_speakers]]
    utterances = [
        Utterance(Path(f"{digit}_{speaker.name}_{take}"), f"{word}.", speaker)
        for speaker in speakers
        for digit, word in enumerate(DIGITS)
        for take in range(num_takes)
    ]
    return Plan(utterances, sample_rate=8000, silence_s=(0.0, 0.0), write=write)


def write(recording: Recording, utterance: Utterance, folder: Path) -> None:
    """Write one WAV file."""
    with wave.open(str((folder / utterance.path).with_suffix(".wav")), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(recording.sample_rate)
        stream.writeframes(recording.samples.astype("<i2").tobytes())
