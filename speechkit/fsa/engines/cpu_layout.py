"""Graphs rearranged for the CPU kernels: diagonals where they run from left to right, lists of arcs elsewhere.

In a CTC graph, an HMM or any chain with skips and loops, every state has the same few kinds of arcs: from itself, from
the state before, from the one before that. Such a graph is a matrix with few diagonals, and if all arcs into a state
carry one label, a frame is a handful of vector operations over all states ("banded"; the states are padded on both
sides so that no diagonal leaves the array). Other graphs keep their arcs ("listed"), sorted by destination and label
for the way forward, with all arcs into a state that carry one label as a "slot", and by source for the way back.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from speechkit.fsa.engines.cpu_wide import kernel, log_add, part

Array = npt.NDArray[Any]

# Columns of `Layout.graphs`: what a graph is, and where its parts begin.
KIND, STATES, LABELS, DIAGONALS, PAD, SLOTS, ARCS = range(7)
OFFSETS_AT, CELLS_AT, ROWS_AT, LABELS_AT, SLOTS_AT, ARCS_AT = range(7, 13)
NUM_COLUMNS, NUM_PARTS = 13, 6
NO_PATHS, BANDED, LISTED = range(3)
MOST_DIAGONALS = 16
# A graph is banded if its diagonals are at least a quarter full (or it is small).
LEAST_FILLED, SMALL = 4, 64
OK, BAD_STATE, BAD_LABEL = range(3)


class Arcs(NamedTuple):
    """The arrays of a `GraphBatch` that kernels read."""

    source: Array
    destination: Array
    label: Array
    score: Array
    arc_splits: Array
    state_splits: Array


class Layout(NamedTuple):
    """All graphs of a batch; the parts of a graph start where its row of `graphs` says. Arcs are numbers in the graph.

    Attributes:
        graphs: `(G, NUM_COLUMNS)`: kind, numbers of states (without the final one), of different labels, of diagonals,
            of padding states on each side, slots and arcs that consume a frame; then the starts of the parts.
        labels: columns of the log-probabilities that the graph looks at, from `LABELS_AT`.
        final_log, final_arc: by padded state, score of ending there and the arc that does, from `ROWS_AT`.
        row_column, row_label: by padded state, label of the arcs into it, as a column and as an index into `labels`.
        offsets: destination minus source of each diagonal, from `OFFSETS_AT`.
        cell_log, cell_arc: score and arc by diagonal and padded destination, diagonal after diagonal, from `CELLS_AT`.
        slot_splits, slot_label, slot_state: part of `in_arc`, index into `labels`, and destination of each slot, from
            `SLOTS_AT`; there is one more split.
        state_slots, state_arcs: by state, the beginnings of its slots and of its part of `out_arc`, from `ROWS_AT`; one
            more of each.
        in_arc, in_source: arcs by destination and label, and their sources, from `ARCS_AT`.
        out_arc, out_slot: arcs by source, and the slots they lead to, from `ARCS_AT`.
    """

    graphs: Array
    labels: Array
    final_log: Array
    final_arc: Array
    row_column: Array
    row_label: Array
    offsets: Array
    cell_log: Array
    cell_arc: Array
    slot_splits: Array
    slot_label: Array
    slot_state: Array
    state_slots: Array
    state_arcs: Array
    in_arc: Array
    in_source: Array
    out_arc: Array
    out_slot: Array


class Batch(NamedTuple):
    """What sums over paths are given, and where results go.

    Attributes:
        log_probs: float32 `(N, T, V)`.
        lengths, graph_of: int64 `(N,)`, frames and graph of each utterance.
        totals: float64 `(N,)`; -inf without a path, NaN where a log-probability or score is NaN or +inf.
        starts: int64 `(N,)`, where an utterance's entries in `occupied` begin.
        occupied: float32, occupation probabilities `(length, labels of the graph)` of each utterance; NaN as `totals`.
        arc_starts: int64 `(N,)`, where an utterance's entries in `arc_values` begin.
        arc_values: float32, expected counts of the arcs of each utterance's graph, or posteriors `(length, arcs)`.
    """

    log_probs: Array
    lengths: Array
    graph_of: Array
    totals: Array
    starts: Array
    occupied: Array
    arc_starts: Array
    arc_values: Array


class _Scratch(NamedTuple):
    """Memory for work: by column, by state, for diagonals, for counts, for arcs in three orders."""

    column: Array
    state: Array
    diagonals: Array
    counts: Array
    arcs: Array


def lay_out(arcs: Arcs, used: Array, num_columns: int, *, banded: bool, best: bool) -> Layout:
    """Rearrange the graphs that are `used` (bool, one per graph).

    Args:
        arcs: the batch.
        used: which graphs are needed.
        num_columns: of the log-probabilities.
        banded: use diagonals where possible.
        best: parallel arcs on a diagonal, or from a state to the final one, count as the best of them, else as a sum.

    Raises:
        ValueError: an arc names a state or label that is not there.
    """
    graphs, totals = np.zeros((len(used), NUM_COLUMNS), np.int64), np.zeros(NUM_PARTS, np.int64)
    most_arcs, most_states = (int(np.diff(splits).max(initial=0)) for splits in (arcs.arc_splits, arcs.state_splits))
    scratch = _Scratch(
        np.full(num_columns, -1, np.int32),
        np.empty(most_states, np.int32),
        np.empty(MOST_DIAGONALS, np.int64),
        np.empty(max(num_columns, most_states) + 1, np.int64),
        np.empty((3, most_arcs), np.int32),
    )
    code, graph = _survey(arcs, used, banded, graphs, totals, scratch)
    if code == BAD_LABEL:
        raise ValueError(f"graph {graph} has labels beyond the {num_columns} columns of the log-probabilities")
    if code == BAD_STATE:
        raise ValueError(f"an arc of graph {graph} names a state that is not there, or a label below -1")
    num_offsets, num_cells, num_rows, num_labels, num_slots, num_arcs = totals.tolist()
    layout = Layout(
        graphs=graphs,
        labels=np.empty(num_labels, np.int32),
        final_log=np.full(num_rows, -np.inf),
        final_arc=np.full(num_rows, -1, np.int32),
        row_column=np.zeros(num_rows, np.int32),
        row_label=np.zeros(num_rows, np.int32),
        offsets=np.empty(num_offsets, np.int64),
        cell_log=np.full(num_cells, -np.inf, np.float32),
        cell_arc=np.full(num_cells, -1, np.int32),
        slot_splits=np.zeros(num_slots, np.int64),
        slot_label=np.empty(num_slots, np.int32),
        slot_state=np.empty(num_slots, np.int32),
        state_slots=np.zeros(num_rows, np.int64),
        state_arcs=np.zeros(num_rows, np.int64),
        in_arc=np.empty(num_arcs, np.int32),
        in_source=np.empty(num_arcs, np.int32),
        out_arc=np.empty(num_arcs, np.int32),
        out_slot=np.empty(num_arcs, np.int32),
    )
    _fill(arcs, layout, best, scratch)
    return layout


@kernel
def _survey(arcs: Any, used: Any, banded: Any, graphs: Any, totals: Any, scratch: Any) -> Any:
    """Fill `graphs` but for the numbers of slots, and the sizes of all parts; an error code and its graph."""
    for graph in range(len(used)):
        row = graphs[graph]
        num_states = arcs.state_splits[graph + 1] - arcs.state_splits[graph]
        first, last = arcs.arc_splits[graph], arcs.arc_splits[graph + 1]
        if not used[graph] or num_states < 2 or first == last:
            continue
        row[STATES] = num_states - 1
        code = _check(arcs, first, last, num_states, len(scratch.column))
        if code != OK:
            return code, graph
        _count(arcs, graph, banded, row, scratch)
        width, listed = row[STATES] + 2 * row[PAD], row[KIND] == LISTED
        lists = row[ARCS] if listed else 0
        sizes = (row[DIAGONALS], row[DIAGONALS] * width, width + 1, row[LABELS], lists + 1, lists)
        for number in range(NUM_PARTS):
            row[OFFSETS_AT + number] = totals[number]
            totals[number] += sizes[number]
    return OK, 0


@part
def _check(arcs: Any, first: Any, last: Any, num_states: Any, num_columns: Any) -> Any:
    """Kernels index arrays by what arcs name, without looking."""
    for arc in range(first, last):
        source, destination, label = arcs.source[arc], arcs.destination[arc], arcs.label[arc]
        if source < 0 or source >= num_states - 1 or destination < 0 or destination >= num_states or label < -1:
            return BAD_STATE
        if (label < 0) != (destination == num_states - 1):
            return BAD_STATE
        if label >= num_columns:
            return BAD_LABEL
    return OK


@part
def _count(arcs: Any, graph: Any, banded: Any, row: Any, scratch: Any) -> Any:
    """Numbers of arcs, labels and diagonals of a graph, and its kind."""
    offsets, state_label, seen = scratch.diagonals, scratch.state, scratch.column
    num_offsets, num_arcs, num_labels, widest = 0, 0, 0, 0
    state_label[: row[STATES]] = -1
    for arc in range(arcs.arc_splits[graph], arcs.arc_splits[graph + 1]):
        label, destination = arcs.label[arc], arcs.destination[arc]
        if label < 0:
            continue
        num_arcs += 1
        if seen[label] != graph:
            seen[label] = graph
            num_labels += 1
        if not banded:
            continue
        if state_label[destination] != label:
            banded = state_label[destination] < 0
            state_label[destination] = label
        offset = destination - arcs.source[arc]
        diagonal = 0
        while diagonal < num_offsets and offsets[diagonal] != offset:
            diagonal += 1
        if diagonal == MOST_DIAGONALS:
            banded = False
        elif diagonal == num_offsets:
            offsets[num_offsets] = offset
            num_offsets += 1
            widest = max(widest, abs(offset))
    banded &= num_arcs > 0 and num_offsets * row[STATES] <= LEAST_FILLED * num_arcs + SMALL
    row[KIND] = BANDED if banded else LISTED
    row[ARCS], row[LABELS] = num_arcs, num_labels
    if banded:
        row[DIAGONALS], row[PAD] = num_offsets, widest


@kernel
def _fill(arcs: Any, layout: Any, best: Any, scratch: Any) -> Any:
    for graph in range(len(layout.graphs)):
        kind = layout.graphs[graph, KIND]
        if kind != NO_PATHS:
            _fill_labels(arcs, layout, graph, scratch.column)
            _fill_finals(arcs, layout, graph, best)
        if kind == BANDED:
            _fill_diagonals(arcs, layout, graph, scratch.column, best)
        elif kind == LISTED:
            _fill_lists(arcs, layout, graph, scratch)


@part
def _fill_labels(arcs: Any, layout: Any, graph: Any, index: Any) -> Any:
    """List the labels of a graph and note the place of each in `index`."""
    start, count = layout.graphs[graph, LABELS_AT], 0
    index[:] = -1
    for arc in range(arcs.arc_splits[graph], arcs.arc_splits[graph + 1]):
        label = arcs.label[arc]
        if label >= 0 and index[label] < 0:
            layout.labels[start + count] = label
            index[label] = count
            count += 1


@part
def _fill_finals(arcs: Any, layout: Any, graph: Any, best: Any) -> Any:
    first = arcs.arc_splits[graph]
    start = layout.graphs[graph, ROWS_AT] + layout.graphs[graph, PAD]
    for arc in range(first, arcs.arc_splits[graph + 1]):
        if arcs.label[arc] < 0:
            _enter(layout.final_log, layout.final_arc, start + arcs.source[arc], arcs.score[arc], arc - first, best)


@part
def _enter(logs: Any, numbers: Any, place: Any, score: Any, arc: Any, best: Any) -> Any:
    """Add an arc to those that are at a place already."""
    score, before = np.float64(score), logs[place]
    if numbers[place] < 0 or score > before:
        numbers[place] = arc
    if best or before == -np.inf or not score > -np.inf:
        # A NaN stays to be found.
        logs[place] = before if score <= before else score
    else:
        logs[place] = log_add(np.float64(before), score)


@part
def _fill_diagonals(arcs: Any, layout: Any, graph: Any, index: Any, best: Any) -> Any:
    row = layout.graphs[graph]
    first, pad = arcs.arc_splits[graph], row[PAD]
    width = row[STATES] + 2 * pad
    offsets = layout.offsets[row[OFFSETS_AT] : row[OFFSETS_AT] + row[DIAGONALS]]
    # States that no arc enters look at some label of the graph, and at none that is not on it.
    layout.row_column[row[ROWS_AT] : row[ROWS_AT] + width] = layout.labels[row[LABELS_AT]]
    count = 0
    for arc in range(first, arcs.arc_splits[graph + 1]):
        if arcs.label[arc] < 0:
            continue
        offset = arcs.destination[arc] - arcs.source[arc]
        diagonal = 0
        while diagonal < count and offsets[diagonal] != offset:
            diagonal += 1
        if diagonal == count:
            offsets[count] = offset
            count += 1
        place = pad + arcs.destination[arc]
        layout.row_column[row[ROWS_AT] + place] = arcs.label[arc]
        layout.row_label[row[ROWS_AT] + place] = index[arcs.label[arc]]
        cell = row[CELLS_AT] + diagonal * width + place
        _enter(layout.cell_log, layout.cell_arc, cell, arcs.score[arc], arc - first, best)


@part
def _fill_lists(arcs: Any, layout: Any, graph: Any, scratch: Any) -> Any:
    row = layout.graphs[graph]
    first, last = arcs.arc_splits[graph], arcs.arc_splits[graph + 1]
    source, destination, label = arcs.source[first:last], arcs.destination[first:last], arcs.label[first:last]
    by_label, num_arcs = scratch.arcs[1, : row[ARCS]], 0
    for arc in range(last - first):
        if label[arc] >= 0:
            by_label[num_arcs] = arc
            num_arcs += 1
    start, stop = row[ARCS_AT], row[ARCS_AT] + num_arcs
    _sort(by_label, source, row[STATES], scratch.counts, layout.out_arc[start:stop])
    _sort(by_label, label, len(scratch.column), scratch.counts, scratch.arcs[2, :num_arcs])
    _sort(scratch.arcs[2, :num_arcs], destination, row[STATES], scratch.counts, layout.in_arc[start:stop])
    _fill_slots(source, destination, label, layout, row, scratch)
    rows, slot_of = row[ROWS_AT], scratch.arcs[0]
    for k in range(start, stop):
        arc = layout.out_arc[k]
        layout.out_slot[k] = slot_of[arc]
        layout.state_arcs[rows + source[arc] + 1] += 1
    for state in range(rows, rows + row[STATES]):
        layout.state_slots[state + 1] += layout.state_slots[state]
        layout.state_arcs[state + 1] += layout.state_arcs[state]


@part
def _fill_slots(source: Any, destination: Any, label: Any, layout: Any, row: Any, scratch: Any) -> Any:
    """Slots of the arcs in `in_arc`, and in the first row of `scratch.arcs` the slot of each arc."""
    slots, rows, start = row[SLOTS_AT], row[ROWS_AT], row[ARCS_AT]
    slot, last_state, last_label = -1, -1, -1
    for k in range(row[ARCS]):
        arc = layout.in_arc[start + k]
        if destination[arc] != last_state or label[arc] != last_label:
            slot += 1
            last_state, last_label = destination[arc], label[arc]
            layout.slot_splits[slots + slot] = k
            layout.slot_label[slots + slot] = scratch.column[last_label]
            layout.slot_state[slots + slot] = last_state
            layout.state_slots[rows + last_state + 1] += 1
        scratch.arcs[0, arc] = slot
        layout.in_source[start + k] = source[arc]
    row[SLOTS] = slot + 1
    layout.slot_splits[slots + slot + 1] = row[ARCS]


@part
def _sort(items: Any, keys: Any, num_keys: Any, counts: Any, result: Any) -> Any:
    """Items by their keys, those of equal keys as before."""
    for key in range(num_keys + 1):
        counts[key] = 0
    for i in range(len(items)):
        counts[keys[items[i]] + 1] += 1
    for key in range(num_keys):
        counts[key + 1] += counts[key]
    for i in range(len(items)):
        key = keys[items[i]]
        result[counts[key]] = items[i]
        counts[key] += 1
