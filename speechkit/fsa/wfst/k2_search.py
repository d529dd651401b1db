"""Decoding graphs in k2: HLG as icefall makes it, and its pruned intersection with log-probs, on CPU or CUDA."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechkit.common.errors import UsageError
from speechkit.fsa.engines.k2 import load
from speechkit.fsa.wfst.graph import DecodingGraph
from speechkit.fsa.wfst.openfst import Fst


@dataclass(frozen=True)
class K2Beams:
    """Beams of the search and of its lattice, and between how many states of a frame may stay."""

    search: float = 20.0
    output: float = 8.0
    min_active: int = 30
    max_active: int = 10000


@dataclass(frozen=True)
class K2Best:
    """Words of the best path; its acoustic score, and the weighted one of the graph."""

    words: list[int]
    acoustic: float
    graph: float


class K2Graph:
    """H o LG without epsilons; the topology's scores are all 0, so weights multiply the rest at any time.

    Raises:
        SpeechkitError: k2 does not import.
        UsageError: the graph's topology is not CTC.
    """

    def __init__(self, graph: DecodingGraph, device: torch.device) -> None:
        self.k2, self.device = load(), device
        if not graph.topology.has_blank:
            raise UsageError("k2 decodes graphs of CTC here; take --wfst-backend built-in for others")
        epsilon_free = self.k2.arc_sort(self.k2.connect(self.k2.remove_epsilon(_lexicon_grammar(graph.fst(), self.k2))))
        topology = self.k2.ctc_topo(len(graph.tokens) - 1, modified=not graph.topology.parts_equal)
        composed = self.k2.compose(self.k2.arc_sort(topology), epsilon_free, treat_epsilons_specially=True)
        self.fsa = self.k2.arc_sort(self.k2.connect(composed)).to(device)
        self.scores = self.fsa.scores.clone()
        self.num_words = _words_of_arcs(self.fsa)

    def best(self, log_probs: Tensor, scale: float, word: float, beams: K2Beams) -> K2Best | None:
        """The best path through `log_probs (T, V)`; None without one.

        Args:
            scale: factor of graph scores (natural log).
            word: added for each word.
        """
        if len(log_probs) == 0:
            return None
        self.fsa.scores = scale * self.scores + word * self.num_words
        self.fsa.graph_scores = self.fsa.scores
        segments = torch.tensor([[0, 0, len(log_probs)]], dtype=torch.int32)
        dense = self.k2.DenseFsaVec(log_probs[None].to(self.device), segments)
        lattice = self.k2.intersect_dense_pruned(
            self.fsa, dense, beams.search, beams.output, beams.min_active, beams.max_active
        )
        path = self.k2.shortest_path(lattice, use_double_scores=True)
        if path.num_arcs == 0:
            return None
        graph, total = float(path.graph_scores.double().sum()), float(path.scores.double().sum())
        return K2Best([label for label in _labels(path) if label > 0], total - graph, graph)


def _lexicon_grammar(fst: Fst, k2: Any) -> Any:
    """The transducer as a k2 graph: labels are token ids (0 for epsilon), aux labels are words, one final state."""
    final = np.flatnonzero(np.isfinite(fst.final))
    end, none = fst.num_states, np.full(len(final), -1, np.int32)
    source = np.concatenate([fst.source, final]).astype(np.int32)
    order = np.argsort(source, kind="stable")
    columns = (
        source,
        np.concatenate([fst.destination, np.full(len(final), end)]),
        np.concatenate([np.maximum(fst.ilabel - 1, 0), none]),
        np.concatenate([-fst.cost, -fst.final[final]]).astype(np.float32).view(np.int32),
    )
    arcs = np.stack([column.astype(np.int32)[order] for column in columns], axis=1)
    words = np.concatenate([fst.olabel, none]).astype(np.int32)[order]
    return k2.Fsa(torch.from_numpy(arcs), aux_labels=torch.from_numpy(words))


def _words_of_arcs(fsa: Any) -> Tensor:
    """How many words each arc has."""
    labels = fsa.aux_labels
    if isinstance(labels, Tensor):
        return (labels > 0).to(torch.float32)
    row_ids, values = labels.shape.row_ids(1).long(), labels.values
    counts = torch.zeros(fsa.num_arcs, device=values.device)
    return counts.index_add_(0, row_ids, (values > 0).to(torch.float32))


def _labels(path: Any) -> list[int]:
    labels = path.aux_labels
    found: list[int] = (labels if isinstance(labels, Tensor) else labels.values).tolist()
    return found
