"""Sums over all paths through graphs of any shape: arc by arc, for one utterance or for eight that share the graph.

Most sums run over plain floats relative to the best state of the frame, one multiplication and addition per arc. A sum
that comes out so small that something lost below the range of floats could matter is done again with exponents.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from speechkit.fsa.engines.cpu_lanes import (
    add_product,
    any_below,
    cut,
    everywhere,
    exponent_of,
    load,
    mantissa_of,
    minus,
    most,
    plus,
    scaled,
    store,
    times,
)
from speechkit.fsa.engines.cpu_layout import ARCS, ARCS_AT, LABELS, LABELS_AT, ROWS_AT, SLOTS, SLOTS_AT, STATES
from speechkit.fsa.engines.cpu_wide import LEAST_LOG, LN_2, ZERO, larger, log_add, log_of, logs_to_wide, part, power

Array = npt.NDArray[Any]
_f32, _f64, _i32 = np.float32, np.float64, np.int32

# Plain floats below 2^-80 are 0. A sum of n products above 2^-40 is then right to n * 2^-39.
LEAST_PLAIN = _i32(-80)
ENOUGH = _f32(2.0**-40)
# A 0 with a type of its own: a function is compiled anew for every constant that Python's numbers bring.
FIRST = np.int64(0)


class _Side(NamedTuple):
    """Arcs in the order of what they add up to: the row of the other end, the weight as a float, the arc's number."""

    near: Array
    plain: Array
    arc: Array


class Lists(NamedTuple):
    """One graph, as `Layout` describes it, and the weights of its arcs."""

    states: int
    slots: int
    labels: Array
    slot_splits: Array
    slot_label: Array
    slot_state: Array
    state_slots: Array
    state_arcs: Array
    into: _Side
    out: _Side
    mantissa: Array
    exponent: Array
    top: int
    score: Array
    label: Array
    source: Array
    final_log: Array


class ListWork(NamedTuple):
    """Memory that blocks use in turn: rows of one number, or of eight, if nothing else is said.

    Attributes:
        alpha_m, alpha_e: of states at all times, or at two.
        slot_m, slot_e: what enters each slot at each frame, or at one.
        beta_m, beta_e, next_m, next_e: backward numbers of states; of slots, with their frame.
        plain: floats relative to the frame's best state or slot.
        emit_m, emit_e: probabilities of the labels at the frame.
        share: occupation of each label, then their sum.
        shift: largest exponent of the frame.
        noted: what is noted about arcs, in blocks of eight.
        logs: flat, log-probabilities of the labels at the frame.
        shifted, bad: by lane, sum of all shifts, and whether there is a NaN or +inf.
        arc_m, arc_e, arc_plain: of the arcs of the graph; the last one `(2, arcs)`, by destination and by source.
    """

    alpha_m: Array
    alpha_e: Array
    slot_m: Array
    slot_e: Array
    beta_m: Array
    beta_e: Array
    next_m: Array
    next_e: Array
    plain: Array
    emit_m: Array
    emit_e: Array
    share: Array
    shift: Array
    noted: Array
    logs: Array
    shifted: Array
    bad: Array
    arc_m: Array
    arc_e: Array
    arc_plain: Array


def list_work(lengths: Array, graphs: Array, num_arcs: int, lanes: int, *, keep: bool, noted: int) -> ListWork:
    """Memory for utterances of some lengths with some graphs, rows of `Layout.graphs`, one by one or in lanes."""
    states, slots = graphs[:, STATES], graphs[:, SLOTS]
    times_kept, frames_kept = (lengths + 1, lengths) if keep else (2, 1)
    alphas, entries = int((states * times_kept).max()), int((slots * frames_kept).max())
    most_states, most_slots, labels = int(states.max()), int(slots.max()), int(graphs[:, LABELS].max())

    def rows(count: int, dtype: type = np.float32) -> Array:
        return np.empty(count if lanes == 1 else (count, lanes), dtype)

    return ListWork(
        alpha_m=rows(alphas),
        alpha_e=rows(alphas, np.int32),
        slot_m=rows(entries),
        slot_e=rows(entries, np.int32),
        beta_m=rows(most_states),
        beta_e=rows(most_states, np.int32),
        next_m=rows(most_slots),
        next_e=rows(most_slots, np.int32),
        plain=rows(max(most_states, most_slots)),
        emit_m=rows(labels),
        emit_e=rows(labels, np.int32),
        share=rows(labels + 1),
        shift=rows(1, np.int32),
        noted=rows(noted),
        logs=np.empty(labels * lanes, np.float32),
        shifted=np.empty(lanes, np.int64),
        bad=np.empty(lanes, np.bool_),
        arc_m=np.empty(num_arcs, np.float32),
        arc_e=np.empty(num_arcs, np.int32),
        arc_plain=np.empty((2, num_arcs), np.float32),
    )


@part
def gather_lists(arcs: Any, layout: Any, graph: Any, work: Any) -> Any:
    """A graph of the layout, and whether one of its scores is NaN or +inf."""
    row = layout.graphs[graph]
    first, last = arcs.arc_splits[graph], arcs.arc_splits[graph + 1]
    mantissa, exponent = work.arc_m[: last - first], work.arc_e[: last - first]
    unfit = logs_to_wide(arcs.score[first:last], mantissa, exponent)
    start, stop, slot, rows = row[ARCS_AT], row[ARCS_AT] + row[ARCS], row[SLOTS_AT], row[ROWS_AT]
    into, out = layout.in_arc[start:stop], layout.out_arc[start:stop]
    top = ZERO
    for k in range(len(into)):
        top = larger(top, exponent[into[k]])
    _make_plain_weights(mantissa, exponent, top, into, work.arc_plain[0])
    _make_plain_weights(mantissa, exponent, top, out, work.arc_plain[1])
    lists = Lists(
        row[STATES],
        row[SLOTS],
        layout.labels[row[LABELS_AT] : row[LABELS_AT] + row[LABELS]],
        layout.slot_splits[slot : slot + row[SLOTS] + 1],
        layout.slot_label[slot : slot + row[SLOTS]],
        layout.slot_state[slot : slot + row[SLOTS]],
        layout.state_slots[rows : rows + row[STATES] + 1],
        layout.state_arcs[rows : rows + row[STATES] + 1],
        _Side(layout.in_source[start:stop], work.arc_plain[0], into),
        _Side(layout.out_slot[start:stop], work.arc_plain[1], out),
        mantissa,
        exponent,
        top,
        arcs.score[first:last],
        arcs.label[first:last],
        arcs.source[first:last],
        layout.final_log[rows : rows + row[STATES]],
    )
    return lists, unfit


@part
def _make_plain_weights(mantissa: Any, exponent: Any, top: Any, chosen: Any, weights: Any) -> Any:
    """Weights of the chosen arcs as floats relative to 2^top, 0 if they are small."""
    for k in range(len(chosen)):
        shift = _i32(exponent[chosen[k]] - top)
        weights[k] = mantissa[chosen[k]] * power(shift if shift >= LEAST_PLAIN else _i32(-127))


@part
def run_forward(batch: Any, block: Any, length: Any, lists: Any, work: Any, keep: Any) -> Any:
    """Total scores, and which lanes are bad; leaves forward numbers of all frames in `work` if `keep`."""
    states, kept = lists.states, length + 1 if keep else 2
    for state in range(states):
        store(work.alpha_m, state, _f32(1) if state == 0 else _f32(0))
        store(work.alpha_e, state, _i32(0) if state == 0 else ZERO)
    work.shifted[:] = 0
    none = everywhere(work.shift, _i32(0))
    _finish(batch, block, FIRST, lists, work, FIRST)
    for t in range(length):
        before, after = (t % kept) * states, ((t + 1) % kept) * states
        slots = t * lists.slots if keep else 0
        emissions(batch, block, t, lists, work)
        make_plain(work.alpha_m, work.alpha_e, before, states, none, work.plain)
        for slot in range(lists.slots):
            first, last = lists.slot_splits[slot], lists.slot_splits[slot + 1]
            total, top = sum_arcs(work.alpha_m, work.alpha_e, before, work.plain, none, lists, lists.into, first, last)
            label = lists.slot_label[slot]
            total = times(total, load(work.emit_m, label))
            exponent = exponent_of(total, plus(top, load(work.emit_e, label)))
            store(work.slot_e, slots + slot, exponent)
            store(work.slot_m, slots + slot, mantissa_of(total, exponent))
        _sum_slots(lists, work, slots, after)
        shift = work.shift.reshape(-1)
        for lane in range(len(shift)):
            work.shifted[lane] += shift[lane]
        _finish(batch, block, t + 1, lists, work, after)


@part
def emissions(batch: Any, block: Any, t: Any, lists: Any, work: Any) -> Any:
    """Probabilities of the labels at a frame, 1 where an utterance has ended; marks lanes with NaN or +inf."""
    lanes, labels = len(block), lists.labels
    size = lanes * len(labels)
    logs = work.logs[:size]
    for lane in range(lanes):
        n = block[lane]
        if n >= 0 and t < batch.lengths[n]:
            frame = batch.log_probs[n, t]
            for i in range(len(labels)):
                logs[i * lanes + lane] = frame[labels[i]]
        else:
            for i in range(len(labels)):
                logs[i * lanes + lane] = _f32(0)
    if logs_to_wide(logs, work.emit_m.reshape(-1)[:size], work.emit_e.reshape(-1)[:size]):
        for i in range(size):
            work.bad[i % lanes] |= not (logs[i] < -LEAST_LOG)


@part
def make_plain(mantissa: Any, exponent: Any, start: Any, count: Any, top: Any, plain: Any) -> Any:
    """Numbers as floats relative to 2^top, 0 below 2^LEAST_PLAIN."""
    for i in range(count):
        shift = minus(load(exponent, start + i), top)
        store(plain, i, scaled(load(mantissa, start + i), cut(shift, LEAST_PLAIN)))


@part
def sum_arcs(m: Any, e: Any, start: Any, plain: Any, base: Any, lists: Any, side: Any, first: Any, last: Any) -> Any:
    """Sum of rows times weights over arcs `first` to `last` of one side: a mantissa of any size, and an exponent.

    The rows are in `m` and `e` from `start` on, and as floats relative to 2^base in `plain`.
    """
    total = everywhere(plain, _f32(0))
    second = total
    k = first
    while k + 1 < last:
        total = add_product(total, load(plain, side.near[k]), side.plain[k])
        second = add_product(second, load(plain, side.near[k + 1]), side.plain[k + 1])
        k += 2
    if k < last:
        total = add_product(total, load(plain, side.near[k]), side.plain[k])
    total = add_product(total, second, _f32(1))
    if any_below(total, ENOUGH):
        return _exact_sum(m, e, start, lists, side, first, last)
    return total, plus(base, lists.top)


@part
def _exact_sum(m: Any, e: Any, start: Any, lists: Any, side: Any, first: Any, last: Any) -> Any:
    top = everywhere(e, _i32(_i32(2) * ZERO))
    for k in range(first, last):
        top = most(top, plus(load(e, start + side.near[k]), lists.exponent[side.arc[k]]))
    total = everywhere(m, _f32(0))
    for k in range(first, last):
        shift = minus(plus(load(e, start + side.near[k]), lists.exponent[side.arc[k]]), top)
        total = add_product(total, scaled(load(m, start + side.near[k]), shift), lists.mantissa[side.arc[k]])
    return total, top


@part
def _sum_slots(lists: Any, work: Any, slots: Any, after: Any) -> Any:
    """Numbers of states from those of their slots, with the frame's largest exponent taken off and in `work.shift`."""
    shift = everywhere(work.shift, ZERO)
    for state in range(lists.states):
        first, last = lists.state_slots[state], lists.state_slots[state + 1]
        m, e = everywhere(work.slot_m, _f32(0)), everywhere(work.slot_e, ZERO)
        if first < last:
            m, e = load(work.slot_m, slots + first), load(work.slot_e, slots + first)
        for slot in range(first + 1, last):
            other = load(work.slot_e, slots + slot)
            top = most(e, other)
            m = scaled(m, minus(e, top))
            m = add_product(m, scaled(load(work.slot_m, slots + slot), minus(other, top)), _f32(1))
            e = top
        exponent = exponent_of(m, e)
        store(work.alpha_e, after + state, exponent)
        store(work.alpha_m, after + state, mantissa_of(m, exponent))
        shift = most(shift, exponent)
    store(work.shift, 0, shift)
    for state in range(lists.states):
        store(work.alpha_e, after + state, minus(load(work.alpha_e, after + state), shift))


@part
def _finish(batch: Any, block: Any, t: Any, lists: Any, work: Any, after: Any) -> Any:
    """Total scores of the utterances that end at time t."""
    lanes = len(block)
    for lane in range(lanes):
        n = block[lane]
        if n >= 0 and batch.lengths[n] == t:
            total = -np.inf
            for arc in range(len(lists.label)):
                if lists.label[arc] < 0 and lists.score[arc] > LEAST_LOG:
                    place = (after + lists.source[arc]) * lanes + lane
                    alpha = log_of(work.alpha_m.reshape(-1)[place], work.alpha_e.reshape(-1)[place])
                    total = log_add(total, alpha + lists.score[arc])
            batch.totals[n] = total + work.shifted[lane] * LN_2
