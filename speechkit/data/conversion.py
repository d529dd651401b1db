"""Recordings of any format, rate and number of channels, as mono FLAC at one rate."""

import io
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speechkit.common.files import atomic_path
from speechkit.data.audio import LOUDEST, BadAudioError, read_header

Samples = NDArray[np.float32]
# What libsndfile reads, and what only ffmpeg does.
READ_DIRECTLY = (
    ".wav",
    ".flac",
    ".ogg",
    ".opus",
    ".mp3",
    ".sph",
    ".aiff",
    ".aif",
    ".au",
    ".caf",
    ".w64",
    ".wv1",
    ".wv2",
)
READ_BY_FFMPEG = (".m4a", ".mp4", ".aac", ".wma", ".webm", ".amr", ".3gp", ".mka")
AUDIO = (*READ_DIRECTLY, *READ_BY_FFMPEG)
SEEKABLE = (".wav", ".flac", ".aiff", ".aif", ".au")  # where reading from the middle is exact, by Lhotse too
LOSSLESS_SHARE, MP3_SHARE = 1.0, 0.99  # of the samples that the header promises; without an index mp3's are estimated
BLOCK_SECONDS = 60


@dataclass(frozen=True)
class Usable:
    """A mono file at the wanted rate: its number of samples, and what was done to the original, as `kind: details`."""

    path: Path
    num_samples: int
    changes: tuple[str, ...] = ()


def usable(source: Path, target: Path, rate: int) -> Usable:
    """The file itself where it is mono, at `rate` Hz and in a format that can be read from its middle; else a copy.

    Channels are averaged. The copy, 16-bit FLAC, is written to `target`.

    Raises:
        BadAudioError: the file cannot be read or does not hold what its header says.
    """
    if source.suffix.lower() in READ_BY_FFMPEG:
        samples = _read_by_ffmpeg(source, rate)
        write_flac(target, samples, rate)
        return Usable(target, len(samples))
    header = read_header(source)
    if (header.sampling_rate, header.num_channels) == (rate, 1) and source.suffix.lower() in SEEKABLE:
        return Usable(source, header.num_samples)
    samples, found = read_mono(source, header.num_samples)
    changes = []
    if header.num_channels > 1:
        changes.append(f"mixed: {header.num_channels} channels into one")
    if found != rate:
        kind = "narrow band" if found < rate else "resampled"
        changes.append(f"{kind}: {found} Hz, converted to {rate} Hz")
        samples = resampled(samples, found, rate)
    write_flac(target, samples, rate)
    return Usable(target, len(samples), tuple(changes))


def resampled(samples: Samples, old: int, new: int) -> Samples:
    """Samples `(S,)` at another rate in Hz."""
    from scipy.signal import resample_poly

    divisor = int(np.gcd(old, new))
    changed: Samples = resample_poly(samples, new // divisor, old // divisor)
    return changed


def write_flac(path: Path, samples: Samples, rate: int) -> None:
    """Write 16-bit FLAC; values beyond 1 are clipped."""
    import soundfile

    encoded = io.BytesIO()  # libsndfile's own writing does not say that a disk is full
    soundfile.write(encoded, samples.clip(-1, 1), rate, subtype="PCM_16", format="FLAC")
    with atomic_path(path) as temporary:
        temporary.write_bytes(encoded.getvalue())


def read_mono(source: Path, promised: int | None = None) -> tuple[Samples, int]:
    """The mean of the channels, `(S,)`, and the rate; `BadAudioError` for other than `promised` samples."""
    import soundfile

    mono: list[Samples] = []
    try:
        with soundfile.SoundFile(str(source)) as file:
            rate = int(file.samplerate)
            share = MP3_SHARE if file.subtype.startswith("MPEG") else LOSSLESS_SHARE
            for block in file.blocks(BLOCK_SECONDS * rate, dtype="float32", always_2d=True):
                mono.append(block.mean(axis=1))
    except (OSError, soundfile.LibsndfileError) as error:
        raise BadAudioError(f"not audio: {getattr(error, 'error_string', error)}") from error
    samples = np.concatenate(mono) if mono else np.zeros(0, np.float32)
    if len(samples) == 0:
        raise BadAudioError("no samples: the file holds a header only")
    if promised is not None and len(samples) < share * promised:
        raise BadAudioError(f"truncated: the header says {promised} samples, the file holds {len(samples)}")
    if promised is not None and len(samples) > promised and share == LOSSLESS_SHARE:
        raise BadAudioError(f"header lies: the header says {promised} samples, the file holds {len(samples)}")
    if not np.isfinite(samples).all():
        raise BadAudioError("not finite: the samples hold NaN or infinity")
    if (loudest := float(np.abs(samples).max())) > LOUDEST:
        raise BadAudioError(f"out of range: samples reach {loudest:g}, far beyond 1")
    return samples, rate


def _read_by_ffmpeg(source: Path, rate: int) -> Samples:
    program = shutil.which("ffmpeg")
    if program is None:
        raise BadAudioError(f"not readable here: {source.suffix} needs ffmpeg")
    command = [program, "-nostdin", "-v", "error", "-xerror", "-i", str(source)]
    done = subprocess.run(
        [*command, "-ac", "1", "-ar", str(rate), "-f", "f32le", "-"], capture_output=True, check=False
    )
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["ffmpeg does not say why"]
        raise BadAudioError(f"not audio: {said[-1]}")
    if not done.stdout:
        raise BadAudioError("no samples: the file holds a header only")
    return np.frombuffer(done.stdout, dtype="<f4").astype(np.float32)
