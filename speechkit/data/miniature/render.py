"""The pipeline that all miniatures share: a plan (who says what, where it goes) becomes files, on all cores."""

import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from speechkit.common.errors import SpeechkitError
from speechkit.common.progress import progress
from speechkit.data.miniature import acoustics, espeak, grammar, phones
from speechkit.data.miniature.speakers import Speaker, generator
from speechkit.data.parallel import parallel_map

_UTTERANCES_PER_TASK = 16
_PACKED = (".gz", ".z")  # documents with these suffixes are gzipped


@dataclass(frozen=True)
class Utterance:
    """One sentence of one speaker.

    `path` is its place in the corpus, without suffix, and unique; `copies` are further places of the same recording,
    and `parts` the sets of the corpus that it counts in, as data preparation names them.
    """

    path: Path
    text: str
    speaker: Speaker
    parts: tuple[str, ...] = ()
    copies: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Label:
    """A phone or word from sample `start` to before sample `end`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Recording:
    """What a corpus writes to files: int16 samples, TIMIT phones that cover them without gaps, and words."""

    samples: npt.NDArray[np.int16]
    sample_rate: int
    phones: list[Label]
    words: list[Label]


@dataclass(frozen=True)
class Plan:
    """All that makes a corpus.

    `silence_s` is the range of silence before and after the speech, `write(recording, utterance, folder)` makes an
    utterance's files below `folder` (it must be a function of a module, so that other processes can call it), and
    `documents` are further text files by their path, gzipped where it ends in .gz or .z. Without `labelled` recordings
    have neither phones nor words, and voices may speak any language.
    """

    utterances: list[Utterance]
    sample_rate: int
    silence_s: tuple[float, float]
    write: Callable[[Recording, Utterance, Path], None]
    labelled: bool = True
    documents: dict[Path, str] = field(default_factory=dict)


def render(plan: Plan, utterance: Utterance, seed: int) -> Recording:
    """Say an utterance as its speaker and record it in the speaker's room; the same arguments give the same samples."""
    rng = generator(seed, f"utterance {utterance.path.as_posix()}")
    speech = espeak.synthesise(utterance.text, varied(utterance.speaker.voice, rng))
    segments = phones.segment(speech) if plan.labelled else []
    begin, finish = _ends(segments, len(speech.samples)) if plan.labelled else espeak.ends(speech)
    sample_rate, silence_s = plan.sample_rate, plan.silence_s
    before, after = (int(seconds * espeak.SAMPLE_RATE) for seconds in rng.uniform(*silence_s, 2))
    clean = np.pad(speech.samples[begin:finish].astype(np.float32), (before, after))

    plain = Fraction(sample_rate, espeak.SAMPLE_RATE)
    ratio = Fraction(plain.numerator, round(plain.denominator * utterance.speaker.stretch))
    samples = acoustics.record(acoustics.resample(clean, ratio), sample_rate, utterance.speaker, rng)
    if not plan.labelled:
        return Recording(samples, sample_rate, [], [])

    def moved(position: int) -> int:
        return round((position - begin + before) * ratio)

    spoken = [item for item in segments if item.phone != phones.SILENCE]
    labels = [Label(moved(item.start), moved(item.end), item.phone) for item in spoken]
    if before:
        labels.insert(0, Label(0, labels[0].start, phones.SILENCE))
    if after:
        labels.append(Label(labels[-1].end, len(samples), phones.SILENCE))
    return Recording(samples, sample_rate, labels, _words(utterance.text, speech.words, spoken, moved))


def _ends(segments: Sequence[phones.Segment], length: int) -> tuple[int, int]:
    """Where speech begins and ends between the silences."""
    begin = segments[0].end if segments[0].phone == phones.SILENCE else 0
    finish = segments[-1].start if segments[-1].phone == phones.SILENCE else length
    return begin, finish


def varied(voice: espeak.Voice, rng: np.random.Generator) -> espeak.Voice:
    """A speaker is a little slower or faster, higher or lower from one sentence to the next."""
    rate = round(voice.rate * rng.uniform(0.94, 1.06))
    pitch = int(np.clip(voice.pitch + rng.integers(-5, 6), 0, 99))
    return replace(voice, rate=rate, pitch=pitch)


def _words(text: str, announced: list[str], spoken: list[phones.Segment], moved: Callable[[int], int]) -> list[Label]:
    expected = grammar.words(text)
    spans = {index: [item for item in spoken if item.word == index] for index in range(len(announced))}
    if [grammar.words(word) for word in announced] != [[word] for word in expected] or not all(spans.values()):
        said = " | ".join(announced)
        raise SpeechkitError(f"espeak-ng says '{text}' as '{said}', not word by word; take it out of the grammar")
    return [
        Label(moved(spans[index][0].start), moved(spans[index][-1].end), word) for index, word in enumerate(expected)
    ]


def run(plan: Plan, folder: Path, seed: int, num_jobs: int) -> list[float]:
    """Write all files of a plan below `folder` with `num_jobs` processes; returns each utterance's seconds of audio."""
    for path, text in plan.documents.items():
        content = text.encode()
        packed = gzip.compress(content, mtime=0) if path.suffix in _PACKED else content
        _with_parents(folder / path).write_bytes(packed)
    for utterance in plan.utterances:
        for path in (utterance.path, *utterance.copies):
            _with_parents(folder / path)
    starts = range(0, len(plan.utterances), _UTTERANCES_PER_TASK)
    tasks = [plan.utterances[start : start + _UTTERANCES_PER_TASK] for start in starts]
    work = partial(_make, replace(plan, utterances=[], documents={}), folder, seed)
    done = parallel_map(work, tasks, min(num_jobs, len(tasks)))
    return list(chain.from_iterable(progress(done, total=len(tasks), description="speaking (parts)")))


def _make(plan: Plan, folder: Path, seed: int, utterances: Sequence[Utterance]) -> list[float]:
    seconds = []
    for utterance in utterances:
        recording = render(plan, utterance, seed)
        plan.write(recording, utterance, folder)
        seconds.append(len(recording.samples) / plan.sample_rate)
    return seconds


def _with_parents(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
