"""Forced alignment of whole sets of cuts."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from speechkit.align.forced import Failure, ForcedAligner
from speechkit.align.models import AlignerModel, Utterance
from speechkit.align.output import AlignmentWriter, Layout, Summary
from speechkit.align.segments import Alignment
from speechkit.common.errors import SpeechkitError
from speechkit.common.progress import progress
from speechkit.data.alignments import Spoken, read_spoken
from speechkit.features.cmvn import Cmvn
from speechkit.tasks.aligner import utterance_of

log = logging.getLogger(__name__)
FRAMES_PER_BATCH = 20_000
Result = Alignment | Failure


class SetAligner(Protocol):
    """Aligns cuts, whatever the model; one that `reads_waveforms` needs no statistics of features."""

    @property
    def reads_waveforms(self) -> bool: ...

    def results(self, spoken: Iterable[Spoken], cmvn: Cmvn) -> Iterator[tuple[Spoken, Result]]:
        """Each cut with its alignment, in order."""
        ...

    def layout(self, formats: Sequence[str]) -> Layout:
        """What is to be written in these formats."""
        ...


class HmmSetAligner:
    """Hidden Markov models of `speechkit hmm`."""

    reads_waveforms = False

    def __init__(self, model: AlignerModel, engine: str) -> None:
        self.model, self.aligner = model, ForcedAligner(model, engine)

    def layout(self, formats: Sequence[str]) -> Layout:
        """Units at the rate of the features, and at half of it."""
        fbank, units = self.model.fbank, self.model.units
        return Layout(formats, units.names, units.silences, fbank.sampling_rate / fbank.frame_shift)

    def results(self, spoken: Iterable[Spoken], cmvn: Cmvn) -> Iterator[tuple[Spoken, Result]]:
        """Batches in the order of the cuts, so that memory does not grow with the set."""
        batch: list[tuple[Spoken, Utterance | Failure]] = []
        longest = 0
        for each in spoken:
            item = utterance_of(each, self.model.units, cmvn, self.model.fbank.num_bins)
            frames = 0 if isinstance(item, Failure) else self._checked(item)
            if batch and max(longest, frames) * (len(batch) + 1) > FRAMES_PER_BATCH:
                yield from self._aligned(batch)
                batch, longest = [], 0
            batch.append((each, item))
            longest = max(longest, frames)
        yield from self._aligned(batch)

    def _checked(self, utterance: Utterance) -> int:
        bins = self.model.fbank.num_bins
        if utterance.log_mel.shape[1] != bins:
            raise SpeechkitError(
                f"cut {utterance.id} has features of {utterance.log_mel.shape[1]} dimensions, the aligner was trained "
                f"on {bins}; extract them as for its training"
            )
        return len(utterance.log_mel)

    def _aligned(self, batch: Sequence[tuple[Spoken, Utterance | Failure]]) -> Iterator[tuple[Spoken, Result]]:
        found = iter(self.aligner([item for _, item in batch if isinstance(item, Utterance)]))
        for spoken, item in batch:
            yield spoken, item if isinstance(item, Failure) else next(found)


@dataclass(frozen=True)
class AlignedSet:
    """Name and counts of a set that was aligned."""

    name: str
    summary: Summary


def align_cuts(
    aligner: SetAligner,
    cuts: Path,
    out: Path,
    formats: Sequence[str],
    failures: Sequence[Failure] = (),
    alone: bool = False,
) -> AlignedSet:
    """Align the cuts of a manifest and write them to `out`; `cmvn.safetensors` lies beside the manifest.

    Args:
        aligner: what aligns.
        cuts: `cuts_NAME.jsonl.gz`.
        out: folder for the files that `AlignmentWriter` tells.
        formats: what to write, of `speechkit.align.output.FORMATS`.
        failures: utterances to report that did not become cuts.
        alone: `out` is for this set only, and the features will go: files do not bear its name.

    Raises:
        SpeechkitError: there is no cut.
    """
    name = "" if alone else cuts.name.partition(".")[0].removeprefix("cuts_")
    cmvn = Cmvn() if aligner.reads_waveforms else Cmvn.load(cuts.with_name("cmvn.safetensors"))
    total = sum(1 for _ in read_spoken(cuts))
    if not total:
        raise SpeechkitError(f"{cuts} holds no cut; run the stage that makes it again")
    layout = aligner.layout(formats)
    if alone:
        layout = replace(layout, textgrids="", keep_features=False)
    with AlignmentWriter(out, name, layout) as writer:
        for spoken, result in progress(aligner.results(read_spoken(cuts), cmvn), total, f"aligning {name}".strip()):
            writer.add(spoken, result)
        for failure in failures:
            writer.add_failure(failure)
    return AlignedSet(name, writer.summary)


def describe(done: AlignedSet, out: Path) -> str:
    """One line about a set."""
    summary = done.summary
    line = f"{done.name}: " if done.name else ""
    line += f"{summary.aligned} utterances aligned, {summary.seconds / 3600:.2f} h"
    if summary.failed:
        reasons = ", ".join(f"{count} {reason}" for reason, count in summary.reasons.most_common())
        report = out / (f"report_{done.name}.jsonl" if done.name else "report.jsonl")
        line += f"; {summary.failed} not aligned ({reasons}), see {report}"
    if summary.unknown_words:
        words = " ".join(word for word, _ in summary.unknown_words.most_common(10))
        line += f"; {len(summary.unknown_words)} words out of vocabulary: {words}"
    return line


def load_aligner(model: Path | None, checkpoint: Path | None, engine: str) -> SetAligner:
    """The aligner in a folder: `model` of `speechkit hmm`, or else `checkpoint`, a CTC model of `speechkit train`."""
    if model is not None:
        return HmmSetAligner(AlignerModel.load(model), engine)
    from speechkit.tasks.ctc_alignment import CtcSetAligner
    from speechkit.tasks.recognizer import Recognizer

    assert checkpoint is not None
    return CtcSetAligner(Recognizer.load(checkpoint), engine)
