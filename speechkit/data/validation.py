"""Validation: decode every file once, leave out what is bad, and say why.

Each bad item costs itself alone. What remains becomes cuts, one per utterance, which later stages
trust without looking again.
"""

import contextlib
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from lhotse import MonoCut, Recording, SupervisionSegment

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import atomic_path, write_json
from speechkit.common.progress import progress
from speechkit.data.audio import BadAudioError, check_audio
from speechkit.data.manifest_index import ManifestIndex, file_of, index_errors
from speechkit.data.manifests import (
    SPLITS,
    Problem,
    manifest_of,
    problem_lines,
    read_bad,
    read_lines,
    write_cuts,
    write_problems,
)
from speechkit.data.parallel import parallel_map

log = logging.getLogger(__name__)
FILES_PER_BATCH = 32
TOLERANCE_SECONDS = 0.025  # one analysis window: hand-made segmentations end that far behind the audio

Check = tuple[str, int, int]  # file, samples promised, sampling rate wanted


@dataclass
class Validated:
    """How much of a split is good, and the problems of the rest."""

    utterances: int = 0
    seconds: float = 0.0
    problems: list[Problem] = field(default_factory=list)

    @property
    def hours(self) -> float:
        return self.seconds / 3600

    def summary(self) -> dict[str, Any]:
        """Counts for `summary.json`."""
        reasons = Counter(problem.kind for problem in self.problems)
        counts = {"utterances": self.utterances, "hours": round(self.hours, 4), "bad": len(self.problems)}
        return {**counts, "reasons": dict(sorted(reasons.items()))}


def validate(
    manifests: Path, out: Path, sampling_rate: int, max_bad_ratio: float, nj: int, splits: Sequence[str] = SPLITS
) -> dict[str, Validated]:
    """Validate the splits of `manifests`; write cuts, `report.jsonl` and `summary.json` to `out`.

    Of the good, nothing is kept in memory.

    Args:
        manifests: folder that `write_manifests` filled.
        out: folder for the results.
        sampling_rate: the rate in Hz that every file must have.
        max_bad_ratio: bad items among all items, over all splits, above which this raises.
        nj: processes that decode.
        splits: names of the splits.

    Raises:
        SpeechkitError: too much is bad, or nothing is good; the report is written first.
    """
    with index_errors():
        return _validated(manifests, out, sampling_rate, max_bad_ratio, nj, splits)


def _validated(
    manifests: Path, out: Path, sampling_rate: int, max_bad_ratio: float, nj: int, splits: Sequence[str]
) -> dict[str, Validated]:
    index = ManifestIndex()
    results = {split: Validated(problems=_indexed(manifests, split, index)) for split in splits}
    reasons = _decode_all(index, sampling_rate, nj)
    for split in {*SPLITS, *splits}:
        (out / f"cuts_{split}.jsonl.gz").unlink(missing_ok=True)
    report = out / "report.jsonl"
    with contextlib.ExitStack() as stack:
        for split, result in results.items():
            temporary = stack.enter_context(atomic_path(out / f"cuts_{split}.jsonl.gz"))
            write_cuts(temporary, _good_cuts(manifests, split, index, reasons, result))
        write_problems(report, (problem for result in results.values() for problem in result.problems))
        write_json(out / "summary.json", {split: result.summary() for split, result in results.items()})
        _stop_if_too_bad(results, report, max_bad_ratio)
    return results


def _indexed(manifests: Path, split: str, index: ManifestIndex) -> list[Problem]:
    """Put the recordings of a split into the index; returns what its preparation left out, and ids that come twice."""
    problems = read_bad(manifests, split)
    for row in read_lines(manifest_of(manifests, "recordings", split)):
        if (known := index.add_recording(split, row)) not in (None, file_of(row)):
            problems.append(Problem(split, row["id"], file_of(row), f"duplicate id: {known} has it too, and is used"))
    return problems


def _decode_all(index: ManifestIndex, rate: int, nj: int) -> dict[str, str]:
    """Reason by file name, for the files that are bad."""
    checks = ((name, count, rate) for name, count in index.files())
    batches = iter(lambda: list(islice(checks, FILES_PER_BATCH)), [])
    found = parallel_map(_check_batch, batches, nj)
    total = -(-index.num_files() // FILES_PER_BATCH)
    return {name: reason for part in progress(found, total, "validate") for name, reason in part}


def _check_batch(checks: list[Check]) -> list[tuple[str, str]]:
    bad = []
    for name, num_samples, rate in checks:
        try:
            check_audio(Path(name), num_samples, rate)
        except BadAudioError as error:
            bad.append((name, str(error)))
    return bad


def _good_cuts(
    manifests: Path, split: str, index: ManifestIndex, reasons: dict[str, str], result: Validated
) -> Iterator[MonoCut]:
    """One cut for each good utterance of a split; `result` counts them and gets the problems of the others."""
    for row in read_lines(manifest_of(manifests, "supervisions", split)):
        supervision = SupervisionSegment.from_dict(row)
        found = index.recording(split, supervision.recording_id)
        name = file_of(found) if found else supervision.recording_id
        recording = Recording.from_dict(found) if found else None  # takes the row apart
        reason = reasons.get(name) if recording else "no audio file: the recording is not in the manifest"
        reason = reason or _transcript_reason(supervision, recording)
        if owner := index.owner(supervision.id, split):
            reason = f"duplicate id: an utterance of {owner} has it too, and is used"
        if reason or recording is None:
            result.problems.append(Problem(split, supervision.id, name, str(reason)))
            continue
        cut = _cut(recording, supervision)
        result.utterances += 1
        result.seconds += float(cut.duration)
        yield cut
    for recording_id, name in index.without_transcript(split):
        reason = reasons.get(name, "no transcript: no supervision names this recording")
        result.problems.append(Problem(split, recording_id, name, reason))
    result.problems.sort(key=lambda problem: problem.id)


def _transcript_reason(supervision: SupervisionSegment, recording: Recording | None) -> str | None:
    """Why the transcript does not fit its recording, or None."""
    if not (supervision.text or "").strip():
        return "no transcript: the text is empty"
    if recording is None:
        return None
    if supervision.duration <= 0:
        return f"outside the audio: the supervision lasts {supervision.duration:.3f} s"
    if supervision.start < 0 or supervision.end > recording.duration + TOLERANCE_SECONDS:
        return f"outside the audio: the supervision ends at {supervision.end:.3f} s of {recording.duration:.3f} s"
    for kind, items in (supervision.alignment or {}).items():
        for item in items:
            if item.duration < 0 or item.start < 0 or item.end > recording.duration + TOLERANCE_SECONDS:
                span = f"{item.start:.3f} to {item.end:.3f} s of {recording.duration:.3f} s"
                return f"outside the audio: {kind} '{item.symbol}' at {span}"
    return None


def _cut(recording: Recording, supervision: SupervisionSegment) -> MonoCut:
    start = supervision.start
    duration = min(supervision.duration, recording.duration - start)
    return MonoCut(
        id=supervision.id,
        start=start,
        duration=duration,
        channel=0,
        supervisions=[supervision.with_offset(-start)],
        recording=recording,
    )


def _stop_if_too_bad(results: dict[str, Validated], report: Path, max_bad_ratio: float) -> None:
    bad = sum(len(result.problems) for result in results.values())
    total = bad + sum(result.utterances for result in results.values())
    if bad > max_bad_ratio * total:
        raise SpeechkitError(
            f"{bad} of {total} utterances ({bad / total:.1%}) are bad, more than --max-bad-ratio {max_bad_ratio:g}; "
            f"{report} names each with its reason"
        )
    for split, result in results.items():
        if not result.utterances:
            raise SpeechkitError(f"the {split} set has no good utterance; {report} names what is bad")
    if bad:
        log.warning("%d of %d utterances are bad and left out; %s names each with its reason", bad, total, report)
        for line in problem_lines(problem for result in results.values() for problem in result.problems):
            log.warning("%s", line)
