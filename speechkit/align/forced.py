"""Forced alignment: the best path of each utterance through the graph of its transcript.

What is short is searched in full. What is long is searched with a beam, and again with wider ones where no path is
left; last comes a looser graph, in which one frame is enough for a unit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speechkit.align.hmm import HmmConfig, boost_silence, by_unit, least_frames, transcript_graph, unboosted
from speechkit.align.models import AlignerModel, Utterance
from speechkit.align.segments import PHONE, STATE, WORD, Alignment, Segment
from speechkit.align.units import Transcript, Units
from speechkit.features.spectrum import Framing
from speechkit.fsa.graph import Graph, GraphBatch
from speechkit.fsa.intersect import best_path

BEAMS = (10.0, 40.0)
LONG_SEARCH = 300_000_000  # arcs times frames from which on beams are tried first
FRAMES_PER_BLOCK = 10_000
FULL, SHORT_UNITS = "full search", "one frame per unit"


@dataclass(frozen=True)
class Failure:
    """An utterance that has no alignment, the reason as `kind: details`, and its words that the lexicon lacks."""

    id: str
    reason: str
    unknown_words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Timing:
    """From frame numbers to seconds: the boundary before frame t lies between the middles of frames t - 1 and t."""

    shift: float
    offset: float

    @classmethod
    def of(cls, fbank: Framing, subsampling: int = 1) -> "Timing":
        """Timing of feature frames, or of a model's output frames whose middles are those of every s-th of them."""
        length, shift = (value / fbank.sampling_rate for value in (fbank.frame_length, fbank.frame_shift))
        return cls.centred(shift * subsampling, length)

    @classmethod
    def centred(cls, shift: float, window: float) -> "Timing":
        """Timing of frames that see `window` seconds each."""
        return cls(shift, (window - shift) / 2)

    def seconds(self, frame: int, num_frames: int, duration: float) -> float:
        """Time of the boundary before `frame`; the first frame begins at 0, the last ends with the audio."""
        if frame == 0:
            return 0.0
        return duration if frame == num_frames else min(round(frame * self.shift + self.offset, 6), duration)


@dataclass(frozen=True)
class _Attempt:
    """One rung of the ladder."""

    name: str
    beam: float | None
    hmm: HmmConfig


@dataclass(frozen=True)
class _Found:
    """The path of one utterance: marks of the arc at each frame, `(T,)` each."""

    attempt: _Attempt
    score: float
    labels: npt.NDArray[np.int64]
    units: npt.NDArray[np.int64]
    words: npt.NDArray[np.int64]
    entries: npt.NDArray[np.int64]


class ForcedAligner:
    """Aligns utterances with a model on one of the engines of `speechkit.fsa`."""

    def __init__(
        self, model: AlignerModel, engine: str = "auto", beams: Sequence[float] = BEAMS, long_search: int = LONG_SEARCH
    ) -> None:
        self.model, self.engine, self.long_search = model, engine, long_search
        hmm = model.hmm
        self._beams = [_Attempt(f"beam {beam:g}", beam, hmm) for beam in beams]
        self._full = [_Attempt(FULL, None, hmm), _Attempt(SHORT_UNITS, None, hmm.shortened())]
        self._timing = Timing.of(model.fbank)

    @torch.no_grad()
    def __call__(self, utterances: Sequence[Utterance]) -> list[Alignment | Failure]:
        """Align a batch; results are in the order of the utterances."""
        likelihoods = self.model.emissions.log_likelihoods(utterances)
        scores = [boost_silence(each, self.model.units, self.model.hmm) for each in likelihoods]
        found: dict[int, _Found] = {}
        reached = self._start(utterances)
        for attempt in (*self._beams, *self._full):
            rows = [row for row in range(len(utterances)) if row not in found and attempt in reached[row]]
            rows = [row for row in rows if least_frames(utterances[row].transcript, attempt.hmm) <= len(scores[row])]
            found.update(self._search(attempt, rows, utterances, scores))
        return [
            self._described(utterance, found[row], scores[row]) if row in found else self._failure(utterance)
            for row, utterance in enumerate(utterances)
        ]

    def _start(self, utterances: Sequence[Utterance]) -> list[list[_Attempt]]:
        """The rungs of each utterance: beams only where a full search is long."""
        reached = []
        for utterance in utterances:
            transcript = utterance.transcript
            states = sum(map(len, (spelling for each in transcript.pronunciations for spelling in each)))
            long = 2 * states * self.model.hmm.states * len(utterance.log_mel) > self.long_search
            reached.append([*self._beams, *self._full] if long else self._full)
        return reached

    def _search(
        self, attempt: _Attempt, rows: Sequence[int], utterances: Sequence[Utterance], scores: Sequence[Tensor]
    ) -> dict[int, _Found]:
        """Best paths of those of `rows` that have one."""
        if not rows:
            return {}
        units, config = self.model.units, self.model.hmm
        graphs = [transcript_graph(utterances[row].transcript, units, attempt.hmm) for row in rows]
        chosen = [scores[row] for row in rows]
        if attempt.hmm != config:
            chosen = [by_unit(each, units, config, torch.amax) for each in chosen]
        return {row: each for row, each in zip(rows, self._paths(attempt, graphs, chosen), strict=True) if each}

    def _paths(self, attempt: _Attempt, graphs: Sequence[Graph], scores: Sequence[Tensor]) -> list[_Found | None]:
        batch = GraphBatch.from_graphs(graphs)
        lengths = torch.tensor([len(each) for each in scores])
        padded = scores[0][None] if len(scores) == 1 else pad_sequence(list(scores), batch_first=True)
        paths = best_path(padded, lengths, batch, engine=self.engine, beam=attempt.beam)
        marks = [batch.label.numpy(), *(batch.aux[name].numpy() for name in ("unit", "word", "entry"))]
        results: list[_Found | None] = []
        for row, (length, total) in enumerate(zip(lengths.tolist(), paths.scores.tolist(), strict=True)):
            arcs = paths.arcs[row, :length].numpy()
            seen = total > -math.inf and length > 0
            results.append(
                _Found(attempt, total / length, *(each[arcs].astype(np.int64) for each in marks)) if seen else None
            )
        return results

    def _failure(self, utterance: Utterance) -> Failure:
        frames, least = len(utterance.log_mel), least_frames(utterance.transcript, self.model.hmm.shortened())
        if frames < least:
            return Failure(utterance.id, f"too short: {frames} frames for {least} units")
        return Failure(utterance.id, "no path: no way through its transcript has a likelihood above zero")

    def _described(self, utterance: Utterance, found: _Found, scores: Tensor) -> Alignment:
        """Tiers, scores and confidences of a path."""
        frame_units, starts, spans = _unit_spans(found)
        sure = self._log_confidences(scores, frame_units)
        count, units = len(frame_units), self.model.units

        def segment(label: str, first: int, last: int) -> Segment:
            start, end = (self._timing.seconds(frame, count, utterance.duration) for frame in (first, last))
            return Segment(label, start, end, round(math.exp(sure[first:last].mean()), 4))

        tiers = {
            PHONE: [segment(units.names[unit], first, last) for unit, first, last in spans],
            STATE: [segment(*each) for each in _state_spans(found, frame_units, units)],
        }
        if units.lexicon is not None:
            words = _word_spans(found, utterance.transcript, starts)
            tiers = {WORD: [segment(*each) for each in words], **tiers}
        return Alignment(
            utterance.id,
            utterance.duration,
            tiers,
            frame_units.astype(np.int32),
            found.score,
            math.exp(sure.mean()),
            found.attempt.name,
        )

    def _log_confidences(self, scores: Tensor, frame_units: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Log posterior of the aligned unit at each frame, its states together."""
        model, chosen = self.model, torch.from_numpy(frame_units)[:, None]
        blocks = []
        for start in range(0, len(scores), FRAMES_PER_BLOCK):
            rows = slice(start, start + FRAMES_PER_BLOCK)
            posteriors = model.emissions.log_posteriors(unboosted(scores[rows], model.units, model.hmm))
            sums = by_unit(posteriors, model.units, model.hmm, torch.logsumexp)
            blocks.append(sums.gather(1, chosen[rows])[:, 0])
        confidences: npt.NDArray[np.float64] = torch.cat(blocks).double().numpy()
        return confidences


def _unit_spans(
    found: _Found,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], list[tuple[int, int, int]]]:
    """Unit of each frame, first frame of each unit, and (unit, first frame, frame after the last)."""
    starts = np.flatnonzero(found.units)
    ids = found.units[starts] - 1
    ends = np.append(starts[1:], len(found.units))
    spans = list(zip(ids.tolist(), starts.tolist(), ends.tolist(), strict=True))
    return np.repeat(ids, ends - starts), starts, spans


def _state_spans(found: _Found, frame_units: npt.NDArray[np.int64], units: Units) -> list[tuple[str, int, int]]:
    """States as `unit_0`, `unit_1` ..., one after the other."""
    states = found.attempt.hmm.states
    new = np.append(True, (np.diff(found.labels) != 0) | (found.units[1:] != 0))
    starts = np.flatnonzero(new)
    ends = np.append(starts[1:], len(new))
    names = [
        f"{units.names[unit]}_{label - unit * states}"
        for unit, label in zip(frame_units[starts], found.labels[starts], strict=True)
    ]
    return list(zip(names, starts.tolist(), ends.tolist(), strict=True))


def _word_spans(
    found: _Found, transcript: Transcript, unit_starts: npt.NDArray[np.int64]
) -> list[tuple[str, int, int]]:
    """Each word from the first frame of its first unit to the last frame of its last."""
    edges = np.append(unit_starts, len(found.words))
    spans = []
    for start in np.flatnonzero(found.words).tolist():
        position = int(found.words[start]) - 1
        length = len(transcript.pronunciations[position][int(found.entries[start]) - 1])
        first = int(np.searchsorted(unit_starts, start))
        spans.append((transcript.words[position], start, int(edges[first + length])))
    return spans
