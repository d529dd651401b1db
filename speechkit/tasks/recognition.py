"""Recognition of a set of cuts: emissions once, then greedy decoding or a search with a language model."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from speechkit.common.errors import SpeechkitError
from speechkit.common.progress import progress
from speechkit.data.batches import Fields, load_cuts, ordered_batches, text_fields
from speechkit.data.parallel import parallel_map
from speechkit.decode.beam import Hypothesis, Weights
from speechkit.decode.greedy import greedy
from speechkit.decode.methods import Grid, Method
from speechkit.decode.rescore import neural_lists
from speechkit.decode.sweep import SweepPoint, rank, sweep_lists
from speechkit.features.cmvn import Cmvn
from speechkit.metrics.edit import edit_counts
from speechkit.tasks.language_model import LanguageModel
from speechkit.tasks.recognizer import Recognizer, error_rate

Item = TypeVar("Item")
Result = TypeVar("Result")
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
        speakers = Cmvn.load(cuts.with_name("cmvn.safetensors")) if recognizer.uses_statistics else None
        self.dataset = recognizer.dataset(speakers)

    def emissions(self) -> Iterator[Emission]:
        """Run the model over all cuts, shortest first."""
        batches = ordered_batches(self.cuts, self.dataset, SECONDS_PER_BATCH)
        for batch, log_probs, lengths in self.recognizer.emissions(batches, self.device):
            for index, (name, length) in enumerate(zip(batch.ids, lengths.tolist(), strict=True)):
                reference = self._reference(batch.fields[index]) or []
                yield Emission(name, log_probs[index, :length].numpy().copy(), reference)

    def decode_greedy(self) -> dict[str, list[str]]:
        """Words of each utterance by greedy decoding."""
        words = {}
        for each in self._progress(self.emissions()):
            tokens = greedy(torch.from_numpy(each.log_probs)[None], torch.tensor([len(each.log_probs)]))[0]
            words[each.id] = self.recognizer.lang.words(tokens)
        return words

    def decode(self, method: Method, weights: Weights, num_jobs: int) -> dict[str, list[str]]:
        """Words of each utterance with given weights."""
        emissions = list(self.emissions())
        found = self._mapped(method, WordsJob(method, weights), emissions, num_jobs)
        return {each.id: words for each, words in zip(emissions, found, strict=True)}

    def sweep(self, method: Method, num_jobs: int) -> tuple[list[SweepPoint], dict[str, list[str]]]:
        """Error rate of every grid point, best first, and the words of each utterance at the best."""
        self._require_references()
        emissions = list(self.emissions())
        results = list(self._mapped(method, GridJob(method), emissions, num_jobs))
        scored = self.recognizer.scored
        references = [scored(each.reference) for each in emissions]
        points = rank(results, lambda _, words: error_rate(references, [scored(each) for each in words]))
        best = points[0].weights
        return points, {each.id: words[best] for each, words in zip(emissions, results, strict=True)}

    def nbest(self, method: Method, weights: Weights, size: int, num_jobs: int) -> dict[str, list[Hypothesis]]:
        """At most `size` hypotheses of each utterance, best first."""
        emissions = list(self.emissions())
        found = self._mapped(method, NbestJob(method, weights, size), emissions, num_jobs)
        return {each.id: hypotheses for each, hypotheses in zip(emissions, found, strict=True)}

    def rescored(self, found: Mapping[str, Sequence[Hypothesis]], model: LanguageModel) -> dict[str, list[Hypothesis]]:
        """The lists with the scores of a neural language model; where there are no hypotheses, with an empty one."""
        lists = (each or [Hypothesis([], 0.0, 0.0)] for each in found.values())
        scored = neural_lists(lists, lambda sentences: model.log_probs(sentences, self.device))
        return dict(zip(found, scored, strict=True))

    def tune(self, found: Mapping[str, Sequence[Hypothesis]]) -> list[SweepPoint]:
        """Error rate of every point of the grid of weights on `rescored` lists, best first."""
        self._require_references()
        scored, references = self.recognizer.scored, self.references()
        pairs = [(scored(references[name]), scored(each.words)) for name, list_ in found.items() for each in list_]
        errors = edit_counts([pair[0] for pair in pairs], [pair[1] for pair in pairs]).sum(axis=1)
        ends = np.cumsum([len(list_) for list_ in found.values()])
        num_words = sum(len(scored(references[name])) for name in found)
        return sweep_lists(list(found.values()), np.split(errors, ends[:-1]), num_words)

    def references(self) -> dict[str, list[str]]:
        """Reference words of each utterance that has a transcript, without running the model."""
        found = {cut.id: self._reference(text_fields(cut)) for cut in self.cuts}
        return {name: words for name, words in found.items() if words is not None}

    def _reference(self, fields: Fields) -> list[str] | None:
        lang = self.recognizer.lang
        return None if fields.get(lang.field) is None else lang.reference(fields)

    def _require_references(self) -> None:
        for cut in self.cuts:
            self.recognizer.lang.reference(text_fields(cut))

    def _mapped(
        self, method: Method, job: Callable[[Emission], Result], emissions: list[Emission], num_jobs: int
    ) -> Iterator[Result]:
        method.prepare()
        return self._progress(parallel_map(job, emissions, num_jobs if method.forks else 1))

    def _progress(self, items: Iterable[Item]) -> Iterator[Item]:
        return progress(items, total=len(self.cuts), description="decoding")


@dataclass(frozen=True)
class WordsJob:
    """The best words of one utterance, in a worker process."""

    method: Method
    weights: Weights

    def __call__(self, emission: Emission) -> list[str]:
        with _named(emission):
            return self.method.words(emission.log_probs, self.weights)


@dataclass(frozen=True)
class GridJob:
    """The best words of one utterance at every point of the grid of weights."""

    method: Method

    def __call__(self, emission: Emission) -> Grid:
        with _named(emission):
            return self.method.grid(emission.log_probs)


@dataclass(frozen=True)
class NbestJob:
    """The `size` best hypotheses of one utterance."""

    method: Method
    weights: Weights
    size: int

    def __call__(self, emission: Emission) -> list[Hypothesis]:
        with _named(emission):
            return self.method.nbest(emission.log_probs, self.weights, self.size)


@contextlib.contextmanager
def _named(emission: Emission) -> Iterator[None]:
    """Add the utterance to what is wrong with it."""
    try:
        yield
    except SpeechkitError as error:
        raise type(error)(f"utterance {emission.id}: {error}") from error
