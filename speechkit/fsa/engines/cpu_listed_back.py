"""Occupation probabilities of labels and arcs in graphs of any shape, and the entry points to the kernels for these."""

import math
from typing import Any

import numpy as np

from speechkit.fsa.engines.cpu_lanes import (
    LANES,
    add_product,
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
from speechkit.fsa.engines.cpu_listed import FIRST, emissions, gather_lists, make_plain, run_forward, sum_arcs
from speechkit.fsa.engines.cpu_wide import LEAST_LOG, LN_2, LOG2_E, ZERO, kernel, log_add, log_of, part

_f32, _i32 = np.float32, np.int32
# What to note about arcs: nothing, how often each is taken, or its probability at every frame.
NOTHING, COUNTS, POSTERIORS = range(3)
# In place of the time at which utterances end: all of them.
EVERYWHERE = np.int64(-1)


@kernel
def single_totals(batch: Any, rows: Any, arcs: Any, layout: Any, work: Any, keep: Any, notes: Any) -> Any:
    """Total scores of some utterances; with `keep` occupation probabilities, and what `notes` says about arcs."""
    for i in range(len(rows)):
        n = rows[i]
        size = arcs.arc_splits[batch.graph_of[n] + 1] - arcs.arc_splits[batch.graph_of[n]]
        size *= 0 if notes == NOTHING else batch.lengths[n] if notes == POSTERIORS else 1
        start = batch.arc_starts[n]
        _run(batch, rows[i : i + 1], arcs, layout, work, batch.arc_values[start : start + size], keep, notes)


@kernel
def lane_totals(batch: Any, blocks: Any, arcs: Any, layout: Any, work: Any, keep: Any, notes: Any) -> Any:
    """The same for blocks `(B, 8)` of utterances that share a graph, with -1 in lanes that are not used.

    There are no posteriors of arcs.
    """
    for i in range(len(blocks)):
        graph = batch.graph_of[blocks[i, 0]]
        size = 0 if notes == NOTHING else arcs.arc_splits[graph + 1] - arcs.arc_splits[graph]
        _run(batch, blocks[i], arcs, layout, work, work.noted[:size], keep, notes)
        for lane in range(LANES):
            n = blocks[i, lane]
            if n >= 0 and notes != NOTHING:
                for arc in range(size):
                    batch.arc_values[batch.arc_starts[n] + arc] = work.noted[arc, lane]


@part
def _run(batch: Any, block: Any, arcs: Any, layout: Any, work: Any, noted: Any, keep: Any, notes: Any) -> Any:
    """One block, from its graph to its results."""
    length = FIRST
    for lane in range(len(block)):
        length = max(length, batch.lengths[block[lane]] if block[lane] >= 0 else 0)
    lists, unfit = gather_lists(arcs, layout, batch.graph_of[block[0]], work)
    work.bad[:] = unfit
    run_forward(batch, block, length, lists, work, keep)
    for lane in range(len(block)):
        if block[lane] >= 0 and work.bad[lane]:
            batch.totals[block[lane]] = np.nan
    noted[:] = _f32(0)
    if keep:
        _backward(batch, block, length, lists, work, noted, notes)
    if notes == COUNTS:
        _count_finals(batch, block, lists, work, noted)


@part
def _backward(batch: Any, block: Any, length: Any, lists: Any, work: Any, noted: Any, notes: Any) -> Any:
    """Write occupation probabilities, and what is noted about arcs."""
    size = len(lists.label)
    _start_lanes(batch, block, EVERYWHERE, lists, work)
    for t in range(length - 1, -1, -1):
        _start_lanes(batch, block, t + 1, lists, work)
        emissions(batch, block, t, lists, work)
        best, top = _through_slots(lists, work, t * lists.slots)
        _share(lists, work, t * lists.slots, top)
        _write_occupied(batch, block, t, lists, work)
        if notes != NOTHING:
            _note_arcs(lists, work, t * lists.states, noted, t * size if notes == POSTERIORS else 0, top)
        make_plain(work.next_m, work.next_e, FIRST, lists.slots, best, work.plain)
        for state in range(lists.states):
            first, last = lists.state_arcs[state], lists.state_arcs[state + 1]
            total, exponent = sum_arcs(work.next_m, work.next_e, FIRST, work.plain, best, lists, lists.out, first, last)
            store(work.beta_m, state, total)
            store(work.beta_e, state, minus(exponent, best))


@part
def _start_lanes(batch: Any, block: Any, t: Any, lists: Any, work: Any) -> Any:
    """Backward numbers of the utterances that end at time t, or of all if it is `EVERYWHERE`."""
    lanes = len(block)
    beta_m, beta_e = work.beta_m.reshape(-1), work.beta_e.reshape(-1)
    for lane in range(lanes):
        n = block[lane]
        if t >= 0 and (n < 0 or batch.lengths[n] != t):
            continue
        for state in range(lists.states):
            score = lists.final_log[state]
            dead = not (score > LEAST_LOG)
            count = 0.0 if dead else np.floor(score * LOG2_E + 0.5)
            beta_m[state * lanes + lane] = _f32(0) if dead else _f32(math.exp(score - count * LN_2))
            beta_e[state * lanes + lane] = ZERO if dead else _i32(count)


@part
def _through_slots(lists: Any, work: Any, slots: Any) -> Any:
    """Backward numbers of slots, and the largest exponent of these, and that of the products with forward numbers."""
    best, top = everywhere(work.shift, ZERO), everywhere(work.shift, _i32(_i32(2) * ZERO))
    for slot in range(lists.slots):
        state, label = lists.slot_state[slot], lists.slot_label[slot]
        beta_e = load(work.beta_e, state)
        m = times(load(work.beta_m, state), load(work.emit_m, label))
        exponent = exponent_of(m, plus(beta_e, load(work.emit_e, label)))
        store(work.next_e, slot, exponent)
        store(work.next_m, slot, mantissa_of(m, exponent))
        best = most(best, exponent)
        top = most(top, plus(beta_e, load(work.slot_e, slots + slot)))
    return best, top


@part
def _share(lists: Any, work: Any, slots: Any, top: Any) -> Any:
    """Occupation of labels relative to 2^top, and the sum of it behind them."""
    labels = len(lists.labels)
    for label in range(labels):
        store(work.share, label, _f32(0))
    total = everywhere(work.share, _f32(0))
    for slot in range(lists.slots):
        state, label = lists.slot_state[slot], lists.slot_label[slot]
        both = times(load(work.beta_m, state), load(work.slot_m, slots + slot))
        both = scaled(both, minus(plus(load(work.beta_e, state), load(work.slot_e, slots + slot)), top))
        store(work.share, label, add_product(load(work.share, label), both, _f32(1)))
        total = add_product(total, both, _f32(1))
    store(work.share, labels, total)


@part
def _write_occupied(batch: Any, block: Any, t: Any, lists: Any, work: Any) -> Any:
    """Scale the shares to one; turn their sum into the scale, which is 0 where there is no path."""
    lanes, labels = len(block), len(lists.labels)
    share = work.share.reshape(-1)
    for lane in range(lanes):
        n, last = block[lane], labels * lanes + lane
        total = batch.totals[n] if n >= 0 else -np.inf
        scale = _f32(0)
        if np.isnan(total):
            scale = _f32(np.nan)
        elif total > -np.inf and share[last] > 0:
            scale = _f32(1) / share[last]
        if n < 0 or t >= batch.lengths[n]:
            share[last] = _f32(0)
            continue
        share[last] = scale
        start = batch.starts[n] + t * labels
        for label in range(labels):
            batch.occupied[start + label] = share[label * lanes + lane] * scale


@part
def _note_arcs(lists: Any, work: Any, states: Any, noted: Any, place: Any, top: Any) -> Any:
    """Add the occupation of each arc at a frame to what is noted from `place` on."""
    scale = load(work.share, len(lists.labels))
    for state in range(lists.states):
        alpha_m, alpha_e = times(load(work.alpha_m, states + state), scale), load(work.alpha_e, states + state)
        for k in range(lists.state_arcs[state], lists.state_arcs[state + 1]):
            slot, arc = lists.out.near[k], lists.out.arc[k]
            shift = plus(plus(alpha_e, lists.exponent[arc]), minus(load(work.next_e, slot), top))
            both = times(times(alpha_m, load(work.next_m, slot)), lists.mantissa[arc])
            store(noted, place + arc, add_product(load(noted, place + arc), scaled(both, shift), _f32(1)))


@part
def _count_finals(batch: Any, block: Any, lists: Any, work: Any, noted: Any) -> Any:
    """Probabilities of the arcs into the final state."""
    lanes, flat = len(block), noted.reshape(-1)
    for lane in range(lanes):
        n = block[lane]
        if n < 0 or batch.totals[n] == -np.inf:
            continue
        total = -np.inf
        for again in range(2):
            for arc in range(len(lists.label)):
                if lists.label[arc] < 0:
                    place = (batch.lengths[n] * lists.states + lists.source[arc]) * lanes + lane
                    alpha = log_of(work.alpha_m.reshape(-1)[place], work.alpha_e.reshape(-1)[place])
                    if again:
                        flat[arc * lanes + lane] = math.exp(alpha + lists.score[arc] - total)
                    else:
                        total = log_add(total, alpha + lists.score[arc])
