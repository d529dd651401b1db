"""RIFF WAV files of 16-bit samples, the audio format of AISHELL-1 and of the digits."""

import wave
from pathlib import Path

from speechkit.data.miniature.render import Recording, Utterance


def write(recording: Recording, utterance: Utterance, folder: Path) -> None:
    """Write one WAV file."""
    with wave.open(str((folder / utterance.path).with_suffix(".wav")), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(recording.sample_rate)
        stream.writeframes(recording.samples.astype("<i2").tobytes())
