"""SPHERE files compressed with shorten, as the LDC's discs have them: unpacked once to FLAC, by sph2pipe or ffmpeg."""

import logging
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import atomic_path
from speechkit.common.progress import progress
from speechkit.data.audio import BadAudioError, read_header
from speechkit.data.parallel import parallel_map

log = logging.getLogger(__name__)
HEADER_BYTES = 1024
COMPRESSED = re.compile(rb"sample_coding\s+-s\d+\s+\S*shorten")
SAMPLES = re.compile(rb"sample_count\s+-i\s+(\d+)")
PROGRAMS = {
    "sph2pipe": ("-p", "-f", "wav", "{source}", "{target}"),
    "ffmpeg": ("-nostdin", "-v", "error", "-y", "-i", "{source}", "-c:a", "pcm_s16le", "{target}"),
}


def unpack_compressed(targets: Mapping[Path, Path], nj: int) -> dict[Path, str]:
    """Write each file among the keys that is compressed as FLAC to its value; files that exist already are kept.

    Returns:
        For each compressed file the reason why it cannot be used, empty where it was unpacked.

    Raises:
        SpeechkitError: there are compressed files, and neither sph2pipe nor ffmpeg.
    """
    compressed = [path for path in targets if is_compressed(path)]
    if not compressed:
        return {}
    program = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
    if program is None:
        raise SpeechkitError(
            f"{compressed[0]} is compressed with shorten, as {len(compressed)} files are: install ffmpeg "
            "(apt-get install ffmpeg) or sph2pipe and run the same command again"
        )
    log.info("unpacking %d files with %s", len(compressed), program)
    jobs = [(path, targets[path]) for path in compressed]
    reasons = progress(parallel_map(partial(_unpack, program), jobs, min(nj, len(jobs))), len(jobs), "unpack")
    return dict(zip(compressed, reasons, strict=True))


def is_compressed(path: Path) -> bool:
    """Whether `path` is a SPHERE file with shorten coding; unreadable files are not."""
    try:
        with path.open("rb") as stream:
            return COMPRESSED.search(stream.read(HEADER_BYTES)) is not None
    except OSError:
        return False


def _unpack(program: str, job: tuple[Path, Path]) -> str:
    source, target = job
    if target.exists():
        return ""
    try:
        with tempfile.TemporaryDirectory(prefix="unpack-") as folder:
            plain = Path(folder) / "audio.wav"
            _call(program, source, plain)
            _to_flac(plain, target, source)
    except BadAudioError as error:
        return str(error)
    return ""


def _call(program: str, source: Path, target: Path) -> None:
    words = [word.format(source=source, target=target) for word in PROGRAMS[Path(program).name]]
    result = subprocess.run([program, *words], capture_output=True, text=True, errors="replace", check=False)
    if result.returncode != 0 or not target.exists():
        said = (result.stderr.strip().splitlines() or ["nothing"])[-1]
        raise BadAudioError(f"not audio: {Path(program).name} says {said}")


def _to_flac(plain: Path, target: Path, source: Path) -> None:
    import soundfile

    with source.open("rb") as stream:
        claimed = SAMPLES.search(stream.read(HEADER_BYTES))
    found = read_header(plain).num_samples
    if claimed and int(claimed[1]) != found:
        raise BadAudioError(f"truncated: the header says {int(claimed[1])} samples, the file holds {found}")
    samples, rate = soundfile.read(str(plain), dtype="int16")
    with atomic_path(target) as temporary:
        soundfile.write(str(temporary), samples, rate, subtype="PCM_16", format="FLAC")
