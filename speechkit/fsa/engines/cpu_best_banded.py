"""Best paths on the CPU through banded graphs: vector operations along the states that can be on the path at a frame.

Few states can, where a model is sure of what it hears, and it is possible to know which. From each frame on, no path
gains more than the best label of every frame: that bounds what a state can still become. A first search keeps only what
lies within a beam of the best state of its frame, and finds a path, which may not be the best. If nothing that was
dropped could have become better than this path, by the bound, then nothing is: the path is the best one. Otherwise a
second search drops no more than what cannot become better. Where the beam drops little, as with a model that knows
nothing yet, one search of everything is faster.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from speechkit.fsa.engines.cpu_best import best_end, clear_around, copy_row, drop, row_best, span, write_scores
from speechkit.fsa.engines.cpu_layout import CELLS_AT, DIAGONALS, OFFSETS_AT, PAD, ROWS_AT, STATES
from speechkit.fsa.engines.cpu_wide import fetch_ahead, gather, inlined, kernel, larger, part

Array = npt.NDArray[Any]

# A beam that leaves few states of a trained model's frames and rarely drops what the bound cannot exclude.
SURE = 30.0
# Searches shorter or narrower than this are done at once; the beam has to have dropped half of the states at a frame.
LEAST_FRAMES, LEAST_STATES, PROBED = 128, 64, 64
# How a search ends: with a path, without, with a NaN or +inf, or given up because the beam drops little.
FOUND, NONE, UNFIT, WIDE = range(4)


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
    """The best path if the search has no beam, whichever way is fast; whether there is a path."""
    length, beam, lower, settled = len(log_probs), search.beam, -np.inf, False
    saved, choices = _blocks(band, length, search.sizes[n], work)
    outcome, state, score = NONE, -1, -np.inf
    if beam == np.inf and length >= LEAST_FRAMES and band.states >= LEAST_STATES:
        if not _bound(band, log_probs, work.bounds):
            search.scores[n] = np.nan
            return False
        outcome, state, score = _forward(band, SURE, lower, True, log_probs, saved, choices, work)
        settled = outcome == FOUND and _certain(score, work, length)
        if settled:
            beam = SURE
        elif outcome == FOUND:
            lower = score - _slack(score)
    if not settled:
        outcome, state, score = _forward(band, beam, lower, False, log_probs, saved, choices, work)
    search.scores[n] = score
    if outcome != FOUND:
        return False
    search.final_arcs[n] = band.first_arc + band.final_arc[state]
    for number in range(len(saved) - 1, -1, -1):
        start = number * len(choices)
        if number + 1 < len(saved):
            _run_block(band, beam, lower, False, log_probs, start, saved[number], choices, work)
        state = _walk_back(search.path[n], band, start, length, choices, state)
    return True


@part
def _blocks(band: Any, length: Any, size: Any, work: Any) -> Any:
    """Room for the scores at the beginning of each block, and for the choices of one block."""
    width, number = band.states + 2 * band.pad, max(1, (length + size - 1) // size)
    return work.saved[: number * width].reshape(number, width), work.choices[: size * width].reshape(size, width)


@part
def _bound(band: Any, log_probs: Any, bounds: Any) -> Any:
    """Most that any path gains from each time on; False if a log-probability is NaN or +inf."""
    arc, end = -np.inf, -np.inf
    for d in range(len(band.offsets)):
        for i in range(band.pad, band.pad + band.states):
            arc = larger(arc, band.scores[d, i])
    for state in range(band.states):
        end = larger(end, band.final_log[state])
    # In the order of memory, then summed up from the end.
    for t in range(len(log_probs)):
        frame = log_probs[t]
        best, unfit = _best_label(frame) if len(frame) <= 4 * band.states else (np.float32(0), True)
        if unfit:
            # What is unfit may belong to a label that is not on the graph.
            best = np.float32(-np.inf)
            for i in range(band.pad, band.pad + band.states):
                log_prob = frame[np.uint32(band.column[i])]
                if not log_prob < np.inf:
                    return False
                best = larger(best, log_prob)
        bounds[t] = best
    bounds[len(log_probs)] = end
    for t in range(len(log_probs) - 1, -1, -1):
        bounds[t] += bounds[t + 1] + arc
    return True


@part
def _best_label(frame: Any) -> Any:
    """The largest value of a frame, and whether there is a NaN or +inf.

    As integers, whose order is that of the floats once negative ones are turned around, with NaN beyond the infinities:
    only for integers does the compiler look at eight at a time.
    """
    bits = frame.view(np.int32)
    most, least = np.int32(-(1 << 31)), np.int32((1 << 31) - 1)
    for i in range(len(bits)):
        value = np.int32(bits[i] ^ np.int32(np.int32(bits[i] >> np.int32(31)) & np.int32(0x7FFFFFFF)))
        most = larger(most, value)
        least = value if value < least else least
    unfit = (most >= np.int32(0x7F800000)) | (least < np.int32(-0x7F800001))
    return np.int32(most ^ np.int32(np.int32(most >> np.int32(31)) & np.int32(0x7FFFFFFF))).view(np.float32), unfit


@part
def _slack(score: Any) -> Any:
    """What sums of float64 may be wrong by."""
    return 1e-9 * abs(score) + 1e-6


@part
def _certain(score: Any, work: Any, length: Any) -> Any:
    """Whether nothing that was dropped could have become better than a path of this score."""
    most = score + _slack(score)
    certain = True
    for t in range(length + 1):
        certain &= not work.dropped[t] + work.bounds[t] > most
    return certain


@part
def _forward(
    band: Any, beam: Any, lower: Any, tentative: Any, log_probs: Any, saved: Any, choices: Any, work: Any
) -> Any:
    """Search block by block: the outcome, and the best state to end in with the score of its path."""
    length, pad, size = len(log_probs), band.pad, len(choices)
    saved[0, :] = -np.inf
    saved[0, pad] = 0.0
    work.spans[0, 0], work.spans[0, 1], work.dropped[0] = 0, 1, -np.inf
    outcome, last = FOUND, work.rows[0]
    for number in range(len(saved)):
        start = number * size
        outcome, last = _run_block(band, beam, lower, tentative, log_probs, start, saved[number], choices, work)
        if outcome == UNFIT:
            return UNFIT, -1, np.nan
        if outcome == WIDE:
            return WIDE, -1, -np.inf
        if number + 1 < len(saved):
            copy_row(last, saved[number + 1])
    first, behind = max(work.spans[length, 0], band.first_final), work.spans[length, 1]
    state, score = best_end(last, band.final_log, pad, first, behind)
    return FOUND if state >= 0 else NONE, state, score


@part
def _run_block(
    band: Any,
    beam: Any,
    lower: Any,
    tentative: Any,
    log_probs: Any,
    start: Any,
    first: Any,
    choices: Any,
    work: Any,
) -> Any:
    """Choices at the frames of a block; how it went, and the scores at the end.

    States are dropped, from both ends of those that are left, that lie further behind the best than `beam`, or that
    cannot lead to `lower` by the bounds. A tentative search gives up if the beam drops little.
    """
    length, pad, reach, backward = len(log_probs), band.pad, band.reach, band.backward
    spans, logs, column, scores, offsets = work.spans, work.logs, band.column, band.scores, band.offsets
    width, fit, drops = band.states + 2 * pad, True, beam < np.inf or lower > -np.inf
    before, after = work.rows[0, :width], work.rows[1, :width]
    copy_row(first, before)
    for t in range(start, min(start + len(choices), length)):
        low, high = span(spans[t], reach, backward, band.first_final, band.states, length - t - 1)
        low, high = low + pad, high + pad
        fetch_ahead(log_probs, t, column[low:high])
        fit &= gather(log_probs[t], column[low:high], logs[low:high])
        _raise(before, after, scores, offsets, logs, choices[t - start], low, high)
        if drops:
            if tentative and t == PROBED:
                possible = min(band.states, reach * t + 1) if backward == 0 else band.states
                if 2 * (spans[t, 1] - spans[t, 0]) > possible:
                    return WIDE, before
            limit = lower - work.bounds[t + 1] if lower > -np.inf else row_best(after, low, high) - beam
            low, high, work.dropped[t + 1] = drop(after, low, high, limit)
        clear_around(after, low, high, reach + backward)
        spans[t + 1, 0], spans[t + 1, 1] = low - pad, high - pad
        before, after = after, before
    return FOUND if fit else UNFIT, before


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
