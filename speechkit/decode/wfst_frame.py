"""One frame of the Viterbi beam search over a decoding graph, compiled by numba.

A hypothesis has entered a state of the graph with some token, and has two scores: within the token, and in the blanks
after it. A frame has three parts:

1. `advance`: everything stays in its token or its blanks; a pass over flat arrays without a look at the graph.
2. `leave`: what could still survive with another token leaves its state. States with epsilons or several tokens are
   left through a junction, which keeps the best score from blanks and the two best from tokens of different labels
   (standard CTC does not read a token's own label again without a blank), so each state's arcs are tried once.
3. `prune`: what is outside the beam goes, the rest moves together.

Scores are kept relative to the best of the frame before, so that long recordings lose no precision. What is at work is
found through small hash tables that stay in the fastest cache, not through arrays as long as the graph.
"""

from typing import Any

import numpy as np

from speechkit.decode.wfst_records import (
    BINS,
    HASH,
    HYPOTHESES,
    JUNCTIONS,
    LEVEL,
    NOTHING,
    TRACES,
    Floats,
    Options,
    Real,
    Records,
    Whole,
    Work,
    enter_table,
    jit,
)
from speechkit.fsa.wfst.graph import JOINED, LABEL, LAST, LEVEL_SHIFT


@jit
def advance(old: Records, new: Records, size: Whole, emission: Floats, blank: Real, loop: Real) -> Real:
    """Keep everything where it is for another frame; return the best score."""
    best = NOTHING
    for i in range(size):
        before, after = old[i], new[i]
        after.state, after.label, after.place, after.word = before.state, before.label, before.place, 0
        inside = before.inside + emission[before.label & LABEL] + loop
        after.inside, after.inside_graph, after.inside_trace = inside, before.inside_graph, before.inside_trace
        if before.inside > before.blank:
            rests = before.inside + blank
            after.blank_graph, after.blank_trace = before.inside_graph, before.inside_trace
        else:
            rests = before.blank + blank
            after.blank_graph, after.blank_trace = before.blank_graph, before.blank_trace
        after.blank = rests
        best = max(best, max(inside, rests))
    return best


@jit
def offer(junction: Any, score: Real, graph: Real, label: Whole, trace: Whole) -> None:
    """Offer a junction a score from a token of `label` (0: from blanks, or from a token that may follow itself)."""
    if label == 0:
        if score > junction.blank:
            junction.blank, junction.blank_graph, junction.blank_trace = score, graph, trace
    elif label == junction.token_label:
        if score > junction.token:
            junction.token, junction.token_graph, junction.token_trace = score, graph, trace
    elif score > junction.token:
        junction.other, junction.other_graph = junction.token, junction.token_graph
        junction.other_trace, junction.other_label = junction.token_trace, junction.token_label
        junction.token, junction.token_graph = score, graph
        junction.token_trace, junction.token_label = trace, label
    elif score > junction.other:
        junction.other, junction.other_graph = score, graph
        junction.other_trace, junction.other_label = trace, label


@jit
def empty(junction: Any) -> None:
    """Nothing arrived yet."""
    junction.blank, junction.token, junction.other = NOTHING, NOTHING, NOTHING
    junction.token_label, junction.other_label = 0, 0


@jit
def find_junction(arcs: Records, work: Work, state: Whole) -> Whole:
    """The junction of a state, a new one if need be; -1 if there is no room."""
    mask = len(work.junction_table) - 1
    place = (state * HASH >> 8) & mask
    while True:
        j = work.junction_table[place]
        if j < 0:
            break
        if work.junctions[j].state == state:
            return j
        place = (place + 1) & mask
    j = work.sizes[JUNCTIONS]
    if j == len(work.junctions):
        return -1
    work.sizes[JUNCTIONS] += 1
    work.junction_table[place] = j
    junction = work.junctions[j]
    label = arcs[state].label
    level = (label >> LEVEL_SHIFT) & LEVEL if label & LABEL == 0 else 0
    junction.state, junction.place, junction.reading = state, place, state
    junction.following, work.levels[level] = work.levels[level], j
    empty(junction)
    return j


@jit
def follow(
    arcs: Records, options: Options, emission: Floats, new: Records, work: Work, best: Real, beam: Real, j: Whole
) -> tuple[bool, Real]:
    """Read tokens from junction `j`; return whether there was room, and the best score."""
    junction = work.junctions[j]
    resting, token, other, own = junction.blank, junction.token, junction.other, junction.token_label
    mask = len(work.table) - 1
    a = junction.reading - 1
    last = False
    while not last:
        a += 1
        arc = arcs[a]
        last = arc.label & LAST != 0
        label = arc.label & LABEL
        score = max(resting, other if label == own else token)
        added = arc.score * options.scale
        if arc.word:
            added += options.word
        total = score + added + emission[label]
        if not total >= best - beam:
            continue
        best = max(best, total)
        place = ((arc.target + label) * HASH >> 8) & mask
        slot = work.table[place]
        while slot >= 0 and (new[slot].state != arc.target or (new[slot].label & LABEL) != label):
            place = (place + 1) & mask
            slot = work.table[place]
        if slot < 0:
            slot = work.sizes[HYPOTHESES]
            if slot == len(new):
                return False, best
            work.sizes[HYPOTHESES] += 1
            work.table[place] = slot
            entered = new[slot]
            entered.state, entered.label, entered.place = arc.target, label | (arc.label & JOINED), place
            entered.blank, entered.blank_graph, entered.blank_trace = NOTHING, 0, -1
        elif total <= new[slot].inside:
            continue
        entered = new[slot]
        entered.inside, entered.word = total, arc.word
        if score == resting:
            entered.inside_graph, entered.inside_trace = junction.blank_graph + added, junction.blank_trace
        elif label == own:
            entered.inside_graph, entered.inside_trace = junction.other_graph + added, junction.other_trace
        else:
            entered.inside_graph, entered.inside_trace = junction.token_graph + added, junction.token_trace
    return True, best


@jit
def leave(
    arcs: Records, options: Options, old: Records, size: Whole, least: Real, emission: Floats, new: Records,
    work: Work, best: Real, beam: Real, all_join: bool,
) -> tuple[bool, Real]:  # fmt: skip
    """Let what scores at least `least` leave its token, through a junction or (unless `all_join`) straight on."""
    for i in range(size):
        hypothesis = old[i]
        inside, resting = hypothesis.inside + options.forward, hypothesis.blank
        if max(inside, resting) < least:
            continue
        j = 0  # the slot of states that need no junction
        if hypothesis.label & JOINED or all_join:
            j = find_junction(arcs, work, hypothesis.state)
            if j < 0:
                return False, best
        else:
            empty(work.junctions[0])
            work.junctions[0].reading = hypothesis.state
        offer(work.junctions[j], resting, hypothesis.blank_graph, 0, hypothesis.blank_trace)
        own = hypothesis.label & LABEL if options.parts_equal else 0
        offer(work.junctions[j], inside, hypothesis.inside_graph, own, hypothesis.inside_trace)
        if j == 0:
            fits, best = follow(arcs, options, emission, new, work, best, beam, 0)
            if not fits:
                return False, best
    return True, best


@jit
def close(arcs: Records, options: Options, least: Real, work: Work, frame: Whole) -> bool:
    """Follow epsilons, level by level; return whether there was room."""
    for level in range(LEVEL, 0, -1):
        j = work.levels[level]
        while j >= 0:
            junction = work.junctions[j]
            a = junction.state
            while a >= 0 and arcs[a].label & LABEL == 0:
                if not pass_on(arcs, options, least, work, j, a, frame):
                    return False
                a = a + 1 if arcs[a].label & LAST == 0 else -1
            junction.reading = a  # -1 if the state reads nothing
            j = junction.following
    return True


@jit
def pass_on(arcs: Records, options: Options, least: Real, work: Work, j: Whole, a: Whole, frame: Whole) -> bool:
    """Take the scores of junction `j` over epsilon `a`; return whether there was room."""
    junction, arc = work.junctions[j], arcs[a]
    added = arc.score * options.scale
    if arc.word:
        added += options.word
    if max(junction.blank, junction.token) + added < least:
        return True
    k = find_junction(arcs, work, arc.target)
    if k < 0 or work.sizes[TRACES] + 3 > len(work.traces):
        return False
    target = work.junctions[k]
    for score, graph, label, trace in (
        (junction.blank, junction.blank_graph, np.int32(0), junction.blank_trace),
        (junction.token, junction.token_graph, junction.token_label, junction.token_trace),
        (junction.other, junction.other_graph, junction.other_label, junction.other_trace),
    ):
        if score > NOTHING and score + added >= least:
            before = traced(work, trace, arc.word, frame) if arc.word else trace
            offer(target, score + added, graph + added, label, before)
    return True


@jit
def traced(work: Work, previous: Whole, word: Whole, frame: Whole) -> Whole:
    """Slot of a new trace."""
    slot = work.sizes[TRACES]
    work.sizes[TRACES] += 1
    trace = work.traces[slot]
    trace.previous, trace.word, trace.frame = previous, word, frame
    return slot


@jit
def clear_junctions(work: Work) -> None:
    """No junctions, after a frame."""
    for j in range(1, work.sizes[JUNCTIONS]):
        work.junction_table[work.junctions[j].place] = -1
    work.sizes[JUNCTIONS] = 1
    for level in range(LEVEL + 1):
        work.levels[level] = -1


@jit
def frame(
    arcs: Records, options: Options, emission: Floats, most: Real, blank: Real, old: Records, new: Records,
    work: Work, beam: Real, t: Whole,
) -> tuple[bool, Real]:  # fmt: skip
    """Frame `t`; return whether there was room, and the best score.

    Args:
        emission: log-probabilities by label, -inf for label 0 and final scores.
        most: the largest of them but the blank's.
    """
    size = work.sizes[HYPOTHESES]
    best = advance(old, new, size, emission, blank, options.loop)
    least = best - beam - most - options.ahead
    fits, best = leave(arcs, options, old, size, least, emission, new, work, best, beam, False)
    fits = fits and close(arcs, options, least, work, t)
    for j in range(1, work.sizes[JUNCTIONS]):
        if fits and work.junctions[j].reading >= 0:
            fits, best = follow(arcs, options, emission, new, work, best, beam, j)
    clear_junctions(work)
    return fits, best


@jit
def threshold(new: Records, size: Whole, best: Real, beam: Real, max_active: Whole) -> Real:
    """The score that a hypothesis needs: within the beam, and about `max_active` of them at most."""
    least = best - beam
    if size <= max_active:
        return least
    counts = np.empty(BINS, np.int32)
    for number in range(BINS):
        counts[number] = 0
    per_bin = np.float32(BINS) / beam
    for i in range(size):
        score = max(new[i].inside, new[i].blank)
        if score >= least:
            counts[min(BINS - 1, int((best - score) * per_bin))] += 1
    total = 0
    for number in range(BINS):
        total += counts[number]
        if total > max_active:
            return best - np.float32(max(number, 1)) / per_bin
    return least


@jit
def prune(new: Records, work: Work, least: Real, t: Whole) -> None:
    """Drop what scores less than `least`, move the rest together, and give a trace to each word that was entered."""
    size, kept = work.sizes[HYPOTHESES], 0
    for i in range(size):
        work.table[new[i].place] = -1
    for i in range(size):
        each = new[i]
        if max(each.inside, each.blank) < least:
            continue
        if each.word:
            each.inside_trace = traced(work, each.inside_trace, each.word, t)
        if kept < i:
            new[kept] = each
        enter_table(work, new[kept], kept)
        kept += 1
    work.sizes[HYPOTHESES] = kept


@jit
def collect_traces(work: Work, hypotheses: Records) -> None:
    """Remove the traces that no hypothesis goes back to."""
    traces, size = work.traces, work.sizes[HYPOTHESES]
    number = np.empty(work.sizes[TRACES], np.int32)
    for trace in range(len(number)):
        number[trace] = -1
    for i in range(2 * size):
        trace = hypotheses[i // 2].inside_trace if i % 2 else hypotheses[i // 2].blank_trace
        while trace >= 0 and number[trace] < 0:
            number[trace] = 0
            trace = traces[trace].previous
    kept = 0
    for trace in range(work.sizes[TRACES]):
        if number[trace] == 0:
            number[trace] = kept
            traces[kept] = traces[trace]
            if traces[kept].previous >= 0:
                traces[kept].previous = number[traces[kept].previous]
            kept += 1
    work.sizes[TRACES] = kept
    for i in range(size):
        each = hypotheses[i]
        each.inside_trace = number[each.inside_trace] if each.inside_trace >= 0 else -1
        each.blank_trace = number[each.blank_trace] if each.blank_trace >= 0 else -1
