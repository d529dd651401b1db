"""CTC graphs of a whole batch of token sequences at once, for losses and alignments, which need new ones always."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from speechkit.fsa.graph import FINAL_LABEL, NO_AUX, GraphBatch
from speechkit.fsa.topology import BLANK

Array = npt.NDArray[Any]


def ctc_graphs(targets: Tensor, target_lengths: Tensor, *, standard: bool = True) -> GraphBatch:
    """The graphs that `topology.ctc_graph` makes of each sequence, laid end to end; utterance n uses graph n.

    Args:
        targets: `(N, S)` token ids from 1, padded with anything.
        target_lengths: `(N,)`, tokens of each sequence; 0 for blanks alone.
        standard: equal neighbours need a blank between them.

    Returns:
        Graphs with aux "token" on the first frame of each token, on the device of `targets`.

    Raises:
        ValueError: shapes do not fit together, or a token is not an id from 1.
    """
    if targets.dim() != 2 or target_lengths.shape != targets.shape[:1]:
        raise ValueError(f"targets (N, S) {tuple(targets.shape)} and lengths {tuple(target_lengths.shape)} do not fit")
    counts = target_lengths.cpu().numpy().astype(np.int64)
    most = int(counts.max(initial=0))
    if counts.min(initial=0) < 0 or most > targets.shape[1]:
        raise ValueError(f"target_lengths {counts.tolist()} with targets of {targets.shape[1]} tokens")
    tokens = targets[:, :most].cpu().numpy().astype(np.int32)
    inside = np.arange(most) < counts[:, None]
    if (tokens[inside] <= BLANK).any():
        raise ValueError(f"token {tokens[inside].min()}: ids begin at {BLANK + 1}")
    source, destination, label, token, arc_splits = _arcs(tokens, counts, standard)
    batch = GraphBatch(
        source=torch.from_numpy(source),
        destination=torch.from_numpy(destination),
        label=torch.from_numpy(label),
        score=torch.zeros(len(source)),
        arc_splits=torch.from_numpy(arc_splits),
        state_splits=torch.from_numpy(np.append(0, np.cumsum(2 * counts + 2))),
        index=torch.arange(len(counts)),
        aux={"token": torch.from_numpy(token)},
    )
    return batch if targets.device.type == "cpu" else batch.to(targets.device)


def _arcs(tokens: Array, counts: Array, standard: bool) -> tuple[Array, Array, Array, Array, Array]:
    """Source, destination, label and "token" of all arcs in order, and where those of each graph begin.

    A state has three arcs at most: to itself, to the next one, and from a token to the next token or from the last two
    states to the end. Some are not there: they are made for all states and picked from.
    """
    num_graphs, most = tokens.shape
    width = 2 * most + 1
    state, last = np.arange(width), 2 * counts
    reads = np.zeros((num_graphs, width + 2), np.int32)
    reads[:, 1 : 2 * most : 2] = tokens
    there = np.zeros((num_graphs, width, 3), np.bool_)
    there[:, :, 0] = state <= last[:, None]
    there[:, :, 1] = state < last[:, None]
    # Beyond the last token there is no next one, but the end.
    np.less(state[1::2], last[:, None] - 1, out=there[:, 1::2, 2])
    if standard:
        there[:, 1::2, 2] &= reads[:, 3::2] != reads[:, 1:-2:2]
    rows = np.arange(num_graphs)
    there[rows, last, 2] = True
    there[rows, np.maximum(last - 1, 0), 2] = True
    chosen = np.flatnonzero(there)
    # numpy's divmod is far slower than its division by a single number.
    place = chosen // 3
    graph = place // width
    step, source = chosen - 3 * place, place - width * graph
    arc_splits = np.searchsorted(graph, np.arange(num_graphs + 1))
    # The last arc of a graph goes to the end, and that of its last token, two before.
    ends = np.concatenate([arc_splits[1:] - 1, arc_splits[1:][counts > 0] - 3])
    destination = source + step
    destination[ends] = last[graph[ends]] + 1
    label = reads.ravel()[destination + (width + 2) * graph]
    label[ends] = FINAL_LABEL
    token = np.where(step > 0, label, NO_AUX)
    token[ends] = NO_AUX
    return source.astype(np.int32), destination.astype(np.int32), label, token, arc_splits
