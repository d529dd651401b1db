"""Sums over all paths through banded graphs: vector operations along the states, one utterance after the other."""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from speechkit.fsa.engines.cpu_layout import (
    CELLS_AT,
    DIAGONALS,
    LABELS,
    OFFSETS_AT,
    PAD,
    ROWS_AT,
    STATES,
)
from speechkit.fsa.engines.cpu_wide import (
    LEAST_LOG,
    LN_2,
    LOG2_E,
    ZERO,
    fetch_ahead,
    gather,
    kernel,
    larger,
    log_add,
    log_of,
    logs_to_wide,
    part,
    power,
)

Array = npt.NDArray[Any]
_f32, _f64, _i32 = np.float32, np.float64, np.int32
# With a type of their own: a function is compiled anew for every constant that Python's numbers bring.
FORWARD, BACKWARD = np.int64(1), np.int64(-1)


class _Band(NamedTuple):
    """One graph: mantissas and exponents of its arcs by diagonal and padded destination, and what belongs to states."""

    offsets: Array
    mantissa: Array
    exponent: Array
    column: Array
    label: Array
    final_log: Array
    states: int
    pad: int
    reach: int
    backward: int
    first_final: int


class BandWork(NamedTuple):
    """Memory that utterances use in turn.

    Attributes:
        alpha_m, alpha_e: times (all, or two) after one another, of as many padded states as the graph has.
        arc_m, arc_e: diagonals of a graph after one another.
        floats: `(3, padded states)`: log-probabilities, and two sets of mantissas.
        exponents: `(2, padded states)`, of these.
        counts: by label.
    """

    alpha_m: Array
    alpha_e: Array
    arc_m: Array
    arc_e: Array
    floats: Array
    exponents: Array
    counts: Array


def band_work(lengths: Array, graphs: Array, keep: bool) -> BandWork:
    """Memory for utterances of some lengths with some graphs, rows of `Layout.graphs`."""
    widths = graphs[:, STATES] + 2 * graphs[:, PAD]
    cells = int((widths * (lengths + 1 if keep else 2)).max())
    width, arcs, labels = (int(sizes.max()) for sizes in (widths, widths * graphs[:, DIAGONALS], graphs[:, LABELS]))
    return BandWork(
        np.empty(cells, _f32),
        np.empty(cells, _i32),
        np.empty(arcs, _f32),
        np.empty(arcs, _i32),
        np.empty((3, width), _f32),
        np.empty((2, width), _i32),
        np.empty(labels, _i32),
    )


@kernel
def band_totals(batch: Any, rows: Any, layout: Any, work: Any, keep: Any) -> Any:
    """Total scores of some utterances with banded graphs and, if `keep`, occupation probabilities of their labels."""
    for n in rows:
        length, row = batch.lengths[n], layout.graphs[batch.graph_of[n]]
        band, unfit = _band(layout, row, work)
        if unfit:
            batch.totals[n] = np.nan
        elif band.first_final < 0 or band.first_final > band.reach * length:
            batch.totals[n] = -np.inf
        else:
            batch.totals[n] = _forward(batch.log_probs[n], length, band, work, keep)
        if keep:
            size = length * row[LABELS]
            occupied = batch.occupied[batch.starts[n] : batch.starts[n] + size]
            if np.isfinite(batch.totals[n]):
                _backward(batch.log_probs[n], length, band, work, occupied.reshape(length, row[LABELS]))
            else:
                occupied[:] = _f32(np.nan if np.isnan(batch.totals[n]) else 0.0)


@part
def _band(layout: Any, row: Any, work: Any) -> Any:
    """A graph of the layout, and whether one of its scores is NaN or +inf."""
    states, pad, diagonals = row[STATES], row[PAD], row[DIAGONALS]
    width = states + 2 * pad
    cells, start = row[DIAGONALS] * width, row[ROWS_AT]
    offsets = layout.offsets[row[OFFSETS_AT] : row[OFFSETS_AT] + diagonals]
    mantissa, exponent = work.arc_m[:cells], work.arc_e[:cells]
    unfit = logs_to_wide(layout.cell_log[row[CELLS_AT] : row[CELLS_AT] + cells], mantissa, exponent)
    final_log = layout.final_log[start + pad : start + pad + states]
    reach, backward = 0, 0
    for d in range(diagonals):
        reach, backward = max(reach, offsets[d]), max(backward, -offsets[d])
    first_final = -1
    for state in range(states - 1, -1, -1):
        unfit |= not (final_log[state] < -LEAST_LOG)
        if final_log[state] > LEAST_LOG:
            first_final = state
    band = _Band(
        offsets,
        mantissa.reshape(diagonals, width),
        exponent.reshape(diagonals, width),
        layout.row_column[start : start + width],
        layout.row_label[start : start + width],
        final_log,
        states,
        pad,
        reach,
        backward,
        first_final,
    )
    return band, unfit


@part
def _span(band: Any, frame: Any, length: Any) -> Any:
    """Padded states, first and behind the last, that can be reached in `frame` frames and end in the rest of them."""
    if band.backward > 0:
        return band.pad, band.pad + band.states
    low = max(0, band.first_final - band.reach * (length - frame))
    high = min(band.states, band.reach * frame + 1)
    return band.pad + low, band.pad + high


@part
def _clear_around(mantissa: Any, exponent: Any, low: Any, high: Any, pad: Any) -> Any:
    """Write zeros where diagonals reach beyond the states from `low` to `high`."""
    for i in range(low - pad, low):
        mantissa[i], exponent[i] = _f32(0), ZERO
    for i in range(high, min(high + pad, len(mantissa))):
        mantissa[i], exponent[i] = _f32(0), ZERO


@part
def _through_arcs(band: Any, into_m: Any, into_e: Any, from_m: Any, from_e: Any, low: Any, high: Any, way: Any) -> Any:
    """Sums of numbers times arcs, into the states from `low` to `high`; `way` is FORWARD or BACKWARD."""
    into_m, into_e = into_m[low:high], into_e[low:high]
    for d in range(len(band.offsets)):
        shift = way * band.offsets[d]
        first, last = low - shift, high - shift
        numbers_m, numbers_e = from_m[first:last], from_e[first:last]
        # Arcs are found by where they lead to.
        first, last = (low, high) if way == FORWARD else (first, last)
        arcs_m, arcs_e = band.mantissa[d, first:last], band.exponent[d, first:last]
        if d == 0:
            _start(into_m, into_e, numbers_m, numbers_e, arcs_m, arcs_e)
        else:
            _add(into_m, into_e, numbers_m, numbers_e, arcs_m, arcs_e)


@part
def _start(sum_m: Any, sum_e: Any, from_m: Any, from_e: Any, arc_m: Any, arc_e: Any) -> Any:
    for i in range(len(sum_m)):
        sum_m[i] = from_m[i] * arc_m[i]
        sum_e[i] = _i32(from_e[i] + arc_e[i])


@part
def _add(sum_m: Any, sum_e: Any, from_m: Any, from_e: Any, arc_m: Any, arc_e: Any) -> Any:
    for i in range(len(sum_m)):
        exponent = _i32(from_e[i] + arc_e[i])
        top = larger(sum_e[i], exponent)
        sum_m[i] = sum_m[i] * power(_i32(sum_e[i] - top)) + from_m[i] * arc_m[i] * power(_i32(exponent - top))
        sum_e[i] = top


@part
def _emit(logs: Any, from_m: Any, from_e: Any, shift: Any, into_m: Any, into_e: Any) -> Any:
    """Multiply numbers by e^logs / 2^shift and bring them into normal form; `logs_to_wide` has the arithmetic.

    Returns:
        The largest exponent.
    """
    best = ZERO
    for i in range(len(logs)):
        value = logs[i]
        dead = not (value > LEAST_LOG)
        value = _f32(0) if dead else value
        wide = _f64(value)
        count = np.floor(wide * LOG2_E + 0.5)
        rest = _f32(wide - count * LN_2)
        p = rest * _f32(1 / 5040) + _f32(1 / 720)
        p = p * rest + _f32(1 / 120)
        p = p * rest + _f32(1 / 24)
        p = p * rest + _f32(1 / 6)
        p = p * rest + _f32(0.5)
        p = p * rest + _f32(1)
        p = p * rest + _f32(1)
        bits = _f32(from_m[i] * p).view(_i32)
        exponent = _i32(_i32(_i32(from_e[i] - shift) + _i32(count)) + _i32(_i32(bits >> _i32(23)) - _i32(127)))
        dead = dead | (bits == 0) | (exponent < ZERO)
        mantissa = _i32(_i32(bits & _i32(0x7FFFFF)) | _i32(0x3F800000)).view(_f32)
        into_m[i] = _f32(0) if dead else mantissa
        exponent = ZERO if dead else exponent
        into_e[i] = exponent
        best = larger(best, exponent)
    return best


@part
def _forward(log_probs: Any, length: Any, band: Any, work: Any, keep: Any) -> Any:
    """Total score; leaves forward numbers of all frames in `work.alpha_*` if `keep`."""
    pad, width = band.pad, band.states + 2 * band.pad
    kept = length + 1 if keep else 2
    alpha_m, alpha_e = (
        work.alpha_m[: kept * width].reshape(kept, width),
        work.alpha_e[: kept * width].reshape(kept, width),
    )
    alpha_m[0, :], alpha_e[0, :] = _f32(0), ZERO
    alpha_m[0, pad], alpha_e[0, pad] = _f32(1), _i32(0)
    logs, sum_m, sum_e = work.floats[0], work.floats[1], work.exponents[0]
    shift, shifted, unfit = _i32(0), 0, False
    for t in range(length):
        low, high = _span(band, t + 1, length)
        before, after = t % kept, (t + 1) % kept
        _through_arcs(band, sum_m, sum_e, alpha_m[before], alpha_e[before], low, high, FORWARD)
        fetch_ahead(log_probs, t, band.column)
        unfit |= not gather(log_probs[t], band.column[low:high], logs[low:high])
        shifted += shift
        shift = _emit(
            logs[low:high], sum_m[low:high], sum_e[low:high], shift, alpha_m[after, low:high], alpha_e[after, low:high]
        )
        _clear_around(alpha_m[after], alpha_e[after], low, high, pad)
    if unfit:
        return np.nan
    total = -np.inf
    for state in range(band.first_final, band.states):
        if band.final_log[state] > LEAST_LOG:
            last_m, last_e = alpha_m[length % kept, pad + state], alpha_e[length % kept, pad + state]
            total = log_add(total, log_of(last_m, last_e) + band.final_log[state])
    return total + shifted * LN_2


@part
def _backward(log_probs: Any, length: Any, band: Any, work: Any, occupied: Any) -> Any:
    """Occupation probabilities `(length, labels)` from the forward numbers in `work`."""
    pad, width = band.pad, band.states + 2 * band.pad
    cells = (length + 1) * width
    alpha_m, alpha_e = work.alpha_m[:cells].reshape(length + 1, width), work.alpha_e[:cells].reshape(length + 1, width)
    logs, beta_m, beta_e = work.floats[0], work.floats[1], work.exponents[0]
    next_m, next_e = work.floats[2, :width], work.exponents[1, :width]
    _set_finals(band, beta_m, beta_e)
    common = _most_common(band, work.counts[: occupied.shape[1]])
    shift = _i32(0)
    for t in range(length - 1, -1, -1):
        low, high = _span(band, t + 1, length)
        gather(log_probs[t], band.column[low:high], logs[low:high])
        shift = _emit(logs[low:high], beta_m[low:high], beta_e[low:high], shift, next_m[low:high], next_e[low:high])
        _occupy(
            alpha_m[t + 1, low:high],
            alpha_e[t + 1, low:high],
            beta_m[low:high],
            beta_e[low:high],
            logs[low:high],
            band.label[low:high],
            common,
            occupied[t],
        )
        begin, end = _span(band, t, length)
        _clear_around(next_m, next_e, low, high, pad)
        _through_arcs(band, beta_m, beta_e, next_m, next_e, begin, end, BACKWARD)


@part
def _set_finals(band: Any, beta_m: Any, beta_e: Any) -> Any:
    for state in range(band.states):
        score = band.final_log[state]
        dead = not (score > LEAST_LOG)
        count = 0.0 if dead else np.floor(score * LOG2_E + 0.5)
        beta_m[band.pad + state] = _f32(0) if dead else _f32(math.exp(score - count * LN_2))
        beta_e[band.pad + state] = ZERO if dead else _i32(count)


@part
def _most_common(band: Any, counts: Any) -> Any:
    """The label of most states, such as the blank."""
    common = 0
    for label in range(len(counts)):
        counts[label] = 0
    for state in range(band.pad, band.pad + band.states):
        counts[band.label[state]] += 1
        if counts[band.label[state]] > counts[common]:
            common = band.label[state]
    return common


@part
def _occupy(
    alpha_m: Any, alpha_e: Any, beta_m: Any, beta_e: Any, share: Any, label: Any, common: Any, occupied: Any
) -> Any:
    """Occupation probabilities of one frame by label; `share` is for work. They are made to sum to one."""
    top = _i32(2 * int(ZERO))
    for i in range(len(share)):
        top = larger(top, _i32(alpha_e[i] + beta_e[i]))
    total = _f32(0)
    for i in range(len(share)):
        share[i] = alpha_m[i] * beta_m[i] * power(_i32(_i32(alpha_e[i] + beta_e[i]) - top))
        total += share[i]
    occupied[:] = _f32(0)
    of_common, scale = _f32(0), _f32(1) / total
    for i in range(len(share)):
        if label[i] == common:
            of_common += share[i]
        else:
            occupied[np.uint32(label[i])] += share[i] * scale
    occupied[common] = of_common * scale
