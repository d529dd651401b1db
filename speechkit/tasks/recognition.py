"""Recognition of a set of cuts: emissions once, then greedy decoding or beam search."""

import functools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from speechkit.common.progress import progress
from speechkit.data.batches import load_cuts, ordered_batches, text_fields
from speechkit.data.parallel import parallel_map
from speechkit.decode.beam import BeamConfig, BeamSearch, Weights
from speechkit.decode.greedy import greedy
from speechkit.decode.sweep import SweepPoint, rank, sweep_utterance
from speechkit.features.cmvn import Cmvn
from speechkit.tasks.ctc import Recognizer, error_rate
from speechkit.text.lang import Lang

Item = TypeVar("Item")
SECONDS_PER_BATCH = 200.0


@dataclass(frozen=True)
class Emission:
    """Log-probabilities `(T, V)` of one utterance and the words of its reference."""

    id: str
    log_probs: npt.NDArray[np.float32]
    reference: list[str]


class RecognitionSet:
    """The cuts of one set, as a trained model sees them."""

    def __init__(self, recognizer: Recognizer, cuts: Path, device: torch.device) -> None:
        self.recognizer, self.device = recognizer, device
        self.cuts = list(load_cuts(cuts).sort_by_duration(ascending=True))
        self.dataset = recognizer.dataset(Cmvn.load(cuts.with_name("cmvn.safetensors")))

    def emissions(self) -> Iterator[Emission]:
        """Run the model over all cuts, shortest first."""
        batches = ordered_batches(self.cuts, self.dataset, SECONDS_PER_BATCH)
        for batch, log_probs, lengths in self.recognizer.emissions(batches, self.device):
            for index, (name, length) in enumerate(zip(batch.ids, lengths.tolist(), strict=True)):
                reference = self.recognizer.lang.reference(batch.fields[index])
                yield Emission(name, log_probs[index, :length].numpy().copy(), reference)

    def decode_greedy(self) -> dict[str, list[str]]:
        """Words of each utterance by greedy decoding."""
        words = {}
        for each in self._progress(self.emissions()):
            tokens = greedy(torch.from_numpy(each.log_probs)[None], torch.tensor([len(each.log_probs)]))[0]
            words[each.id] = self.recognizer.lang.words(tokens)
        return words

    def decode_beam(self, lm: Path, beam: BeamConfig, weights: Weights, num_jobs: int) -> dict[str, list[str]]:
        """Words of each utterance by beam search with given weights."""
        emissions = list(self.emissions())
        found = parallel_map(SearchJob(self._lang(), lm, beam, weights), emissions, num_jobs)
        return {each.id: words[weights] for each, words in zip(emissions, self._progress(found), strict=True)}

    def sweep(self, lm: Path, beam: BeamConfig, num_jobs: int) -> tuple[list[SweepPoint], dict[str, list[str]]]:
        """Error rate of every grid point, best first, and the words of each utterance at the best."""
        emissions = list(self.emissions())
        results = list(self._progress(parallel_map(SearchJob(self._lang(), lm, beam), emissions, num_jobs)))
        scored = self.recognizer.scored
        references = [scored(each.reference) for each in emissions]
        points = rank(results, lambda _, words: error_rate(references, [scored(each) for each in words]))
        best = points[0].weights
        return points, {each.id: words[best] for each, words in zip(emissions, results, strict=True)}

    def references(self) -> dict[str, list[str]]:
        """Reference words of each utterance, without running the model."""
        return {cut.id: self.recognizer.lang.reference(text_fields(cut)) for cut in self.cuts}

    def _lang(self) -> str:
        return json.dumps(self.recognizer.lang.state())

    def _progress(self, items: Iterable[Item]) -> Iterator[Item]:
        return progress(items, total=len(self.cuts), description="decoding")


@dataclass(frozen=True)
class SearchJob:
    """Beam search of one utterance in a worker process, at `weights` or at every point of the grid."""

    lang: str
    lm: Path
    beam: BeamConfig
    weights: Weights | None = None

    def __call__(self, emission: Emission) -> dict[Weights, list[str]]:
        search = _search(self.lang, self.lm, self.beam)
        if self.weights is None:
            return sweep_utterance(search, emission.log_probs)
        return {self.weights: search.decode(emission.log_probs, self.weights)}


@functools.lru_cache(maxsize=1)
def _search(lang: str, lm: Path, beam: BeamConfig) -> BeamSearch:
    """Each process builds the search once: flashlight's objects cannot be sent between processes."""
    return BeamSearch(Lang.from_state(json.loads(lang)), lm, beam)
