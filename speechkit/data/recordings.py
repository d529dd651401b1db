"""A folder of recordings with transcripts that belongs to no corpus: any names, formats and sampling rates."""

import io
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from lhotse import SupervisionSegment
from numpy.typing import NDArray

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import disk_errors
from speechkit.common.progress import progress
from speechkit.data.audio import BadAudioError, read_header
from speechkit.data.manifests import Problem, Split, make_recording
from speechkit.data.parallel import parallel_map
from speechkit.text.lines import numbered_lines
from speechkit.text.words import words_of

RATE = 16000
SPLIT = "all"
AUDIO = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".sph", ".aiff", ".aif", ".au", ".wv1", ".wv2")
TRANSCRIPTS = (".lab", ".txt")
BLOCK_SECONDS = 60


@dataclass(frozen=True)
class Source:
    """A recording and its transcript; either may be missing."""

    id: str
    audio: Path | None
    text: str | None


def find_recordings(folder: Path, text: Path | None) -> list[Source]:
    """Recordings below `folder` with their transcripts, by name; the id of a file is its path below the folder
    without the suffix.

    Args:
        folder: searched with all folders below it; hidden ones are passed over.
        text: a file of `id words ...` lines, where an id may also be a bare file name that is there once; or a folder
            of ID.lab or ID.txt files; `folder` itself where left out.

    Raises:
        SpeechkitError: a folder or file does not exist, there is no recording, or two have the same id.
    """
    for path in (folder, *([text] if text else [])):
        if not path.exists():
            raise SpeechkitError(f"{path} does not exist; correct --corpus-dir or --text")
    if not folder.is_dir():
        raise SpeechkitError(f"{folder} is a file; --corpus-dir takes the folder that holds the recordings")
    audio = _by_id(folder, AUDIO)
    if not audio:
        raise SpeechkitError(f"{folder} holds no recording ({' '.join(AUDIO)}); correct --corpus-dir")
    if text is not None and text.is_file():
        texts = _lines_of(text, audio)
    else:
        texts = {name: _content(path) for name, path in _by_id(text or folder, TRANSCRIPTS).items()}
    if not texts:
        raise SpeechkitError(f"{text or folder} holds no transcript (ID.lab or ID.txt); give --text FILE of `id words`")
    return [Source(name, audio.get(name), texts.get(name)) for name in sorted({*audio, *texts})]


def _by_id(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Files by id; of two kinds of transcript the first of `suffixes` counts, two recordings of one id are an error."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.suffix.lower() not in suffixes or any(part.startswith(".") for part in relative.parts):
            continue
        name = relative.with_suffix("").as_posix()
        if name in found and suffixes is AUDIO:
            raise SpeechkitError(f"{found[name]} and {path} are both recording '{name}'; rename one of them")
        found.setdefault(name, path)
    return found


def _content(path: Path) -> str:
    return " ".join(line for _, line in numbered_lines(path))


def _lines_of(path: Path, audio: Mapping[str, Path]) -> dict[str, str]:
    """Transcripts from `id words ...` lines, by the ids of the recordings where these are bare names."""
    names = Counter(Path(name).name for name in audio)
    whole = {Path(name).name: name for name in audio if names[Path(name).name] == 1}
    texts: dict[str, str] = {}
    for number, line in numbered_lines(path, "correct --text"):
        first, rest = (*line.split(maxsplit=1), "", "")[:2]
        if not first:
            continue
        plain = first[: -len(suffix)] if (suffix := Path(first).suffix).lower() in AUDIO else first
        name = plain if plain in audio else whole.get(plain, plain)
        if name in texts:
            raise SpeechkitError(f"{path}:{number}: '{first}' stands twice; keep one of the lines")
        texts[name] = rest
    return texts


def prepare_recordings(sources: list[Source], work: Path, nj: int) -> Split:
    """Describe recordings as utterances of one channel at 16 kHz; others are converted to FLAC under `work`.

    The speaker is the folder that a recording lies in, the recording itself where it lies in none. Texts are split by
    `words_of`. What is missing, empty or cannot be read is a problem of its own.
    """
    content = Split()
    results = progress(parallel_map(partial(_described, work), sources, nj), len(sources), "reading recordings")
    for source, found in zip(sources, results, strict=True):
        words = words_of(source.text or "")
        if isinstance(found, str):
            content.problems.append(Problem(SPLIT, source.id, str(source.audio or source.id), found))
            continue
        path, duration = found
        if not words:
            reason = "no transcript: there is none" if source.text is None else "no transcript: it is empty"
            content.problems.append(Problem(SPLIT, source.id, str(source.audio), reason))
            continue
        folder = Path(source.id).parent.as_posix()
        content.recordings.append(make_recording(source.id, path))
        content.supervisions.append(
            SupervisionSegment(
                source.id,
                source.id,
                0.0,
                duration,
                text=" ".join(words),
                speaker=source.id if folder == "." else folder,
            )
        )
    return content


def _described(work: Path, source: Source) -> tuple[Path, float] | str:
    """The file to use and its seconds, or why there is none."""
    if source.audio is None:
        return "no audio: there is only a transcript"
    try:
        header = read_header(source.audio)
        if (header.sampling_rate, header.num_channels) == (RATE, 1):
            return source.audio.absolute(), header.num_samples / RATE
        path = work / f"{source.id}.flac"
        return path, _convert(source.audio, path) / RATE
    except BadAudioError as error:
        return str(error)


def _convert(source: Path, target: Path) -> int:
    """Write the mean of the channels at 16 kHz; returns the number of samples."""
    import soundfile
    from scipy.signal import resample_poly

    mono: list[NDArray[np.float32]] = []
    try:
        with soundfile.SoundFile(str(source)) as file:
            rate = file.samplerate
            blocks: Iterator[NDArray[np.float32]] = file.blocks(BLOCK_SECONDS * rate, dtype="float32", always_2d=True)
            mono = [block.mean(axis=1) for block in blocks]
    except (OSError, soundfile.LibsndfileError) as error:
        raise BadAudioError(f"not audio: {getattr(error, 'error_string', error)}") from error
    if not mono:
        raise BadAudioError("no samples: the file holds a header only")
    samples = np.concatenate(mono)
    if rate != RATE:
        divisor = np.gcd(rate, RATE)
        samples = resample_poly(samples, RATE // divisor, rate // divisor)
    encoded = io.BytesIO()  # libsndfile's own writing does not say that a disk is full
    soundfile.write(encoded, samples.clip(-1, 1), RATE, subtype="PCM_16", format="FLAC")
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(encoded.getvalue())
    return len(samples)


def remove_work(work: Path) -> None:
    """Delete converted recordings and features."""
    shutil.rmtree(work, ignore_errors=True)
