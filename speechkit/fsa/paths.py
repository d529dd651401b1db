"""Best paths through the graphs of a batch, as every engine returns them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from speechkit.fsa.graph import NO_AUX, GraphBatch


@dataclass(frozen=True)
class BestPaths:
    """The best path of each of `N` utterances, padded to `T` frames.

    Attributes:
        scores: natural-log score of the whole path, final arc included; -inf where there is no path, `(N,)` float64.
        arcs: the arc taken at each frame, as an index into the flat arrays of the `GraphBatch`; -1 past the length
            and where there is no path, `(N, T)` int64.
        arc_scores: log-probability plus arc score at each frame, 0 where `arcs` is -1, `(N, T)` float32.
        final_arcs: the arc into the final state, which consumes no frame; -1 where there is no path, `(N,)` int64.
    """

    scores: Tensor
    arcs: Tensor
    arc_scores: Tensor
    final_arcs: Tensor

    def labels(self, graphs: GraphBatch) -> Tensor:
        """Label of the arc at each frame, -1 where there is none, `(N, T)` int64."""
        if not len(graphs.label):
            return torch.full_like(self.arcs, -1)
        return graphs.label[self.arcs.clamp(min=0)].long().masked_fill(self.arcs < 0, -1)

    def aux(self, graphs: GraphBatch, name: str) -> list[list[int]]:
        """Per utterance, the non-zero auxiliary labels `name` along its path, the final arc's included, in order."""
        values = graphs.aux[name].cpu()
        arcs = torch.cat([self.arcs, self.final_arcs[:, None]], 1).cpu()
        rows = (values[row[row >= 0]] for row in arcs)
        return [row[row != NO_AUX].tolist() for row in rows]
