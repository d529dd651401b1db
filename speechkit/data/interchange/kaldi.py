"""Kaldi data directories: wav.scp, segments, text, utt2spk and what goes with them.

https://kaldi-asr.org/doc/data_prep.html
"""

import logging
import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from lhotse import MonoCut, Recording, SupervisionSegment

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import require_file, write_text
from speechkit.common.progress import progress
from speechkit.data.audio import BadAudioError
from speechkit.data.conversion import Usable, read_mono, resampled, usable, write_flac
from speechkit.data.manifests import Problem, Split, make_recording
from speechkit.data.parallel import parallel_map
from speechkit.text.lines import numbered_lines

log = logging.getLogger(__name__)
RATE = 16000
TO_THE_END = -1.0
TABLES = ("wav.scp", "segments", "text", "utt2spk", "spk2utt", "utt2dur", "reco2dur", "utt2lang", "spk2gender")
_ARCHIVE = re.compile(r":\d+$")


@dataclass(frozen=True)
class Segment:
    """An utterance: its recording, and from which to which second; the end may be `TO_THE_END` of the recording."""

    recording: str
    start: float
    end: float


def read_kaldi(folder: Path, split: str, audio: Path, run_pipes: bool = False, nj: int = 1) -> Split:
    """Read a data directory; paths in wav.scp are meant from the working directory, as Kaldi has it.

    Args:
        folder: with wav.scp and text; segments, utt2spk, spk2gender and utt2lang where there are.
        split: name of the set.
        audio: where recordings that are not mono at 16 kHz are converted to, and what pipes give.
        run_pipes: run the commands of wav.scp. Files that flac or sph2pipe would unpack are read without them.
        nj: processes that convert.

    Returns:
        The utterances, and all that is wrong, as problems.
    """
    require_file(folder / "wav.scp", "give the folder of a Kaldi data directory")
    reader = _Reader(folder, split)
    sources = reader.table("wav.scp")
    content = Split(recordings=list(reader.recordings(sources, audio, run_pipes, nj)))
    segments, texts = reader.segments(sources), reader.table("text")
    content.supervisions = list(reader.supervisions(segments, texts, {item.id: item for item in content.recordings}))
    for name in texts.keys() - segments.keys() - reader.left_out:
        reader.note(name, folder / "text", "no audio: there is only a transcript")
    content.problems = sorted(reader.problems, key=lambda problem: (problem.id, problem.reason))
    return content


@dataclass
class _Reader:
    """One data directory being read."""

    folder: Path
    split: str
    problems: list[Problem] = field(default_factory=list)

    @property
    def left_out(self) -> set[str]:
        """Ids with a problem."""
        return {problem.id for problem in self.problems if not problem.used}

    def note(self, name: str, path: Path, reason: str, used: bool = False) -> None:
        """Remember a problem."""
        self.problems.append(Problem(self.split, name, str(path), reason, used))

    def table(self, name: str) -> dict[str, str]:
        """`key rest` lines of a file; empty where it is not there."""
        path = self.folder / name
        found: dict[str, str] = {}
        for number, line in numbered_lines(path) if path.exists() else ():
            key, rest = (*line.split(maxsplit=1), "", "")[:2]
            if key in found:
                self.note(
                    key, path, f"duplicate id: '{key}' stands again in line {number}; its first line is used", True
                )
            elif key:
                found[key] = rest.strip()
        return found

    def recordings(self, sources: Mapping[str, str], audio: Path, run_pipes: bool, nj: int) -> Iterator[Recording]:
        """The recordings that can be used."""
        found = parallel_map(partial(_converted, audio, run_pipes), sources.items(), nj)
        shown = progress(found, len(sources), f"recordings of {self.folder}")
        for (name, source), result in zip(sources.items(), shown, strict=True):
            if isinstance(result, str):
                self.note(name, Path(source), result)
                continue
            for change in result.changes:
                self.note(name, Path(source), change, used=True)
            yield make_recording(name, result.path)

    def segments(self, sources: Mapping[str, str]) -> dict[str, Segment]:
        """Utterances by id; without a file of segments the recordings are the utterances."""
        path = self.folder / "segments"
        if not path.exists():
            return {name: Segment(name, 0.0, TO_THE_END) for name in sources}
        found = {}
        for name, rest in self.table("segments").items():
            try:
                recording, start, end, *_ = rest.split()
                found[name] = Segment(recording, float(start), float(end))
            except ValueError:
                self.note(name, path, f"no times: '{name} {rest}' is not `id recording start end`")
                continue
            if recording not in sources:
                self.note(name, path, f"no audio: wav.scp has no recording '{recording}'")
        return found

    def supervisions(
        self, segments: Mapping[str, Segment], texts: Mapping[str, str], recordings: Mapping[str, Recording]
    ) -> Iterator[SupervisionSegment]:
        """Utterances of the recordings that can be used; those without words are for validation to find."""
        speakers, genders, languages = (self.table(name) for name in ("utt2spk", "spk2gender", "utt2lang"))
        for name, segment in segments.items():
            if segment.recording not in recordings:
                continue
            end = recordings[segment.recording].duration if segment.end == TO_THE_END else segment.end
            speaker = speakers.get(name, name)
            yield SupervisionSegment(
                name,
                segment.recording,
                segment.start,
                round(end - segment.start, 8),
                text=" ".join(texts.get(name, "").split()),
                speaker=speaker,
                gender=genders.get(speaker),
                language=languages.get(name),
            )


def _converted(audio: Path, run_pipes: bool, entry: tuple[str, str]) -> Usable | str:
    """The file to use for a line of wav.scp, or why there is none."""
    name, source = entry
    target = audio / f"{name}.flac"
    try:
        if not source.endswith("|"):
            if _ARCHIVE.search(source):
                return f"archive: {source} is part of an archive, not a file"
            return usable(Path(source), target, RATE)
        packed = _packed_file(source[:-1])
        if packed:
            return usable(packed, target, RATE)
        return _piped(source[:-1], target) if run_pipes else f"pipe: {source}"
    except BadAudioError as error:
        return str(error)


def _packed_file(command: str) -> Path | None:
    """The file that a command does nothing with but unpack it to WAV, in a format that libsndfile reads."""
    try:
        program, *words = shlex.split(command)
    except ValueError:
        return None
    if Path(program).name == "flac" and set(words) & {"-d", "-cd", "-dc", "-cds", "-dcs", "--decode"}:
        files = [word for word in words if not word.startswith("-")]
        return Path(files[0]) if len(files) == 1 else None
    if Path(program).name == "sph2pipe" and words[:2] == ["-f", "wav"]:
        files = [word for word in words[2:] if word != "-p"]
        return Path(files[0]) if len(files) == 1 else None
    return None


def _piped(command: str, target: Path) -> Usable:
    """Run a command of wav.scp, whose output is a WAV file."""
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, check=False)
    if done.returncode != 0 or not done.stdout:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it gives no output"]
        raise BadAudioError(f"not audio: the pipe `{command.strip()}` fails: {said[-1]}")
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "pipe.wav"
        wav.write_bytes(done.stdout)
        samples, rate = read_mono(wav)
    samples = samples if rate == RATE else resampled(samples, rate, RATE)
    write_flac(target, samples, RATE)
    return Usable(target, len(samples))


def write_kaldi(cuts: Iterable[MonoCut], folder: Path) -> int:
    """Write a data directory; returns the number of utterances.

    Ids begin with the speaker where Kaldi's sorting wants it. WAV files stand in wav.scp as they are, FLAC and SPHERE
    behind the commands that unpack them. Files of segments are written where an utterance is part of a recording.

    Raises:
        SpeechkitError: an id or speaker holds white space, or audio is of a format without a command.
    """
    utterances = [_Utterance.of(cut) for cut in cuts]
    if not _sorted_with_speakers(utterances):
        log.warning("ids in %s begin with the speaker now, as Kaldi sorts them", folder)
        utterances = [replace(each, id=f"{each.speaker}-{each.id}") for each in utterances]
    utterances.sort(key=lambda each: each.id.encode())
    whole = all(each.whole for each in utterances)
    tables: dict[str, dict[str, str]] = {name: {} for name in TABLES}
    for each in utterances:
        recording = each.id if whole else each.recording
        tables["wav.scp"][recording] = each.source
        tables["reco2dur"][recording] = _seconds(each.recording_seconds)
        tables["segments"][each.id] = f"{recording} {_seconds(each.start)} {_seconds(each.start + each.duration)}"
        tables["text"][each.id] = each.text
        tables["utt2spk"][each.id] = each.speaker
        tables["utt2dur"][each.id] = _seconds(each.duration)
        tables["spk2utt"][each.speaker] = f"{tables['spk2utt'].get(each.speaker, '')} {each.id}".strip()
        if each.language:
            tables["utt2lang"][each.id] = each.language
        if each.gender:
            tables["spk2gender"][each.speaker] = each.gender[0].lower()
    if whole:
        tables["segments"].clear()
    for name, table in tables.items():
        (folder / name).unlink(missing_ok=True)
        if table:
            rows = sorted(table.items(), key=lambda row: row[0].encode())
            write_text(folder / name, "".join(f"{key} {value}\n" for key, value in rows))
    return len(utterances)


@dataclass(frozen=True)
class _Utterance:
    id: str
    speaker: str
    text: str
    recording: str
    source: str
    start: float
    duration: float
    recording_seconds: float
    gender: str | None
    language: str | None

    @property
    def whole(self) -> bool:
        """Whether it is all of its recording."""
        return self.start == 0 and abs(self.duration - self.recording_seconds) < 1 / RATE

    @classmethod
    def of(cls, cut: MonoCut) -> "_Utterance":
        """What Kaldi wants to know of a cut with one supervision."""
        supervision, recording = cut.supervisions[0], cut.recording
        speaker = str(supervision.speaker or cut.id)
        for name in (cut.id, speaker, recording.id):
            if name.split() != [name]:
                raise SpeechkitError(f"'{name}' holds white space, which Kaldi's files cannot hold; rename it")
        return cls(
            cut.id,
            speaker,
            " ".join((supervision.text or "").split()),
            recording.id,
            _source(Path(recording.sources[0].source).absolute()),
            cut.start,
            cut.duration,
            recording.duration,
            supervision.gender,
            supervision.language,
        )


def _source(path: Path) -> str:
    """How wav.scp names a file."""
    with path.open("rb") as stream:
        start = stream.read(12)
    if start.startswith(b"RIFF"):
        return str(path)
    if start.startswith(b"fLaC"):
        return f"flac -c -d -s {shlex.quote(str(path))} |"
    if start.startswith(b"NIST_1A"):
        return f"sph2pipe -f wav -p {shlex.quote(str(path))} |"
    raise SpeechkitError(f"{path} is neither WAV, FLAC nor SPHERE; `speechkit prepare --audio` converts it")


def _sorted_with_speakers(utterances: Sequence[_Utterance]) -> bool:
    """Whether sorting by id sorts by speaker too."""
    speakers = [each.speaker.encode() for each in sorted(utterances, key=lambda each: each.id.encode())]
    return speakers == sorted(speakers) and all(each.id.startswith(each.speaker) for each in utterances)


def _seconds(value: float) -> str:
    return f"{value:.8f}".rstrip("0").removesuffix(".")
