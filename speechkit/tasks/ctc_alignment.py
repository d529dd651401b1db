"""Forced alignment of whole sets of cuts with a CTC model."""

import math
from collections.abc import Iterable, Iterator, Sequence

import torch

from speechkit.align.ctc import CtcAligner, CtcUtterance
from speechkit.align.forced import Failure, Timing
from speechkit.align.output import Layout
from speechkit.common.errors import SpeechkitError
from speechkit.data.alignments import Spoken
from speechkit.features.cmvn import Cmvn
from speechkit.features.fbank import FbankConfig
from speechkit.tasks.alignment import Result
from speechkit.tasks.recognizer import Recognizer
from speechkit.text.tokens import WORD_BOUNDARY

CPU = torch.device("cpu")


class CtcSetAligner:
    """A CTC model of `speechkit train`; words are spelled as in its training, by the first spelling of the lexicon."""

    def __init__(self, recognizer: Recognizer, engine: str) -> None:
        self.recognizer = recognizer
        self.lang = recognizer.lang
        self.subsampling = math.prod(recognizer.config.model.strides)
        self.fbank = FbankConfig()
        self.aligner = CtcAligner(
            list(self.lang.tokens), Timing.of(self.fbank, self.subsampling), not self.lang.phone_set, engine
        )

    def layout(self, formats: Sequence[str]) -> Layout:
        """Tokens at the rate of the model's output."""
        rate = self.fbank.sampling_rate / self.fbank.frame_shift / self.subsampling
        return Layout(formats, list(self.lang.tokens), (WORD_BOUNDARY,), rate, half_rate=False)

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
