"""Validation: decode every file once, leave out what is bad, and say why.

Each bad item costs itself alone. What remains becomes cuts, one per utterance, which later stages
trust without looking again.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lhotse import MonoCut, Recording, SupervisionSegment

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import write_json
from speechkit.common.progress import progress
from speechkit.data.audio import BadAudioError, check_audio
from speechkit.data.manifests import SPLITS, Problem, Split, read_manifests, write_cuts, write_problems
from speechkit.data.parallel import parallel_map

log = logging.getLogger(__name__)
FILES_PER_BATCH = 32
TOLERANCE_SECONDS = 0.025  # one analysis window: hand-made segmentations end that far behind the audio

Check = tuple[str, int, int]  # file, samples promised, sampling rate wanted


@dataclass
class Validated:
    """The good cuts of a split and the problems of the rest."""

    cuts: list[MonoCut] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def hours(self) -> float:
        return sum(float(cut.duration) for cut in self.cuts) / 3600

    def summary(self) -> dict[str, Any]:
        """Counts for `summary.json`."""
        reasons = Counter(problem.kind for problem in self.problems)
        counts = {"utterances": len(self.cuts), "hours": round(self.hours, 4), "bad": len(self.problems)}
        return {**counts, "reasons": dict(sorted(reasons.items()))}


def validate(
    manifests: Path, out: Path, sampling_rate: int, max_bad_ratio: float, nj: int, splits: Sequence[str] = SPLITS
) -> dict[str, Validated]:
    """Validate the splits of `manifests`; write cuts, `report.jsonl` and `summary.json` to `out`.

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
    contents = {split: read_manifests(manifests, split) for split in splits}
    reasons = _decode_all(contents, sampling_rate, nj)
    results = {split: _judge(split, content, reasons) for split, content in contents.items()}
    report = out / "report.jsonl"
    for split in splits:
        (out / f"cuts_{split}.jsonl.gz").unlink(missing_ok=True)
    write_problems(report, (problem for result in results.values() for problem in result.problems))
    write_json(out / "summary.json", {split: result.summary() for split, result in results.items()})
    _stop_if_too_bad(results, report, max_bad_ratio)
    for split, result in results.items():
        write_cuts(out / f"cuts_{split}.jsonl.gz", result.cuts)
    return results


def _decode_all(contents: dict[str, Split], rate: int, nj: int) -> dict[str, str]:
    """Reason by file name, for the files that are bad."""
    promised = {_file(item): item.num_samples for content in contents.values() for item in content.recordings}
    checks: list[Check] = [(name, count, rate) for name, count in promised.items()]
    batches = [checks[start : start + FILES_PER_BATCH] for start in range(0, len(checks), FILES_PER_BATCH)]
    found = parallel_map(_check_batch, batches, nj)
    return {name: reason for part in progress(found, len(batches), "validate") for name, reason in part}


def _check_batch(checks: list[Check]) -> list[tuple[str, str]]:
    bad = []
    for name, num_samples, rate in checks:
        try:
            check_audio(Path(name), num_samples, rate)
        except BadAudioError as error:
            bad.append((name, str(error)))
    return bad


def _judge(split: str, content: Split, reasons: dict[str, str]) -> Validated:
    result = Validated(problems=list(content.problems))
    recordings = {item.id: item for item in content.recordings}
    transcribed = set()
    for supervision in content.supervisions:
        transcribed.add(supervision.recording_id)
        recording = recordings.get(supervision.recording_id)
        name = _file(recording) if recording else supervision.recording_id
        reason = reasons.get(name) if recording else "no audio file: the recording is not in the manifest"
        reason = reason or _transcript_reason(supervision, recording)
        if reason or recording is None:
            result.problems.append(Problem(split, supervision.id, name, str(reason)))
        else:
            result.cuts.append(_cut(recording, supervision))
    for recording_id in recordings.keys() - transcribed:
        name = _file(recordings[recording_id])
        reason = reasons.get(name, "no transcript: no supervision names this recording")
        result.problems.append(Problem(split, recording_id, name, reason))
    result.problems.sort(key=lambda problem: problem.id)
    return result


def _file(recording: Recording) -> str:
    return str(recording.sources[0].source)


def _transcript_reason(supervision: SupervisionSegment, recording: Recording | None) -> str | None:
    """Why the transcript does not fit its recording, or None."""
    if not (supervision.text or "").strip():
        return "no transcript: the text is empty"
    if recording is None:
        return None
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
    total = bad + sum(len(result.cuts) for result in results.values())
    if bad > max_bad_ratio * total:
        raise SpeechkitError(
            f"{bad} of {total} utterances ({bad / total:.1%}) are bad, more than --max-bad-ratio {max_bad_ratio:g}; "
            f"{report} names each with its reason"
        )
    for split, result in results.items():
        if not result.cuts:
            raise SpeechkitError(f"the {split} set has no good utterance; {report} names what is bad")
    if bad:
        log.warning("%d of %d utterances are bad and left out; %s names each with its reason", bad, total, report)
