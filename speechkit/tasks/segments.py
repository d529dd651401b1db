"""Where the characters of whole sets of cuts lie: from an alignment of the reference, or without a reference."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from speechkit.align.characters import CharacterRate, Spans, around_cores, equal_division, token_cores
from speechkit.align.forced import Failure
from speechkit.align.segments import PHONE
from speechkit.align.units import SILENCE
from speechkit.common.errors import SpeechkitError
from speechkit.common.progress import progress
from speechkit.data.alignments import Spoken, read_spoken
from speechkit.data.batches import load_cuts
from speechkit.data.manifests import write_lines
from speechkit.data.segments import read_segments, segments_of, set_name, write_segments
from speechkit.features.cmvn import Cmvn
from speechkit.metrics.segments import SegmentScore, score_segments
from speechkit.tasks.cif import CifModel
from speechkit.tasks.ctc_alignment import output_timing
from speechkit.tasks.recognition import RecognitionSet
from speechkit.tasks.recognizer import Recognizer

log = logging.getLogger(__name__)
Segmenter = Callable[[Path], Iterator[tuple[str, Spans | Failure]]]
"""From a manifest of cuts to each cut's id with its characters, or why it has none."""


def characters_of(spoken: Spoken) -> str:
    """The transcript without spaces."""
    return "".join(spoken.fields.get("text", "").split())


def oracle(cuts: Path) -> Iterator[tuple[str, Spans | Failure]]:
    """Times of the transcript's characters, from the alignment in the cuts."""
    for spoken in read_spoken(cuts):
        yield spoken.id, _aligned(spoken)


def _aligned(spoken: Spoken) -> Spans | Failure:
    labels, characters = spoken.labels(PHONE), characters_of(spoken)
    if labels is None:
        return Failure(spoken.id, "no alignment")
    if not characters:
        return Failure(spoken.id, "no transcript")
    said = [(label, start, end) for label, start, end in labels if label != SILENCE]
    if [label for label, _, _ in said] != list(characters):
        details = f"{len(said)} segments in the alignment, {len(characters)} characters in the transcript"
        return Failure(spoken.id, f"another transcript: {details}")
    frames = spoken.row.get("features", {}).get("num_frames")
    if frames is not None and len(characters) > frames:
        return Failure(spoken.id, f"too short: {len(characters)} characters in {frames} frames")
    return [(round(start, 6), round(end, 6)) for _, start, end in said]


def learnt_rate(cuts: Path) -> CharacterRate:
    """Characters per second of the training set, of which the transcripts are read."""
    pairs = [
        (spoken.duration, len(characters)) for spoken in read_spoken(cuts) if (characters := characters_of(spoken))
    ]
    if not pairs:
        raise SpeechkitError(f"{cuts} holds no transcript to learn the number of characters from; correct --train-cuts")
    return CharacterRate.fit(*zip(*pairs, strict=True))


class Linear:
    """Equal parts of each utterance, as many as `rate` says for its length."""

    def __init__(self, rate: CharacterRate) -> None:
        self.rate = rate

    def __call__(self, cuts: Path) -> Iterator[tuple[str, Spans | Failure]]:
        """All cuts of a manifest; their transcripts are not read."""
        for spoken in read_spoken(cuts):
            yield spoken.id, equal_division(self.rate.count(spoken.duration), spoken.duration)


class Ctc:
    """Segments about the tokens that a CTC model of characters finds; with `linear` no more than as many equal parts.

    Raises:
        SpeechkitError: the tokens of the model are not characters.
    """

    def __init__(self, checkpoint: Path, device: torch.device, *, linear: bool) -> None:
        self.recognizer, self.device, self.linear = Recognizer.load(checkpoint), device, linear
        lang = self.recognizer.lang
        if (lang.unit, lang.boundary) != ("char", "none"):
            raise SpeechkitError(
                f"{checkpoint} recognises no characters; train it with a language folder of "
                "`speechkit lang --unit char --boundary none`"
            )

    def __call__(self, cuts: Path) -> Iterator[tuple[str, Spans | Failure]]:
        """All cuts of a manifest, shortest first."""
        found = RecognitionSet(self.recognizer, cuts, self.device)
        by_id = {cut.id: cut for cut in found.cuts}
        for emission in found.emissions():
            cut, frames = by_id[emission.id], len(emission.log_probs)
            cores = token_cores(emission.log_probs.argmax(axis=1))
            if self.linear:
                yield cut.id, equal_division(max(1, len(cores)), cut.duration)
                continue
            shift = () if self.recognizer.reads_waveforms else (cut.features.frame_shift,)
            timing = output_timing(self.recognizer.config, *shift)
            starts, ends = (
                [timing.seconds(frame, frames, cut.duration) for frame in edge] for edge in cores.T.tolist()
            )
            yield cut.id, around_cores(list(zip(starts, ends, strict=True)), cut.duration)


class IntegrateAndFire:
    """Characters where the weights of a `CifModel` sum up to one each."""

    def __init__(self, checkpoint: Path, device: torch.device) -> None:
        self.model, self.device = CifModel.load(checkpoint), device

    def __call__(self, cuts: Path) -> Iterator[tuple[str, Spans | Failure]]:
        """All cuts of a manifest, shortest first."""
        ordered = list(load_cuts(cuts).sort_by_duration(ascending=True))
        return self.model.segments(ordered, Cmvn.load(cuts.with_name("cmvn.safetensors")), self.device)


@dataclass(frozen=True)
class SegmentedSet:
    """A set that was written: how many utterances have segments, and why others have none."""

    name: str
    utterances: int
    segments: int
    dropped: Sequence[Failure]

    def describe(self) -> str:
        """One line."""
        line = f"{self.name}: {self.segments} segments of {self.utterances} utterances"
        reasons = Counter(each.reason.partition(":")[0] for each in self.dropped)
        what = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        return f"{line}; {len(self.dropped)} dropped" + (f" ({what})" if what else "")


def segment_cuts(segmenter: Segmenter, cuts: Path, out: Path) -> SegmentedSet:
    """Write `segments_<set>.jsonl.gz` and, with their reasons, `dropped_<set>.jsonl`, to `out`.

    Raises:
        SpeechkitError: no utterance has segments.
    """
    name = set_name(cuts)
    total = sum(1 for _ in read_spoken(cuts))
    found: list[tuple[str, Spans]] = []
    dropped: list[Failure] = []
    for utterance, each in progress(segmenter(cuts), total, f"segments of {name}"):
        if isinstance(each, Failure):
            dropped.append(each)
        else:
            found.append((utterance, each))
    if not found:
        reason = f"all {total} were dropped, {dropped[0].id} for: {dropped[0].reason}" if dropped else "it holds no cut"
        raise SpeechkitError(f"{cuts}: no utterance has segments; {reason}")
    write_segments(segments_of(out, name), found)
    write_lines(out / f"dropped_{name}.jsonl", ({"id": each.id, "reason": each.reason} for each in dropped))
    for each in dropped:
        log.warning("dropped %s, %s", each.id, each.reason)
    return SegmentedSet(name, len(found), sum(len(spans) for _, spans in found), dropped)


def quality(out: Path, name: str, reference: Path) -> SegmentScore:
    """Compare the segments of a set with those in the folder `reference`."""
    return score_segments(read_segments(segments_of(reference, name)), read_segments(segments_of(out, name)))
