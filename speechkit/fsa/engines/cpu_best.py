"""Best paths on the CPU: what searches share, and the search of graphs of any shape.

Memory grows with the square root of the length where it has to. For a block of frames a search keeps what it needs for
the way back. If the frames do not fit into one block, the scores at the beginning of each block are kept, and blocks
are computed a second time, from the last to the first, on the way back.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from speechkit.fsa.engines.cpu_layout import ARCS_AT, BANDED, DIAGONALS, KIND, PAD, ROWS_AT, SLOTS_AT, STATES
from speechkit.fsa.engines.cpu_wide import inlined, kernel, larger, part

Array = npt.NDArray[Any]


class Search(NamedTuple):
    """What is given, and where results go; `speechkit.fsa.paths.BestPaths` describes these.

    Attributes:
        log_probs: float32 `(N, T, V)`.
        lengths, graph_of: int64 `(N,)`, frames and graph of each utterance.
        beam: states further behind the best of their frame are dropped; inf for none.
        sizes: int64 `(N,)`, frames of a block.
    """

    log_probs: Array
    lengths: Array
    graph_of: Array
    beam: float
    sizes: Array
    scores: Array
    path: Array
    path_scores: Array
    final_arcs: Array


class BestWork(NamedTuple):
    """Memory that utterances use in turn.

    Attributes:
        saved: float64 scores of all states at the beginning of each block.
        block: of listed graphs, float64 scores of all states at all times of a block.
        rows: of banded graphs, float64 scores at two times, `(2, states)`.
        choices: of banded graphs, uint8 diagonals by which states at all frames of a block were reached.
        spans: first state at each time of the utterance, and behind the last.
        logs: float32 log-probabilities of all states at a frame.
        cells: float64 scores of arcs on diagonals.
        bounds, dropped: of banded graphs, float64 by time: the most that is still to gain, the best that was dropped.
    """

    saved: Array
    block: Array
    rows: Array
    choices: Array
    spans: Array
    logs: Array
    cells: Array
    bounds: Array
    dropped: Array


def block_sizes(lengths: Array, graphs: Array, memory: int) -> Array:
    """Frames of a block: all if they take at most `memory` bytes, else about as many as there are blocks.

    Args:
        lengths: frames of each utterance.
        graphs: row of `Layout.graphs` of each.
        memory: for one utterance, in bytes.
    """
    widths = np.maximum(graphs[:, STATES] + 2 * graphs[:, PAD], 1)
    per_frame = widths * np.where(graphs[:, KIND] == BANDED, 1, 8)
    # Blocks of s frames cost s * per_frame bytes and, saved, 8 * widths * length / s.
    balanced = np.sqrt(lengths * 8.0 * widths / per_frame).astype(np.int64)
    fitting = memory // (2 * per_frame)
    return np.clip(np.where(lengths * per_frame <= memory, lengths, np.maximum(balanced, fitting)), 1, None)


def best_work(lengths: Array, graphs: Array, sizes: Array) -> BestWork:
    """Memory for utterances of some lengths with some graphs, rows of `Layout.graphs`, and blocks of some sizes."""
    widths, banded = graphs[:, STATES] + 2 * graphs[:, PAD], graphs[:, KIND] == BANDED
    num_blocks, width = np.maximum(1, -(-lengths // sizes)), int(widths.max())
    return BestWork(
        np.empty(int((num_blocks * widths).max())),
        np.empty(int((np.where(banded, 0, sizes + 1) * widths).max())),
        np.empty((2, width)),
        np.empty(int((banded * sizes * widths).max()), np.uint8),
        np.empty((int(lengths.max()) + 1, 2), np.int64),
        np.empty(width, np.float32),
        np.empty(int((widths * graphs[:, DIAGONALS]).max())),
        *np.empty((2, int(lengths.max()) + 1)),
    )


class _Lists(NamedTuple):
    """One listed graph; `reach` and `backward` are how far its arcs go to later and earlier states."""

    states: int
    reach: int
    backward: int
    first_final: int
    final_log: Array
    final_arc: Array
    first_arc: int
    state_slots: Array
    slot_splits: Array
    in_arc: Array
    in_source: Array
    score: Array
    label: Array


@kernel
def listed_paths(search: Any, rows: Any, arcs: Any, layout: Any, work: Any) -> Any:
    """Best paths of some utterances with listed graphs."""
    for i in range(len(rows)):
        n = rows[i]
        lists = _pick(arcs, layout, search.graph_of[n])
        _best_path(search, n, lists, search.log_probs[n, : search.lengths[n]], work)


@part
def write_scores(search: Any, n: Any, length: Any, first_arc: Any, score: Any, label: Any) -> Any:
    """Log-probability plus score of each arc on a path; after the search, where nothing has to wait for memory."""
    for t in range(length):
        arc = search.path[n, t] - first_arc
        search.path_scores[n, t] = search.log_probs[n, t, label[arc]] + score[arc]


@part
def _pick(arcs: Any, layout: Any, graph: Any) -> Any:
    row = layout.graphs[graph]
    states, start = row[STATES], row[ROWS_AT]
    first, last = arcs.arc_splits[graph], arcs.arc_splits[graph + 1]
    reach, backward, first_final = 0, 0, states
    for arc in range(first, last):
        if arcs.label[arc] >= 0:
            offset = arcs.destination[arc] - arcs.source[arc]
            reach, backward = max(reach, offset), max(backward, -offset)
        elif arcs.score[arc] > -np.inf:
            first_final = min(first_final, arcs.source[arc])
    return _Lists(
        states,
        reach,
        backward,
        first_final,
        layout.final_log[start : start + states],
        layout.final_arc[start : start + states],
        first,
        layout.state_slots[start:],
        layout.slot_splits[row[SLOTS_AT] :],
        layout.in_arc[row[ARCS_AT] :],
        layout.in_source[row[ARCS_AT] :],
        arcs.score[first:last],
        arcs.label[first:last],
    )


@part
def _best_path(search: Any, n: Any, lists: Any, log_probs: Any, work: Any) -> Any:
    """Forward block by block, then back."""
    length, size, states = len(log_probs), search.sizes[n], lists.states
    num_blocks = max(1, (length + size - 1) // size)
    saved = work.saved[: num_blocks * states].reshape(num_blocks, states)
    block = work.block[: (size + 1) * states].reshape(size + 1, states)
    saved[0, :] = -np.inf
    saved[0, 0] = 0.0
    work.spans[0, 0], work.spans[0, 1] = 0, 1
    fit = True
    for number in range(num_blocks):
        fit &= _run_block(lists, search.beam, log_probs, number * size, saved[number], block, work.spans)
        if number + 1 < num_blocks:
            copy_row(block[size], saved[number + 1])
    if not fit:
        search.scores[n] = np.nan
        return
    last = block[length - (num_blocks - 1) * size]
    first, behind = max(work.spans[length, 0], lists.first_final), work.spans[length, 1]
    state, search.scores[n] = best_end(last, lists.final_log, 0, first, behind)
    if state < 0:
        return
    search.final_arcs[n] = lists.first_arc + lists.final_arc[state]
    for number in range(num_blocks - 1, -1, -1):
        if number + 1 < num_blocks:
            _run_block(lists, search.beam, log_probs, number * size, saved[number], block, work.spans)
        state = _walk_back(search.path[n], lists, log_probs, number * size, size, block, state)
    write_scores(search, n, length, lists.first_arc, lists.score, lists.label)


@part
def copy_row(values: Any, into: Any) -> Any:
    """Copy numbers; numba's own assignment of arrays would want memory."""
    for i in range(len(values)):
        into[i] = values[i]


@part
def best_end(scores: Any, final_log: Any, pad: Any, first: Any, last: Any) -> Any:
    """The best of the states from `first` to `last` to end in, -1 if there is none, and the score of the path."""
    state, score = -1, -np.inf
    for i in range(first, last):
        if scores[pad + i] + final_log[i] > score:
            state, score = i, scores[pad + i] + final_log[i]
    return state, score


@inlined
def span(before: Any, reach: Any, backward: Any, first_final: Any, states: Any, frames_left: Any) -> Any:
    """First state that can be reached from those before and can still end in time, and behind the last."""
    low, high = max(before[0] - backward, 0), min(before[1] + reach, states)
    if backward == 0:
        low = max(low, first_final - reach * frames_left)
    return low, max(low, high)


@part
def _run_block(lists: Any, beam: Any, log_probs: Any, start: Any, first: Any, block: Any, spans: Any) -> Any:
    """Scores of all states at the frames of a block; False if a log-probability is NaN or +inf."""
    copy_row(first, block[0])
    fit, margin = True, lists.reach + lists.backward
    for t in range(start, min(start + len(block) - 1, len(log_probs))):
        before, after = block[t - start], block[t - start + 1]
        left = len(log_probs) - t - 1
        low, high = span(spans[t], lists.reach, lists.backward, lists.first_final, lists.states, left)
        fit &= _frame(lists, log_probs[t], before, after, low, high)
        if beam < np.inf:
            low, high, _ = drop(after, low, high, row_best(after, low, high) - beam)
        clear_around(after, low, high, margin)
        spans[t + 1, 0], spans[t + 1, 1] = low, high
    return fit


@inlined
def clear_around(scores: Any, low: Any, high: Any, margin: Any) -> Any:
    """Nothing is where the next frame looks back to beyond the states from `low` to `high`."""
    for i in range(max(low - margin, 0), low):
        scores[i] = -np.inf
    for i in range(high, min(high + margin, len(scores))):
        scores[i] = -np.inf


@part
def _frame(lists: Any, frame: Any, before: Any, after: Any, low: Any, high: Any) -> Any:
    fit = True
    for state in range(low, high):
        best = -np.inf
        for slot in range(lists.state_slots[state], lists.state_slots[state + 1]):
            first, last = lists.slot_splits[slot], lists.slot_splits[slot + 1]
            score = -np.inf
            for k in range(first, last):
                score = larger(score, before[lists.in_source[k]] + np.float64(lists.score[lists.in_arc[k]]))
            log_prob = frame[lists.label[lists.in_arc[first]]]
            fit &= log_prob < np.inf
            best = larger(best, score + np.float64(log_prob))
        after[state] = best
    return fit


@part
def row_best(scores: Any, low: Any, high: Any) -> Any:
    """The largest score, four at a time: each comparison waits for the one before it."""
    a, b, c, d = -np.inf, -np.inf, -np.inf, -np.inf
    i = low
    while i + 3 < high:
        a, b, c, d = larger(scores[i], a), larger(scores[i + 1], b), larger(scores[i + 2], c), larger(scores[i + 3], d)
        i += 4
    while i < high:
        a = larger(scores[i], a)
        i += 1
    return larger(larger(a, b), larger(c, d))


@part
def drop(scores: Any, low: Any, high: Any, limit: Any) -> Any:
    """The range without what is below the limit at its ends, and the best of that."""
    dropped = -np.inf
    while low < high and not scores[low] >= limit:
        dropped = larger(scores[low], dropped)
        low += 1
    while low < high and not scores[high - 1] >= limit:
        dropped = larger(scores[high - 1], dropped)
        high -= 1
    return low, high, dropped


@part
def _walk_back(path: Any, lists: Any, log_probs: Any, start: Any, size: Any, block: Any, state: Any) -> Any:
    """Write the path through a block that ends in `state`; the state it begins in."""
    for t in range(min(start + size, len(log_probs)) - 1, start - 1, -1):
        before, found, best, origin = block[t - start], -1, -np.inf, state
        first, last = lists.state_slots[state], lists.state_slots[state + 1]
        for k in range(lists.slot_splits[first], lists.slot_splits[last]):
            arc = lists.in_arc[k]
            score = before[lists.in_source[k]] + np.float64(lists.score[arc])
            score += np.float64(log_probs[t, lists.label[arc]])
            if score > best:
                found, best, origin = arc, score, lists.in_source[k]
        path[t] = lists.first_arc + found
        state = origin
    return state
