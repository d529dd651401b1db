"""Lattices from the survivors of a search, compiled by numba.

The search notes which hypotheses survived each frame. Going back through the frames, all moves between survivors are
tried again; the best score from each on to the end is known then, so every arc is either within the lattice beam of
the best path, and written, or never touched. Nothing is pruned away that a lattice of all moves would keep, and no
such lattice is ever held in memory.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from speechkit.decode.lattice import LATTICE_ARC, NO_TOKEN
from speechkit.decode.wfst_frame import clear_junctions, find_junction, offer
from speechkit.decode.wfst_records import (
    HASH,
    LEVEL,
    NOTHING,
    Floats,
    Ints,
    Options,
    Real,
    Records,
    Whole,
    Work,
    copied,
    jit,
    new_work,
)
from speechkit.decode.wfst_search import Kept, emissions
from speechkit.fsa.wfst.graph import LABEL, LAST

# While arcs are written, nodes are hypotheses (2 i within the token, 2 i + 1 in blanks), then steps between epsilons.
END = -1
ROOM = 4096
NODES, ARCS = range(2)  # places in `counts`
Longs = npt.NDArray[np.int64]


@jit
def index(hypotheses: Records, begin: Whole, end: Whole, table: Ints) -> None:
    """Make `table` find the hypotheses `begin:end` by state and label."""
    mask = len(table) - 1
    for place in range(len(table)):
        table[place] = -1
    for i in range(begin, end):
        place = ((hypotheses[i].state + (hypotheses[i].label & LABEL)) * HASH >> 8) & mask
        while table[place] >= 0:
            place = (place + 1) & mask
        table[place] = i


@jit
def lookup(hypotheses: Records, table: Ints, state: Whole, label: Whole) -> Whole:
    """The hypothesis in `state` that was entered with `label`; -1 for none."""
    mask = len(table) - 1
    place = ((state + label) * HASH >> 8) & mask
    while True:
        i = table[place]
        if i < 0 or (hypotheses[i].state == state and (hypotheses[i].label & LABEL) == label):
            return i
        place = (place + 1) & mask


@jit
def value(junction: Any, own: Whole) -> Real:
    """The best score from a state on, by no token of label `own`."""
    token = junction.other if own != 0 and junction.token_label == own else junction.token
    return max(junction.blank, token)


@jit
def look_ahead(
    arcs: Records, options: Options, emission: Floats, kept: Kept, t: Whole, table: Ints, onward: Floats, work: Work
) -> bool:
    """Make junctions for all states at time `t` with the best score onward from each; return whether there was room."""
    for i in range(kept.splits[t], kept.splits[t + 1]):
        if find_junction(arcs, work, kept.hypotheses[i].state) < 0:
            return False
    for level in range(LEVEL, 0, -1):
        j = work.levels[level]
        while j >= 0:
            a = work.junctions[j].state
            while a >= 0 and arcs[a].label & LABEL == 0:
                if find_junction(arcs, work, arcs[a].target) < 0:
                    return False
                a = a + 1 if arcs[a].label & LAST == 0 else -1
            j = work.junctions[j].following
    for level in range(LEVEL + 1):
        j = work.levels[level]
        while j >= 0:
            evaluate(arcs, options, emission, kept, table, onward, work, j)
            j = work.junctions[j].following
    return True


@jit
def evaluate(
    arcs: Records, options: Options, emission: Floats, kept: Kept, table: Ints, onward: Floats, work: Work, j: Whole
) -> None:
    """The best scores onward from junction `j`; those of lower levels are known."""
    junction = work.junctions[j]
    a, last = junction.state - 1, False
    while not last:
        a += 1
        arc = arcs[a]
        last, label = arc.label & LAST != 0, arc.label & LABEL
        added = arc.score * options.scale + (options.word if arc.word else np.float32(0))
        if label == 0:
            target = work.junctions[find_junction(arcs, work, arc.target)]
            offer(junction, target.blank + added, 0, 0, 0)
            offer(junction, target.token + added, 0, target.token_label, 0)
            offer(junction, target.other + added, 0, target.other_label, 0)
        elif label == options.final_label:
            offer(junction, emission[label] + added, 0, 0, 0)
        else:
            i = lookup(kept.hypotheses, table, arc.target, label)
            if i >= 0:
                offer(junction, onward[i, 0] + emission[label] + added, 0, label, 0)


@jit
def go_back(
    arcs: Records, options: Options, emission: Floats, blank: Real, kept: Kept, t: Whole, table: Ints, onward: Floats,
    work: Work, ends: bool,
) -> None:  # fmt: skip
    """The best score onward from each hypothesis at time `t`, within its token and in blanks."""
    for i in range(kept.splits[t], kept.splits[t + 1]):
        each = kept.hypotheses[i]
        label = each.label & LABEL
        inside = resting = np.float32(0) if ends else NOTHING
        following = lookup(kept.hypotheses, table, each.state, label)
        if following >= 0:
            resting = max(resting, onward[following, 1] + blank)
            inside = max(resting, onward[following, 0] + emission[label] + options.loop)
        junction = work.junctions[find_junction(arcs, work, each.state)]
        own = label if options.parts_equal else 0
        onward[i, 0] = max(inside, value(junction, own) + options.forward)
        onward[i, 1] = max(resting, value(junction, 0))


class Output(NamedTuple):
    """What is written so far: arcs, the frames of nodes between epsilons, how many of both, and how many may be."""

    arcs: Records
    frames: Ints
    counts: Longs
    limit: Whole


@jit
def add(
    output: Output, source: Whole, destination: Whole, t: Whole, token: Whole, word: Whole, acoustic: Real, graph: Real
) -> None:
    """Write an arc if there is room, and count it in any case."""
    slot = output.counts[ARCS]
    output.counts[ARCS] += 1
    if slot < len(output.arcs):
        arc = output.arcs[slot]
        arc.source, arc.destination, arc.frame, arc.token, arc.word = source, destination, t, token, word
        arc.acoustic, arc.graph = acoustic, graph


@jit
def write(
    arcs: Records, options: Options, row: Floats, emission: Floats, blank: Real, kept: Kept, t: Whole, table: Ints,
    onward: Floats, work: Work, ends: bool, least: Real, output: Output,
) -> None:  # fmt: skip
    """Write the arcs of frame `t` whose best path scores at least `least`."""
    for i in range(kept.splits[t], kept.splits[t + 1]):
        each = kept.hypotheses[i]
        label = each.label & LABEL
        following = lookup(kept.hypotheses, table, each.state, label)
        for phase in range(2):
            score, node = each.blank if phase else each.inside, 2 * i + phase
            if score + onward[i, phase] < least or score == NOTHING:
                continue
            if ends:
                add(output, node, END, t, NO_TOKEN, 0, 0, 0)
            if following >= 0:
                stays = score + emission[label] + options.loop + onward[following, 0]
                if phase == 0 and stays >= least:
                    add(output, node, 2 * following, t, label - 1, 0, row[label - 1] + options.loop, 0)
                if options.blank >= 0 and score + blank + onward[following, 1] >= least:
                    add(output, node, 2 * following + 1, t, options.blank, 0, row[options.blank], 0)
            own = label if options.parts_equal and phase == 0 else 0
            leaving = np.float32(0) if phase else options.forward
            write_leaving(
                arcs, options, row, emission, kept, t, table, onward, work, each.state, node, own,
                score, leaving, least, output,
            )  # fmt: skip


@jit
def write_leaving(
    arcs: Records, options: Options, row: Floats, emission: Floats, kept: Kept, t: Whole, table: Ints, onward: Floats,
    work: Work, state: Whole, node: Whole, own: Whole, score: Real, leaving: Real, least: Real, output: Output,
) -> None:  # fmt: skip
    """Write the ways on from `node`, which left its token with `score`: over epsilons, with a token, or to the end."""
    states, nodes, scores = [np.int64(state)], [np.int64(node)], [np.float32(score + leaving)]
    while len(states) > 0:
        state, node, score = states.pop(), nodes.pop(), scores.pop()
        a, last = state - 1, False
        while not last:
            a += 1
            arc = arcs[a]
            last, label = arc.label & LAST != 0, arc.label & LABEL
            total = score + arc.score * options.scale + (options.word if arc.word else np.float32(0))
            if label == 0:
                if total + value(work.junctions[find_junction(arcs, work, arc.target)], own) >= least:
                    step = output.counts[NODES]
                    output.counts[NODES] += 1
                    if step < len(output.frames):
                        output.frames[step] = t
                    between = 2 * len(kept.hypotheses) + step
                    add(output, node, between, t, NO_TOKEN, arc.word, leaving, arc.score)
                    states.append(np.int64(arc.target))
                    nodes.append(np.int64(between))
                    scores.append(np.float32(total))
            elif label == options.final_label:
                if total + emission[label] >= least:
                    add(output, node, END, t, NO_TOKEN, 0, leaving, arc.score)
            elif label != own:
                i = lookup(kept.hypotheses, table, arc.target, label)
                if i >= 0 and total + emission[label] + onward[i, 0] >= least:
                    add(output, node, 2 * i, t, label - 1, arc.word, row[label - 1] + leaving, arc.score)
        leaving = np.float32(0)


@jit
def table_size(kept: Kept, num_frames: Whole) -> Whole:
    """A power of 2, at least four times the most hypotheses of a frame."""
    size = 16
    for t in range(num_frames + 1):
        while size < 4 * (kept.splits[t + 1] - kept.splits[t]):
            size *= 2
    return size


@jit
def lattice_arcs(
    arcs: Records, options: Options, log_probs: Floats, kept: Kept, best: Real, complete: bool,
    beam: Real, limit: Whole,
) -> tuple[bool, Records, Ints]:  # fmt: skip
    """All arcs within `beam` of the best path.

    Args:
        best: score of the best path, less the last offset.
        complete: whether it ends in a final state; if not, the utterance may end anywhere.
        limit: the most arcs.

    Returns:
        Whether they were no more than `limit`, the arcs, and the frame of each node beyond the hypotheses.
    """
    num_frames, num_tokens = log_probs.shape
    room = table_size(kept, num_frames)
    work, table = new_work(2, room, 1), np.empty(room, np.int32)
    onward = np.empty((len(kept.hypotheses), 2), np.float32)
    emission = np.empty(num_tokens + 2, np.float32)
    counts, nowhere = np.zeros(2, np.int64), np.full(num_tokens, NOTHING)
    output = Output(np.empty(ROOM, LATTICE_ARC), np.empty(ROOM, np.int32), counts, limit)
    t = num_frames
    while t >= 0:
        at_end, blank = t == num_frames, NOTHING
        row = nowhere if at_end else log_probs[t]
        if at_end:
            emissions(row, 0, options.blank, emission)
            emission[options.final_label] = 0 if complete else NOTHING
            index(kept.hypotheses, 0, 0, table)
        else:
            _, blank = emissions(row, np.float32(kept.offset[t + 1] - kept.offset[t]), options.blank, emission)
            index(kept.hypotheses, kept.splits[t + 1], kept.splits[t + 2], table)
        ends = at_end and not complete
        if not look_ahead(arcs, options, emission, kept, t, table, onward, work):
            work = new_work(2, 2 * len(work.junctions), 1)
            continue
        go_back(arcs, options, emission, blank, kept, t, table, onward, work, ends)
        num_arcs, num_steps = counts[ARCS], counts[NODES]
        write(arcs, options, row, emission, blank, kept, t, table, onward, work, ends, best - beam, output)
        clear_junctions(work)
        if counts[ARCS] > limit:
            return False, output.arcs[:0], output.frames[:0]
        if counts[ARCS] > len(output.arcs) or counts[NODES] > len(output.frames):
            wider, longer = 2 * counts[ARCS], 2 * counts[NODES]
            counts[ARCS], counts[NODES] = num_arcs, num_steps
            output = Output(
                copied(output.arcs, num_arcs, wider), copied(output.frames, num_steps, longer), counts, limit
            )
            continue
        t -= 1
    return True, output.arcs[: counts[ARCS]], output.frames[: counts[NODES]]
