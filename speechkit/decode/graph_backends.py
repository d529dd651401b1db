"""Other packages' graph decoders behind the interface of the built-in one: kaldi-decoder, and k2."""

import importlib
import math
from collections.abc import Callable
from typing import Any

import torch

from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.common.names import nearest
from speechkit.decode.beam import Weights
from speechkit.decode.wfst import LN10, GraphSearch, LogProbs, Recognised, WfstConfig, WfstSearch, checked
from speechkit.fsa.wfst.compose import weighted, with_topology
from speechkit.fsa.wfst.graph import DecodingGraph
from speechkit.fsa.wfst.k2_search import K2Beams, K2Graph
from speechkit.fsa.wfst.openfst import Fst, kaldifst, to_kaldifst

BACKENDS = ("built-in", "kaldi-decoder", "k2")
NOTHING = Recognised([], [], -math.inf, 0.0, False)


def graph_search(backend: str, graph: DecodingGraph, config: WfstConfig) -> GraphSearch:
    """The decoder of that name.

    Raises:
        UsageError: there is no such decoder.
        SpeechkitError: its package is not installed.
    """
    check_backend(backend)
    kinds: dict[str, Callable[[DecodingGraph, WfstConfig], GraphSearch]]
    kinds = {"built-in": WfstSearch, "kaldi-decoder": KaldiSearch, "k2": K2Search}
    return kinds[backend](graph, config)


def check_backend(name: str) -> None:
    """Raise `UsageError` unless there is a decoder of that name."""
    if name not in BACKENDS:
        raise UsageError(f"unknown decoder '{name}'{nearest(name, BACKENDS)}; one of {', '.join(BACKENDS)}")


class KaldiSearch:
    """kaldi-decoder's FasterDecoder, on the graph composed with its topology."""

    def __init__(self, graph: DecodingGraph, config: WfstConfig) -> None:
        try:
            self.module: Any = importlib.import_module("kaldi_decoder")
        except ImportError as error:
            raise SpeechkitError(
                f"kaldi-decoder does not import ({error}): `pip install kaldi-decoder`, or leave out --wfst-backend"
            ) from error
        self.graph, self.config = graph, config
        self.options = self.module.FasterDecoderOptions(beam=config.beam, max_active=config.max_active)
        self.weights: Weights | None = None
        self.composed = with_topology(graph.fst(), graph.topology) if graph.topology.has_blank else None

    def decode(self, log_probs: LogProbs, weights: Weights) -> Recognised:
        """The best words of `log_probs (T, V)`; without the frames of the words."""
        log_probs = checked(log_probs, self.graph)
        if weights != self.weights:
            self.fst, self.weights = to_kaldifst(self._weighted(weights)), weights  # decoders do not keep it alive
        decoder = self.module.FasterDecoder(self.fst, self.options)
        decoder.decode(self.module.DecodableCtc(log_probs))
        found, path = decoder.get_best_path()
        if not found:
            return NOTHING
        _, _, words, weight = kaldifst().get_linear_symbol_sequence(path)
        names = [self.graph.words[word] for word in words]
        return Recognised(names, [], -weight.value2, -weight.value1, decoder.reached_final())

    def _weighted(self, weights: Weights) -> Fst:
        """The composed graph; topologies with a blank add no scores that weights would have to leave alone."""
        scale = weights.lm / LN10
        if self.composed is not None:
            return weighted(self.composed, scale, weights.word)
        return with_topology(weighted(self.graph.fst(), scale, weights.word), self.graph.topology)


class K2Search:
    """k2's pruned intersection, on a GPU where there is one."""

    def __init__(self, graph: DecodingGraph, config: WfstConfig) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.graph, self.search = graph, K2Graph(graph, self.device)
        self.beams = K2Beams(search=config.beam, output=config.lattice_beam, max_active=config.max_active)

    def decode(self, log_probs: LogProbs, weights: Weights) -> Recognised:
        """The best words of `log_probs (T, V)`; without the frames of the words."""
        emissions = torch.from_numpy(checked(log_probs, self.graph))
        best = self.search.best(emissions, weights.lm / LN10, weights.word, self.beams)
        if best is None:
            return NOTHING
        return Recognised([self.graph.words[word] for word in best.words], [], best.acoustic, best.graph)
