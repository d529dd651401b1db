"""From what a corpus announces to manifests: no utterance of a list, a transcript or a folder is passed over."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from lhotse import Recording, SupervisionSegment

from speechkit.common.progress import progress
from speechkit.data.audio import BadAudioError
from speechkit.data.manifests import Problem, Split, make_recording
from speechkit.data.parallel import parallel_map

UTTERANCES_PER_BATCH = 256


@dataclass(frozen=True)
class Announced:
    """An utterance that a list, a transcript or an audio file announces.

    `path` is where its audio is or should be, `reason` why it cannot be used where that is known already.
    """

    id: str
    path: Path
    speaker: str
    text: str
    reason: str = ""
    gender: str | None = None
    custom: dict[str, str] = field(default_factory=dict)


NO_AUDIO = "no audio file: only its transcript is there"
NO_TRANSCRIPT = "no transcript: only its audio is there"


def assemble(name: str, utterances: Sequence[Announced], language: str, nj: int) -> Split:
    """Manifests of set `name`: read the headers with `nj` processes and note why an utterance is unusable."""
    content = Split()
    starts = range(0, len(utterances), UTTERANCES_PER_BATCH)
    batches = [utterances[start : start + UTTERANCES_PER_BATCH] for start in starts]
    described = parallel_map(partial(_describe_all, name), batches, min(nj, max(1, len(batches))))
    results = (item for batch in progress(described, len(batches), f"read headers of {name}") for item in batch)
    for utterance, found in zip(utterances, results, strict=True):
        if isinstance(found, Problem):
            content.problems.append(found)
        else:
            content.recordings.append(found)
            content.supervisions.append(_supervision(utterance, found, language))
    return content


def _describe_all(name: str, utterances: Sequence[Announced]) -> list[Recording | Problem]:
    return [_describe(name, utterance) for utterance in utterances]


def _describe(name: str, utterance: Announced) -> Recording | Problem:
    reason = utterance.reason
    try:
        if not reason and utterance.path.exists():
            return make_recording(utterance.id, utterance.path)
    except BadAudioError as error:
        reason = str(error)
    except OSError as error:
        reason = f"unreadable: {error.strerror}"
    return Problem(name, utterance.id, str(utterance.path), reason or NO_AUDIO)


def _supervision(utterance: Announced, recording: Recording, language: str) -> SupervisionSegment:
    return SupervisionSegment(
        id=utterance.id,
        recording_id=utterance.id,
        start=0.0,
        duration=recording.duration,
        text=utterance.text,
        language=language,
        speaker=utterance.speaker,
        gender=utterance.gender,
        custom=utterance.custom or None,
    )
