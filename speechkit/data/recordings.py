"""A folder of recordings with transcripts that belongs to no corpus: any names, formats and sampling rates."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from lhotse import SupervisionSegment

from speechkit.common.errors import SpeechkitError
from speechkit.common.progress import progress
from speechkit.data.audio import BadAudioError
from speechkit.data.conversion import AUDIO, Usable, usable
from speechkit.data.manifests import Problem, Split, make_recording
from speechkit.data.parallel import parallel_map
from speechkit.data.transcripts import Row, read_transcripts
from speechkit.text.lines import numbered_lines
from speechkit.text.normalise import GENERAL, Rules, words_of

RATE = 16000
SPLIT = "all"
TRANSCRIPTS = (".lab", ".txt")


@dataclass(frozen=True)
class Source:
    """A recording and its transcript; either may be missing. The rest is what the transcripts say of it."""

    id: str
    audio: Path | None
    text: str | None
    speaker: str | None = None
    split: str | None = None
    gender: str | None = None
    language: str | None = None


@dataclass
class Found:
    """Recordings of a folder, and what is wrong with others or with the transcripts."""

    sources: list[Source] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def find_recordings(folder: Path, text: Path | None, option: str = "--corpus-dir") -> Found:
    """Recordings below `folder` with their transcripts, by name; the id of a file is its path below the folder
    without the suffix.

    Args:
        folder: searched with all folders below it; hidden ones are passed over.
        text: a file of transcripts as `read_transcripts` takes it, where a name may be an id, with suffix or not and
            with folders before it, or a bare file name that is there once; or a folder of ID.lab or ID.txt files;
            `folder` itself where left out.
        option: that gave `folder`, for messages.

    Raises:
        SpeechkitError: a folder or file does not exist, or there is no recording or no transcript at all.
    """
    for path in (folder, *([text] if text else [])):
        if not path.exists():
            raise SpeechkitError(f"{path} does not exist; correct {option} or --text")
    if not folder.is_dir():
        raise SpeechkitError(f"{folder} is a file; {option} takes the folder that holds the recordings")
    found = Found()
    audio = _by_id(folder, AUDIO, found.problems)
    if not audio:
        raise SpeechkitError(f"{folder} holds no recording ({' '.join(AUDIO)}); correct {option}")
    if text is not None and text.is_file():
        rows = _rows_of(text, audio, found.problems)
    else:
        rows = _rows_of_files(_by_id(text or folder, TRANSCRIPTS, found.problems), found.problems)
    if not rows:
        raise SpeechkitError(f"{text or folder} holds no transcript (ID.lab or ID.txt); give --text FILE of `id words`")
    left_out = {problem.id for problem in found.problems if not problem.used}
    for name in sorted({*audio, *rows} - left_out):
        row = rows.get(name, Row(0, name, ""))
        words = row.text if name in rows else None
        details = (row.speaker, row.split, row.gender, row.language)
        found.sources.append(Source(name, audio.get(name), words, *details))
    return found


def _by_id(folder: Path, suffixes: tuple[str, ...], problems: list[Problem]) -> dict[str, Path]:
    """Files by id, the first of each; a second recording of one id is a problem."""
    found: dict[str, Path] = {}
    for path in _files(folder, problems):
        if path.suffix.lower() not in suffixes:
            continue
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found and suffixes is AUDIO:
            reason = f"duplicate id: {found[name]} is '{name}' too, and is used"
            problems.append(Problem(SPLIT, path.relative_to(folder).as_posix(), str(path), reason))
        found.setdefault(name, path)
    return found


def _files(folder: Path, problems: list[Problem]) -> Iterator[Path]:
    """All files below a folder, in order, but for hidden ones."""

    def note(error: OSError) -> None:
        reason = f"unreadable: {error.strerror}"
        problems.append(Problem(SPLIT, str(error.filename), str(error.filename), reason))

    names: list[Path] = []
    for place, folders, files in os.walk(folder, onerror=note):
        folders[:] = [name for name in folders if not name.startswith(".")]
        names += [Path(place, name) for name in files if not name.startswith(".")]
    return iter(sorted(names))


def _rows_of_files(files: Mapping[str, Path], problems: list[Problem]) -> dict[str, Row]:
    """Transcripts of one file each."""
    rows = {}
    for name, path in files.items():
        try:
            rows[name] = Row(1, name, " ".join(line for _, line in numbered_lines(path)))
        except SpeechkitError as error:
            problems.append(Problem(SPLIT, name, str(path), f"bad transcript: {error}"))
    return rows


def _rows_of(path: Path, audio: Mapping[str, Path], problems: list[Problem]) -> dict[str, Row]:
    """Transcripts of a file by the ids of the recordings."""
    names = Counter(Path(name).name for name in audio)
    whole = {Path(name).name: name for name in audio if names[Path(name).name] == 1}
    transcripts = read_transcripts(path)
    problems += [Problem(SPLIT, path.name, str(path), oddity, used=True) for oddity in transcripts.oddities]
    rows: dict[str, Row] = {}
    differing: dict[str, Row] = {}
    for row in transcripts.rows:
        plain = row.name[: -len(suffix)] if (suffix := Path(row.name).suffix).lower() in AUDIO else row.name
        name = next((tail for tail in _tails(plain) if tail in audio), whole.get(Path(plain).name, plain))
        first = rows.setdefault(name, row)
        if first is not row and first.text != row.text:
            differing.setdefault(name, row)
        elif first is not row:
            reason = f"duplicate id: '{name}' stands in lines {first.line} and {row.line} with the same words"
            problems.append(Problem(SPLIT, name, str(path), reason, used=True))
    for name, row in differing.items():
        reason = f"duplicate id: '{name}' stands in lines {rows.pop(name).line} and {row.line} with different words"
        problems.append(Problem(SPLIT, name, str(path), reason))
    return rows


def _tails(name: str) -> Iterator[str]:
    """A path, and what is left of it without its first folders, one after the other."""
    parts = Path(name).parts
    return ("/".join(parts[start:]) for start in range(len(parts)))


def prepare_recordings(sources: list[Source], work: Path, nj: int, rules: Rules | None = GENERAL) -> Split:
    """Describe recordings as utterances of one channel at 16 kHz; others are converted to FLAC under `work`.

    The speaker is what the transcripts say, else the folder that a recording lies in, else the recording itself. Texts
    become words by `rules`, or stay as they are without rules. What is missing, empty or cannot be read is a problem.
    """
    content = Split()
    results = progress(parallel_map(partial(_described, work), sources, nj), len(sources), "reading recordings")
    for source, found in zip(sources, results, strict=True):
        words = words_of(source.text or "", rules) if rules else (source.text or "").split()
        if isinstance(found, str):
            content.problems.append(Problem(SPLIT, source.id, str(source.audio or source.id), found))
            continue
        if not words:
            reason = "no transcript: there is none" if source.text is None else "no transcript: it holds no words"
            content.problems.append(Problem(SPLIT, source.id, str(source.audio), reason))
            continue
        changes = (Problem(SPLIT, source.id, str(source.audio), change, used=True) for change in found.changes)
        content.problems.extend(changes)
        folder = Path(source.id).parent.as_posix()
        content.recordings.append(make_recording(source.id, found.path))
        content.supervisions.append(
            SupervisionSegment(
                source.id,
                source.id,
                0.0,
                found.num_samples / RATE,
                text=" ".join(words),
                speaker=source.speaker or (source.id if folder == "." else folder),
                gender=source.gender,
                language=source.language,
            )
        )
    return content


def _described(work: Path, source: Source) -> Usable | str:
    """The file to use, or why there is none."""
    if source.audio is None:
        return "no audio: there is only a transcript"
    try:
        return usable(source.audio, work / f"{source.id}.flac", RATE)
    except BadAudioError as error:
        return str(error)


def remove_work(work: Path) -> None:
    """Delete converted recordings and features."""
    shutil.rmtree(work, ignore_errors=True)
