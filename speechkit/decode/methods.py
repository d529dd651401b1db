"""Ways to decode with a language model, as descriptions that travel between processes; each builds its decoder once."""

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from speechkit.common.errors import UsageError
from speechkit.decode.beam import BeamConfig, BeamSearch, Hypothesis, Weights
from speechkit.decode.fusion import TokenModel
from speechkit.decode.graph_backends import graph_search
from speechkit.decode.lattice import Lattice
from speechkit.decode.rescore import rescored_lattice, rescored_list
from speechkit.decode.sweep import LM_WEIGHTS, grid, sweep_hypotheses
from speechkit.decode.wfst import GraphSearch, WfstConfig, WfstSearch
from speechkit.fsa.wfst.graph import DecodingGraph, Topology
from speechkit.lm.arpa import Arpa, read_arpa
from speechkit.text.lang import Lang

LogProbs = npt.NDArray[np.float32]
Grid = dict[Weights, list[str]]


class Method(Protocol):
    """What recognition needs of a way to decode.

    Attributes:
        forks: whether its decoder, once built, works in processes that fork from this one.
    """

    @property
    def forks(self) -> bool: ...

    def prepare(self) -> None:
        """Build the decoder, of which each process has one; forked processes share its memory."""

    def words(self, log_probs: LogProbs, weights: Weights) -> list[str]:
        """The best words of `log_probs (T, V)`."""

    def grid(self, log_probs: LogProbs) -> Grid:
        """The best words at every point of the grid of weights."""

    def nbest(self, log_probs: LogProbs, weights: Weights, size: int) -> list[Hypothesis]:
        """At most `size` hypotheses of different words, best first."""


@dataclass(frozen=True)
class BeamMethod:
    """Beam search with a language model; where `rescore` names an n-gram, that one's scores count in the end.

    Attributes:
        lang: the language as JSON, which unlike a `Lang` can be looked up.
        lm: n-gram in ARPA or KenLM's binary format, or what `neural` reads.
        neural: reads a neural model, for the first pass.
        forks: False where that model is on a GPU.
    """

    lang: str
    lm: Path
    beam: BeamConfig
    rescore: Path | None = None
    neural: Callable[[Path], TokenModel] | None = None
    forks: bool = True

    def prepare(self) -> None:
        self._search()
        if self.rescore:
            _model(self.rescore)

    def words(self, log_probs: LogProbs, weights: Weights) -> list[str]:
        return _best(self._found(log_probs, weights), weights)

    def grid(self, log_probs: LogProbs) -> Grid:
        return sweep_hypotheses(lambda weights: self._found(log_probs, weights), self.neural is not None)

    def nbest(self, log_probs: LogProbs, weights: Weights, size: int) -> list[Hypothesis]:
        best: dict[tuple[str, ...], Hypothesis] = {}
        for each in sorted(self._found(log_probs, weights), key=lambda each: -each.score(weights)):
            best.setdefault(tuple(each.words), each)
        return list(best.values())[:size]

    def _found(self, log_probs: LogProbs, weights: Weights) -> list[Hypothesis]:
        found = self._search().search(log_probs, weights)
        return rescored_list(found, _model(self.rescore)) if self.rescore else found

    def _search(self) -> BeamSearch:
        return _beam_search(self.lang, self.lm, self.beam, self.neural)


@dataclass(frozen=True)
class GraphMethod:
    """Search of a decoding graph; where `rescore` names an n-gram, its scores replace the graph's in lattices.

    Attributes:
        graph: folder of the graph.
        backend: one of `speechkit.decode.graph_backends.BACKENDS`; lattices are the built-in one's.
        topology: other than the graph's own.
    """

    graph: Path
    config: WfstConfig
    backend: str = "built-in"
    topology: Topology | None = None
    rescore: Path | None = None

    @property
    def forks(self) -> bool:
        return self.backend != "k2"

    def prepare(self) -> None:
        self._search()
        if self.rescore:
            _model(self.rescore)

    def words(self, log_probs: LogProbs, weights: Weights) -> list[str]:
        if self.rescore is None:
            return self._search().decode(log_probs, weights).words
        return _best(self._lattice(log_probs, weights.lm).nbest(weights, 1), weights)

    def grid(self, log_probs: LogProbs) -> Grid:
        if self.rescore is None:
            return {weights: self.words(log_probs, weights) for weights in grid()}
        lattices = {lm: self._lattice(log_probs, lm) for lm in LM_WEIGHTS}
        return {weights: _best(lattices[weights.lm].nbest(weights, 1), weights) for weights in grid()}

    def nbest(self, log_probs: LogProbs, weights: Weights, size: int) -> list[Hypothesis]:
        return self._lattice(log_probs, weights.lm, weights.word).nbest(weights, size)

    def _search(self) -> GraphSearch:
        return _graph_search(self.backend, self.graph, self.config, self.topology)

    def _lattice(self, log_probs: LogProbs, lm: float, word: float = 0.0) -> Lattice:
        search = self._search()
        if not isinstance(search, WfstSearch):
            raise UsageError("lattices come from the built-in graph search; leave out --wfst-backend")
        lattice = search.lattice(log_probs, Weights(lm=lm, word=0.0 if self.rescore else word))
        return rescored_lattice(lattice, _model(self.rescore)) if self.rescore else lattice


def _best(found: list[Hypothesis], weights: Weights) -> list[str]:
    return max(found, key=lambda each: each.score(weights)).words if found else []


@functools.lru_cache(maxsize=1)
def _beam_search(lang: str, lm: Path, beam: BeamConfig, neural: Callable[[Path], TokenModel] | None) -> BeamSearch:
    """Each process builds the search once: flashlight's objects cannot be sent between processes."""
    return BeamSearch(Lang.from_state(json.loads(lang)), neural(lm) if neural else lm, beam)


@functools.lru_cache(maxsize=1)
def _graph_search(backend: str, folder: Path, config: WfstConfig, topology: Topology | None) -> GraphSearch:
    graph = DecodingGraph.load(folder)
    return graph_search(backend, replace(graph, topology=topology) if topology else graph, config)


@functools.lru_cache(maxsize=1)
def _model(path: Path) -> Arpa:
    return read_arpa(path)
