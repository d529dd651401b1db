"""Recognition with BERT-ASR, of cuts whose segments are in a file."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechkit.common.errors import SpeechkitError
from speechkit.common.progress import progress
from speechkit.data.batches import Batch, load_cuts, ordered_batches, text_fields
from speechkit.data.segments import read_segments
from speechkit.decode.segment_beam import segment_beam
from speechkit.features.cmvn import Cmvn
from speechkit.tasks.bert_asr import BertAsrModel, characters, segment_frames

log = logging.getLogger(__name__)
SECONDS_PER_BATCH = 200.0


class SegmentRecognition:
    """The cuts of one set, their segments, and what a model hears in them.

    Raises:
        SpeechkitError: cuts without segments.
    """

    def __init__(self, model: BertAsrModel, cuts: Path, segments: Path, device: torch.device) -> None:
        self.model, self.device = model, device
        self.segments = read_segments(segments)
        self.cuts: list[Any] = list(load_cuts(cuts).sort_by_duration(ascending=True))
        self.heard = [cut for cut in self.cuts if self._fits(cut)]
        if missing := [cut.id for cut in self.cuts if not self._fits(cut)]:
            log.warning(
                "%s has no segments, or more than fit, of %d of %d utterances, in which nothing is recognised: %s",
                *(segments, len(missing), len(self.cuts), " ".join(missing[:20])),
            )
        if not self.heard:
            raise SpeechkitError(f"{segments} has segments of no utterance of {cuts}; make them from these cuts")
        self.dataset = model.dataset(Cmvn.load(cuts.with_name("cmvn.safetensors")))
        self.frame_shift = float(self.heard[0].features.frame_shift)
        self.not_said = torch.ones(len(model.vocabulary), dtype=torch.bool, device=device)
        self.not_said[model.vocabulary.single] = False

    def _fits(self, cut: Any) -> bool:
        found = self.segments.get(cut.id)
        return found is not None and self.model.takes(len(found), cut.features.num_frames)

    def references(self) -> dict[str, list[str]]:
        """The characters of each utterance."""
        return {cut.id: characters(text_fields(cut)) for cut in self.cuts}

    def decode(self, beam: int, margin: float) -> dict[str, list[str]]:
        """The characters that are heard in each utterance, by a beam of so many hypotheses; letters are upper case."""
        found: dict[str, list[str]] = {cut.id: [] for cut in self.cuts}
        for name, tokens in progress(self._each(beam, margin), len(self.heard), "recognising"):
            found[name] = [each.upper() for each in self.model.vocabulary.characters(tokens)]
        return found

    @torch.inference_mode()
    def _each(self, beam: int, margin: float) -> Iterator[tuple[str, list[int]]]:
        self.model.module.to(self.device).eval()
        for batch in ordered_batches(self.heard, self.dataset, SECONDS_PER_BATCH):
            yield from zip(batch.ids, self._decoded(batch, beam, margin), strict=True)

    def _decoded(self, batch: Batch, beam: int, margin: float) -> list[list[int]]:
        module = self.model.module
        frames, counts = segment_frames(batch, self.segments, self.frame_shift)
        inputs = (batch.features, batch.lengths, frames, counts)
        heard = module.acoustic(*(each.to(self.device) for each in inputs))

        def step(utterances: Tensor, tokens: Tensor) -> Tensor:
            place = torch.full((len(tokens),), tokens.shape[1], device=self.device)
            logits = module.predict(tokens.to(self.device), place, heard[utterances.to(self.device)])
            return logits.float().masked_fill(self.not_said, -torch.inf).log_softmax(1).cpu()

        return segment_beam(step, counts, beam, margin)
