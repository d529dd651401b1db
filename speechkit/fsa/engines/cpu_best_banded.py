"""Best paths on the CPU through banded graphs: vector operations along the states that can be on a path at a frame."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from speechkit.fsa.engines.cpu_best import best_end, clear_around, copy_row, prune, span, write_scores
from speechkit.fsa.engines.cpu_layout import CELLS_AT, DIAGONALS, OFFSETS_AT, PAD, ROWS_AT, STATES
from speechkit.fsa.engines.cpu_wide import fetch_ahead, gather, inlined, kernel, larger, part

Array = npt.NDArray[Any]


class _Band(NamedTuple):
    """One banded graph; `scores` and `arc` are `(diagonals, padded states)`."""

    states: int
    pad: int
    reach: int
    backward: int
    first_final: int
    final_log: Array
    final_arc: Array
    first_arc: int
    offsets: Array
    scores: Array
    arc: Array
    column: Array


@kernel
def banded_paths(search: Any, rows: Any, arcs: Any, layout: Any, work: Any) -> Any:
    """Best paths of some utterances with banded graphs."""
    for i in range(len(rows)):
        n = rows[i]
        graph = search.graph_of[n]
        band = _pick(arcs, layout, graph, work.cells)
        if _best_path(search, n, band, search.log_probs[n, : search.lengths[n]], work):
            first, last = arcs.arc_splits[graph], arcs.arc_splits[graph + 1]
            write_scores(search, n, search.lengths[n], first, arcs.score[first:last], arcs.label[first:last])


@part
def _pick(arcs: Any, layout: Any, graph: Any, scores: Any) -> Any:
    row = layout.graphs[graph]
    states, pad, diagonals, start = row[STATES], row[PAD], row[DIAGONALS], row[ROWS_AT]
    width = states + 2 * pad
    size = diagonals * width
    copy_row(layout.cell_log[row[CELLS_AT] : row[CELLS_AT] + size], scores)
    offsets = layout.offsets[row[OFFSETS_AT] : row[OFFSETS_AT] + diagonals]
    final_log = layout.final_log[start + pad : start + pad + states]
    reach, backward, first_final = 0, 0, states
    for d in range(diagonals):
        reach, backward = max(reach, offsets[d]), max(backward, -offsets[d])
    for state in range(states - 1, -1, -1):
        if final_log[state] > -np.inf:
            first_final = state
    return _Band(
        states,
        pad,
        reach,
        backward,
        first_final,
        final_log,
        layout.final_arc[start + pad : start + pad + states],
        arcs.arc_splits[graph],
        offsets,
        scores[:size].reshape(diagonals, width),
        layout.cell_arc[row[CELLS_AT] : row[CELLS_AT] + size].reshape(diagonals, width),
        layout.row_column[start : start + width],
    )


@part
def _best_path(search: Any, n: Any, band: Any, log_probs: Any, work: Any) -> Any:
    """Forward block by block, then back; whether there is a path."""
    length, size, pad = len(log_probs), search.sizes[n], band.pad
    width = band.states + 2 * pad
    num_blocks = max(1, (length + size - 1) // size)
    saved = work.saved[: num_blocks * width].reshape(num_blocks, width)
    choices = work.choices[: size * width].reshape(size, width)
    saved[0, :] = -np.inf
    saved[0, pad] = 0.0
    work.spans[0, 0], work.spans[0, 1] = 0, 1
    fit, last = True, work.rows[0]
    for number in range(num_blocks):
        good, last = _run_block(band, search.beam, log_probs, number * size, saved[number], choices, work)
        fit &= good
        if number + 1 < num_blocks:
            copy_row(last[:width], saved[number + 1])
    if not fit:
        search.scores[n] = np.nan
        return False
    first, behind = max(work.spans[length, 0], band.first_final), work.spans[length, 1]
    state, search.scores[n] = best_end(last, band.final_log, pad, first, behind)
    if state < 0:
        return False
    search.final_arcs[n] = band.first_arc + band.final_arc[state]
    for number in range(num_blocks - 1, -1, -1):
        if number + 1 < num_blocks:
            _run_block(band, search.beam, log_probs, number * size, saved[number], choices, work)
        state = _walk_back(search.path[n], band, number * size, length, choices, state)
    return True


@part
def _run_block(band: Any, beam: Any, log_probs: Any, start: Any, first: Any, choices: Any, work: Any) -> Any:
    """Choices at the frames of a block; whether no log-probability is NaN or +inf, and the scores at the end."""
    length, pad, reach, backward = len(log_probs), band.pad, band.reach, band.backward
    spans, logs, column, scores, offsets = work.spans, work.logs, band.column, band.scores, band.offsets
    width, fit = band.states + 2 * pad, True
    before, after = work.rows[0, :width], work.rows[1, :width]
    copy_row(first, before)
    for t in range(start, min(start + len(choices), length)):
        low, high = span(spans[t], reach, backward, band.first_final, band.states, length - t - 1)
        low, high = low + pad, high + pad
        fetch_ahead(log_probs, t, column)
        fit &= gather(log_probs[t], column[low:high], logs[low:high])
        _raise(before, after, scores, offsets, logs, choices[t - start], low, high)
        if beam < np.inf:
            low, high = prune(after, low, high, beam)
        clear_around(after, low, high, reach + backward)
        spans[t + 1, 0], spans[t + 1, 1] = low - pad, high - pad
        before, after = after, before
    return fit, before


@inlined
def _raise(before: Any, after: Any, scores: Any, offsets: Any, logs: Any, choices: Any, low: Any, high: Any) -> Any:
    """Best scores after a frame, and by which diagonals they came."""
    done = min(len(offsets), 3)
    if done == 3:
        _by_three(before, after, scores, offsets, logs, choices, low, high)
    else:
        done = 0
        for i in range(low, high):
            after[i], choices[i] = -np.inf, 0
    for d in range(done, len(offsets)):
        arcs, offset, number = scores[d], np.uint64(offsets[d]), np.uint8(d)
        for place in range(low, high):
            i = np.uint64(place)
            score = before[i - offset] + arcs[i] + np.float64(logs[i])
            choices[i] = number if score > after[i] else choices[i]
            after[i] = larger(score, after[i])


@inlined
def _by_three(before: Any, after: Any, scores: Any, offsets: Any, logs: Any, choices: Any, low: Any, high: Any) -> Any:
    """The best scores by the first three diagonals."""
    first, second, third = scores[0], scores[1], scores[2]
    a, b, c = np.uint64(offsets[0]), np.uint64(offsets[1]), np.uint64(offsets[2])
    for place in range(low, high):
        # Without a sign, an index is no question of counting from the end, and the loop goes into SIMD registers.
        i = np.uint64(place)
        best, by_second, by_third = before[i - a] + first[i], before[i - b] + second[i], before[i - c] + third[i]
        choice = np.uint8(1) if by_second > best else np.uint8(0)
        best = larger(by_second, best)
        choice = np.uint8(2) if by_third > best else choice
        after[i] = larger(by_third, best) + np.float64(logs[i])
        choices[i] = choice


@part
def _walk_back(path: Any, band: Any, start: Any, length: Any, choices: Any, state: Any) -> Any:
    """Write the path through a block that ends in `state`; the state it begins in."""
    for t in range(min(start + len(choices), length) - 1, start - 1, -1):
        diagonal = choices[t - start, band.pad + state]
        path[t] = band.first_arc + band.arc[diagonal, band.pad + state]
        state -= band.offsets[diagonal]
    return state
