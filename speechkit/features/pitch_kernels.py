"""The two loops of the pitch tracker that torch has no fast form of on a CPU, compiled by numba."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechkit.common.kernels import compiler

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Whole = NDArray[np.int32]
States = NDArray[np.int16]  # half the memory to write, and to keep for the way back
Flags = NDArray[np.uint8]
ROUNDING = 1e-3  # of a place between states, generously
SIMD = 16  # numbers in the widest register: rows of accumulators are rounded up to it

compiled = compiler([Path(__file__)])
# Sums may be taken in any order, and no number here is infinite or none.
compiled_fast = compiler([Path(__file__)], fastmath=True)


@compiled_fast
def emphasise(window: Floats, first: int, last: int, coefficient: Any) -> None:
    """Take from each sample of `window[first:last]` a part of the one before."""
    for i in range(last - 1, first, -1):
        window[i] -= coefficient * window[i - 1]
    window[first] *= np.float32(1) - coefficient


@compiled_fast
def centre(window: Floats, length: int, last: int) -> None:
    """Take the mean of the first `length` samples from the first `last`; a constant becomes exactly 0."""
    total = 0.0
    for i in range(length):
        total += window[i]
    mean = np.float32(total / length)
    for i in range(last):
        window[i] -= mean


@compiled_fast
def multiply(window: Floats, length: int, first_lag: int, sums: Floats) -> None:
    """Inner products of `window[:length]` with what is `first_lag` and more samples later, four samples at a time."""
    sums[:] = 0
    for i in range(0, length - 3, 4):
        a, b, c, d = window[i], window[i + 1], window[i + 2], window[i + 3]
        later = window[i + first_lag :]
        for k in range(len(sums)):
            sums[k] += (a * later[k] + b * later[k + 1]) + (c * later[k + 2] + d * later[k + 3])
    for i in range(length - length % 4, length):
        a, later = window[i], window[i + first_lag :]
        for k in range(len(sums)):
            sums[k] += a * later[k]


@compiled_fast
def run_energies(window: Floats, length: int, first_lag: int, energies: Doubles) -> np.float32:
    """Energies of the windows at each lag; returns that of the first."""
    own, later = 0.0, 0.0
    for i in range(length):
        own += float(window[i]) * window[i]
        later += float(window[i + first_lag]) * window[i + first_lag]
    for k in range(len(energies)):
        old, new = float(window[first_lag + k]), float(window[first_lag + k + length])
        energies[k] = new * new - old * old
    for k in range(len(energies)):
        change = energies[k]
        energies[k] = max(later, 0.0)
        later += change
    energy: np.float32 = np.float32(own)
    return energy


@compiled_fast
def correlate(
    signal: Floats,
    valid: Any,
    layout: Any,
    preemphasis: Any,
    ballast: Floats,
    revised: Floats,
    pitch: Floats,
    pov: Floats,
) -> None:
    """Normalised cross-correlation (NCCF) of each window with the windows that are later by the measured lags.

    The mean of the window, without the part that only lags reach, is taken from all of it.

    Args:
        signal: samples at the lower rate with enough zeros around.
        valid: first and last sample of the signal proper.
        layout: start of the first window in `signal`, shift, length, first lag.
        preemphasis: coefficient.
        ballast: what is added to the product of energies `(T,)`.
        revised: ballast to which the NCCF is brought afterwards by one factor per frame, negative for not, `(T,)`.
        pitch: result `(T, M)` with ballast.
        pov: result `(T, M)` without.
    """
    (frames, lags), (start, shift, length, first_lag) = pov.shape, layout
    last = first_lag + lags - 1 + length
    wide = -(-lags // SIMD) * SIMD
    window = np.zeros(first_lag + wide + length, dtype=np.float32)
    sums, energies = np.empty(wide, dtype=np.float32), np.empty(lags, dtype=np.float64)
    for t in range(frames):
        begin = start + t * shift
        for i in range(last):
            window[i] = signal[begin + i]
        if preemphasis != 0:
            emphasise(window, max(valid[0] - begin, 0), min(last, valid[1] - begin), preemphasis)
        centre(window, length, last)
        multiply(window, length, first_lag, sums)
        own = run_energies(window, length, first_lag, energies)
        normalise(sums, own, energies, ballast[t], revised[t], pitch[t], pov[t])


@compiled_fast
def normalise(
    sums: Floats, own: Any, energies: Doubles, ballast: Any, revised: Any, pitch: Floats, pov: Floats
) -> None:
    """Divide inner products by the geometric mean of energies, with the ballast and without."""
    total = np.float32(0)
    for k in range(len(pov)):
        product = own * np.float32(energies[k])
        total += product
        pov[k] = sums[k] / np.sqrt(product) if product > 0 else np.float32(0)
        product += ballast
        pitch[k] = sums[k] / np.sqrt(product) if product > 0 else np.float32(0)
    if revised >= 0:
        average = total / np.float32(len(pov))
        if revised + average > 0:
            pitch *= np.sqrt((ballast + average) / (revised + average))


@compiled
def candidates(costs: Floats, reach: Any, flags: Flags, found: States) -> int:
    """States that could be the best predecessor of any, judged by their neighbours alone; returns how many.

    j is better than j - 1 for the states i above reach (costs[j] - costs[j - 1]) + j - 1 / 2, and no worse than j + 1
    for those up to reach (costs[j + 1] - costs[j]) + j + 1 / 2; there must be a whole number between.

    Args:
        reach: 1 / (2 factor).
        flags: room for `(L + 2,)`.
    """
    count, states, half = 0, len(costs) - 2, np.float32(0.5 + ROUNDING)
    for j in range(1, states + 1):
        above = np.floor((costs[j] - costs[j - 1]) * reach + (np.float32(j) - half))
        upto = np.floor((costs[j + 1] - costs[j]) * reach + (np.float32(j) + half))
        flags[j] = (above < upto) & (upto >= 1) & (above < states)
    for j in range(1, states + 1):
        found[count] = j
        count += flags[j]
    return count


@compiled
def envelope(costs: Floats, found: States, count: int, steps: Doubles, begins: States) -> tuple[int, np.float32]:
    """Of the candidates, those whose parabola is the lowest somewhere, moved to the front of `found`.

    Parabola j, `costs[j] + factor (i - j)^2`, falls below an earlier one, k, where i is above (costs[j] - costs[k]) /
    (2 factor (j - k)) + (j + k) / 2, and stays there, so one pass with a stack finds the lower envelope (Felzenszwalb
    and Huttenlocher 2012, section 2.1). Between equals the lower state stays.

    Args:
        steps: 1 / (2 factor d) for each distance d.
        begins: result, the first state whose best predecessor each of those left is.

    Returns:
        How many there are, and the least cost of all states, which is that of a candidate.
    """
    states, top, begins[0] = len(costs) - 2, 0, 1
    last, cost, begin = int(found[0]), costs[found[0]], 1
    least = cost
    for n in range(1, count):
        j, own = int(found[n]), costs[found[n]]
        least = min(least, own)
        while True:
            first = int(np.float64(own - cost) * steps[j - last] + 0.5 * (j + last)) + 1
            if first > begin or top == 0:
                break
            top -= 1
            last, begin = int(found[top]), int(begins[top])
            cost = costs[last]
        if first > states:
            continue
        if first > begin:
            top += 1
            begin = first
        last, cost = j, own
        found[top], begins[top] = last, begin
    return top + 1, least


@compiled
def spread(
    nccf: Floats,
    prices: Floats,
    costs: Floats,
    factor: Any,
    begins: States,
    owners: States,
    bases: Floats,
    flags: Flags,
    origins: Whole,
) -> None:
    """Write the costs after a frame: in each owner's run of states its `bases` and parabola, and what each state costs.

    The order of operations is Kaldi's, because their rounding, though 1e-7 of a cost, decides between paths wherever
    the correlation is flat. Runs are often short, so they are written out first: loops that end at odd places are slow.

    Args:
        flags: room for `(L + 2,)`.
        origins: room for `(L,)`.
    """
    states, one, owner = len(nccf), np.float32(1), 0
    flags[:] = 0
    for n in range(1, len(begins)):
        flags[begins[n]] = 1
    for i in range(states):
        owner += flags[i + 1]
        origins[i] = owners[owner]
        costs[i + 1] = bases[owner]
    for i in range(states):
        distance, value = np.float32(i + 1 - origins[i]), nccf[i]
        costs[i + 1] = (distance * distance * factor + costs[i + 1]) + ((one - value) + value * prices[i])


@compiled
def search(
    nccf: Floats,
    costs: Floats,
    prices: Floats,
    factor: Any,
    steps: Doubles,
    begins: States,
    owners: States,
    places: Whole,
) -> int:
    """Viterbi over lags; moving from state i to j costs `factor (i - j)^2`, and staying nothing.

    Args:
        nccf: correlation n of each state on each frame `(T, L)`, which costs 1 - n + n `prices (L,)`.
        costs: of the best path to each state before and, changed, after these frames, `(L + 2,)`; infinite at both
            ends. Before each frame they are brought to a least of 0.
        begins: result; the best predecessor of the states from `begins[n]` on ...
        owners: ... is `owners[n]`, for n from `places[t]` up to `places[t + 1]`. Both have room for T L numbers.
        places: result `(T + 1,)`, of which the first is 0.

    Returns:
        The best state after the last frame, counted from 1 like all states here.
    """
    place, bases, flags = 0, np.empty(nccf.shape[1], dtype=np.float32), np.empty(len(costs), dtype=np.uint8)
    origins = np.empty(nccf.shape[1], dtype=np.int32)
    for t in range(len(nccf)):
        own, first = owners[place:], begins[place:]
        count = candidates(costs, np.float32(steps[1]), flags, own)
        count, least = envelope(costs, own, count, steps, first)
        for n in range(count):
            bases[n] = costs[own[n]] - least
        spread(nccf[t], prices, costs, factor, first[:count], own[:count], bases, flags, origins)
        place += count
        places[t + 1] = place
    return 1 + int(np.argmin(costs[1:-1]))


@compiled
def trace(begins: States, owners: States, places: Whole, state: int, states: Whole) -> int:
    """Follow the best path back from `state` after the last frame; write `states (T,)`, return the one before."""
    for t in range(len(states) - 1, -1, -1):
        states[t] = state
        n = places[t + 1] - 1
        while begins[n] > state:
            n -= 1
        state = int(owners[n])
    return state


@compiled_fast
def interpolate_at(nccf: Floats, weights: Floats, states: NDArray[np.int64], found: Floats) -> None:
    """Write to `found[:, 0]` the NCCF `(T, M)` at one lag of each frame, `states (T,)`, given `weights (L, M)`."""
    for t in range(len(states)):
        row, weight, total = nccf[t], weights[states[t]], np.float32(0)
        for k in range(len(row)):
            total += row[k] * weight[k]
        found[t, 0] = total
