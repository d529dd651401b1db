"""Forced alignment of whole sets of cuts with a CTC model."""

import math
from collections.abc import Iterable, Iterator, Sequence

import torch

from speechkit.align.ctc import CtcAligner, CtcUtterance
from speechkit.align.forced import Failure, Timing
from speechkit.align.output import Layout
from speechkit.common.errors import SpeechkitError
from speechkit.data.alignments import Spoken
from speechkit.data.segments import WINDOW
from speechkit.features.cmvn import Cmvn
from speechkit.tasks.alignment import Result
from speechkit.tasks.recognizer import CtcConfig, Recognizer
from speechkit.text.tokens import WORD_BOUNDARY

CPU = torch.device("cpu")
FRAME_SHIFT = 0.01


def output_timing(config: CtcConfig, frame_shift: float = FRAME_SHIFT) -> Timing:
    """Of the model's output frames; features are `frame_shift` seconds apart, by default those of stage 1."""
    if config.encoder is None:
        return Timing.centred(frame_shift * math.prod(config.of_features.strides), WINDOW)
    extractor, rate = config.encoder.extractor, config.encoder.sampling_rate
    return Timing.centred(extractor.hop / rate, extractor.window / rate)


class CtcSetAligner:
    """A CTC model of `speechkit train`; words are spelled as in its training, by the first spelling of the lexicon."""

    def __init__(self, recognizer: Recognizer, engine: str) -> None:
        self.recognizer = recognizer
        self.lang, self.timing = recognizer.lang, output_timing(recognizer.config)
        self.aligner = CtcAligner(list(self.lang.tokens), self.timing, not self.lang.phone_set, engine)

    @property
    def reads_waveforms(self) -> bool:
        """Whether the model takes waveforms, not features."""
        return self.recognizer.reads_waveforms

    def layout(self, formats: Sequence[str]) -> Layout:
        """Tokens at the rate of the model's output."""
        return Layout(formats, list(self.lang.tokens), (WORD_BOUNDARY,), 1 / self.timing.shift, half_rate=False)

    def results(self, spoken: Iterable[Spoken], cmvn: Cmvn) -> Iterator[tuple[Spoken, Result]]:
        """One utterance after the other."""
        dataset = self.recognizer.dataset(cmvn)
        for each in spoken:
            try:
                words = self.lang.reference(each.fields)
            except SpeechkitError as error:
                yield each, Failure(each.id, str(error))
                continue
            unknown = tuple(sorted({word for word in words if word not in self.lang.lexicon}))
            if unknown or not words:
                reason = f"out of vocabulary: {' '.join(unknown)}" if unknown else "no transcript: it is empty"
                yield each, Failure(each.id, reason, unknown)
                continue
            for _, log_probs, _ in self.recognizer.emissions([dataset[[each.cut]]], CPU):
                tokens = [self.lang.encode(word) for word in words]
                yield each, self.aligner(CtcUtterance(each.id, log_probs[0], words, tokens, each.duration))
