"""Forced alignment with a CTC model: the best path of its log-probabilities through the tokens of a transcript.

CTC models emit a token in few frames, anywhere in its time: a token lasts from its first to its last such frame, a word
from its first token to its last. Boundaries are less exact than those of hidden Markov models.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from speechkit.align.forced import BEAMS, FULL, LONG_SEARCH, Failure, Timing
from speechkit.align.segments import TOKEN, WORD, Alignment, Segment
from speechkit.fsa.graph import GraphBatch
from speechkit.fsa.intersect import best_path
from speechkit.fsa.topology import ctc_graph
from speechkit.losses.ctc import min_frames
from speechkit.text.tokens import WORD_BOUNDARY

Spans = list[tuple[int, int, int]]


@dataclass(frozen=True)
class CtcUtterance:
    """Log-probabilities `(T, V)` of one utterance (blank 0), the token ids of its words, and its length in seconds."""

    id: str
    log_probs: Tensor
    words: Sequence[str]
    tokens: Sequence[Sequence[int]]
    duration: float

    @property
    def sequence(self) -> list[int]:
        """All tokens."""
        return [token for word in self.tokens for token in word]


class CtcAligner:
    """Aligns what a CTC model gave, on one of the engines of `speechkit.fsa`.

    Args:
        names: of the tokens.
        timing: of the model's output frames.
        show_words: words are spelled in tokens, and get a tier of their own.
        engine: of `speechkit.fsa`.
    """

    def __init__(self, names: Sequence[str], timing: Timing, show_words: bool, engine: str = "auto") -> None:
        self.names, self.timing, self.show_words, self.engine = names, timing, show_words, engine

    @torch.no_grad()
    def __call__(self, utterance: CtcUtterance) -> Alignment | Failure:
        """Align one utterance; long ones with a beam first."""
        frames, least = len(utterance.log_probs), min_frames(utterance.sequence)
        if frames < max(1, least):
            return Failure(utterance.id, f"too short: {frames} frames, its tokens take at least {least}")
        graph = GraphBatch.from_graphs([ctc_graph(utterance.sequence)])
        long = len(graph.score) * frames > LONG_SEARCH
        for beam in (*(BEAMS if long else ()), None):
            batch = utterance.log_probs[None]
            paths = best_path(batch, torch.tensor([frames]), graph, engine=self.engine, beam=beam)
            if float(paths.scores[0]) > -math.inf:
                arcs = paths.arcs[0]
                marks = graph.aux["token"][arcs].numpy()
                score = float(paths.scores[0]) / frames
                method = FULL if beam is None else f"beam {beam:g}"
                return self._described(utterance, graph.label[arcs].numpy(), marks, score, method)
        return Failure(utterance.id, "no path: the model gives its transcript no likelihood above zero")

    def _described(
        self,
        utterance: CtcUtterance,
        labels: npt.NDArray[np.int32],
        marks: npt.NDArray[np.int32],
        score: float,
        method: str,
    ) -> Alignment:
        count = len(labels)
        chosen = utterance.log_probs.gather(1, torch.from_numpy(labels).long()[:, None])[:, 0].double().numpy()
        spans = _token_spans(labels, marks)

        def segment(label: str, first: int, last: int, sure: float) -> Segment:
            start, end = (self.timing.seconds(frame, count, utterance.duration) for frame in (first, last))
            return Segment(label, start, end, round(math.exp(sure), 4))

        sure = [float(chosen[first:last].mean()) for _, first, last in spans]
        tokens = [
            segment(self.names[token], first, last, each)
            for (token, first, last), each in zip(spans, sure, strict=True)
        ]
        tiers = {TOKEN: tokens}
        if self.show_words:
            words = [segment(*each) for each in self._word_spans(utterance, spans, sure)]
            tiers = {WORD: words, TOKEN: tokens}
        confidence = math.exp(float(np.mean(sure))) if sure else math.exp(float(chosen.mean()))
        return Alignment(utterance.id, utterance.duration, tiers, labels, score, confidence, method)

    def _word_spans(
        self, utterance: CtcUtterance, spans: Spans, sure: Sequence[float]
    ) -> list[tuple[str, int, int, float]]:
        """Words from first to last token; a word boundary token belongs to no word."""
        found, place = [], 0
        for word, tokens in zip(utterance.words, utterance.tokens, strict=True):
            inside = [place + index for index, token in enumerate(tokens) if self.names[token] != WORD_BOUNDARY]
            place += len(tokens)
            if inside:
                mean = sum(sure[index] for index in inside) / len(inside)
                found.append((word, spans[inside[0]][1], spans[inside[-1]][2], mean))
        return found


def _token_spans(labels: npt.NDArray[np.int32], marks: npt.NDArray[np.int32]) -> Spans:
    """Each token with its first frame and the frame after its last."""
    starts = np.flatnonzero(marks)
    blank = np.append(np.flatnonzero(labels == 0), len(labels))
    ends = np.minimum(np.append(starts[1:], len(labels)), blank[np.searchsorted(blank, starts)])
    return list(zip(marks[starts].tolist(), starts.tolist(), ends.tolist(), strict=True))
