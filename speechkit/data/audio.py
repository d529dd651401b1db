"""Audio files: what the header claims, and whether the samples bear it out.

libsndfile hides truncation (it shortens the count to what the file holds), so the claims of
NIST SPHERE and RIFF headers are read here; for other formats its own count is the claim.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from speechkit.common.errors import SpeechkitError

BLOCK_SAMPLES = 1 << 20
LOUDEST = 8.0  # of floats on the scale of 1: more is another scale
UNKNOWN_RIFF_SIZES = (0, 0x7FFFFFFF, 0x7FFFF000, 0xFFFFFFFF)  # what writers put that cannot seek back


class BadAudioError(SpeechkitError):
    """An audio file that cannot be used; the message is the reason, `kind: details`."""


@dataclass(frozen=True)
class Header:
    """What a file says of itself; `num_samples` per channel."""

    sampling_rate: int
    num_channels: int
    num_samples: int


def read_header(path: Path) -> Header:
    """Read the header only; raises `BadAudioError` where there is none."""
    try:
        with path.open("rb") as stream:
            start = stream.read(16)
            if not start:
                raise BadAudioError("empty file: 0 bytes")
            if start.startswith(b"NIST_1A"):
                return _sphere_header(stream, start)
            claimed = _riff_samples(stream) if start.startswith(b"RIFF") and start[8:12] == b"WAVE" else None
    except OSError as error:
        raise BadAudioError(f"unreadable: {error.strerror or error}") from error
    import soundfile

    try:
        info = soundfile.info(str(path))
    except soundfile.LibsndfileError as error:
        raise BadAudioError(f"not audio: {error.error_string}") from error
    return Header(info.samplerate, info.channels, info.frames if claimed is None else claimed)


def _sphere_header(stream: BinaryIO, start: bytes) -> Header:
    digits = start[8:].split(b"\n")[0].strip()
    size = int(digits) if digits.isdigit() else 1024
    stream.seek(0)
    text = stream.read(size)
    if b"end_head" not in text or len(text) < size:
        raise BadAudioError("not audio: the SPHERE header is cut off")
    fields = {}
    for line in text.decode("latin-1").splitlines():
        name, _, value = line.partition(" -")
        fields[name.strip()] = value.partition(" ")[2].strip()
    if "shorten" in fields.get("sample_coding", ""):
        raise BadAudioError("compressed: SPHERE with shorten coding; unpack it with sph2pipe or ffmpeg")
    try:
        rate, count = int(fields["sample_rate"]), int(fields["sample_count"])
        return Header(rate, int(fields.get("channel_count", "1")), count)
    except (KeyError, ValueError) as error:
        raise BadAudioError("not audio: the SPHERE header lacks its sample rate or count") from error


def _riff_samples(stream: BinaryIO) -> int | None:
    """Samples per channel that the header claims; None where it does not say."""
    stream.seek(12)
    bytes_per_sample = 0
    while len(chunk := stream.read(8)) == 8:
        name, size = chunk[:4], int.from_bytes(chunk[4:], "little")
        if name == b"data":
            return None if size in UNKNOWN_RIFF_SIZES or not bytes_per_sample else size // bytes_per_sample
        if name == b"fmt ":
            bytes_per_sample = int.from_bytes(stream.read(size)[12:14], "little")
            size = 0
        stream.seek(size + (size & 1), 1)
    return None


def read_audio(path: Path, start: int = 0, num_samples: int = -1) -> tuple[NDArray[np.float32], int]:
    """Samples `(S,)` in [-1, 1] of a mono file from `start` on, and its sampling rate; raises `BadAudioError`."""
    import soundfile

    try:
        with soundfile.SoundFile(str(path)) as file:
            file.seek(start)
            kind = "int16" if file.subtype == "PCM_16" else "float32"  # NumPy scales faster than libsndfile
            samples, rate = file.read(num_samples, dtype=kind), file.samplerate
    except (OSError, soundfile.LibsndfileError) as error:
        raise BadAudioError(f"not audio: {getattr(error, 'error_string', error)}") from error
    return samples if kind == "float32" else np.multiply(samples, 1 / 32768, dtype=np.float32), rate


def read_part(path: Path, sampling_rate: int, start: int, length: int) -> NDArray[np.float32]:
    """Samples `(length,)` from `start` on of a file that was validated.

    Raises:
        SpeechkitError: another sampling rate, or the file is not as its manifest says.
    """
    try:
        samples, found = read_audio(path, start, length)
    except BadAudioError as error:
        raise SpeechkitError(f"{path}: {error}; run `speechkit validate` again") from error
    if found != sampling_rate:
        raise SpeechkitError(f"{path} has {found} Hz instead of {sampling_rate} Hz; resample the corpus")
    if samples.shape != (length,):
        raise SpeechkitError(f"{path} has changed since its validation; run `speechkit validate` again")
    return samples


def check_audio(path: Path, num_samples: int, sampling_rate: int | None = None) -> None:
    """Decode the whole file once; raises `BadAudioError` with the reason why it cannot be used.

    Args:
        path: the file.
        num_samples: how many the manifest promises.
        sampling_rate: the only rate that will do, in Hz; any where left out.
    """
    header = read_header(path)
    if header.num_channels != 1:
        raise BadAudioError(f"not mono: {header.num_channels} channels")
    if sampling_rate not in (None, header.sampling_rate):
        raise BadAudioError(f"wrong rate: {header.sampling_rate} Hz instead of {sampling_rate} Hz")
    decoded, loudest = 0, 0.0
    for block in _blocks(path):
        if not np.isfinite(block).all():
            raise BadAudioError("not finite: the samples hold NaN or infinity")
        decoded += len(block)
        loudest = max(loudest, float(np.abs(block).max(initial=0.0)))
    if decoded == 0:
        raise BadAudioError("no samples: the file holds a header only")
    if decoded != header.num_samples:
        kind = "truncated" if decoded < header.num_samples else "header lies"
        raise BadAudioError(f"{kind}: the header says {header.num_samples} samples, the file holds {decoded}")
    if decoded != num_samples:
        raise BadAudioError(f"changed: the manifest says {num_samples} samples, the file holds {decoded}")
    if loudest == 0:
        raise BadAudioError("silent: every sample is zero")
    if loudest > LOUDEST:
        raise BadAudioError(f"out of range: samples reach {loudest:g}, far beyond 1")


def _blocks(path: Path) -> Iterator[NDArray[np.float32]]:
    import soundfile

    try:
        with soundfile.SoundFile(str(path)) as file:
            yield from file.blocks(blocksize=BLOCK_SAMPLES, dtype="float32")
    except (OSError, soundfile.LibsndfileError) as error:
        raise BadAudioError(f"not audio: {getattr(error, 'error_string', error)}") from error
