"""The search of one utterance: frame after frame, with room for whatever turns up, and the way back to the words."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from speechkit.decode.wfst_frame import clear_junctions, close, collect_traces, frame, leave, prune, threshold
from speechkit.decode.wfst_records import (
    HYPOTHESES,
    HYPOTHESIS,
    JUNCTIONS,
    NOTHING,
    TRACES,
    Floats,
    Ints,
    Options,
    Real,
    Records,
    Whole,
    Work,
    copied,
    enter_table,
    jit,
    new_work,
)
from speechkit.fsa.wfst.graph import JOINED, LABEL, LAST

ROOM, ROOM_JUNCTIONS, ROOM_TRACES = 1024, 256, 8192  # at first; what is full gets twice the room


class Kept(NamedTuple):
    """What a lattice needs: hypotheses `splits[t]:splits[t + 1]` survived t frames, their scores less `offset[t]`."""

    splits: npt.NDArray[np.int64]
    offset: npt.NDArray[np.float64]
    hypotheses: Records


class Found(NamedTuple):
    """Words with the frames in which they were entered; total and graph score; whether a final state was reached."""

    words: Ints
    frames: Ints
    total: float
    graph: float
    complete: bool
    kept: Kept


@jit
def start(hypotheses: Records, work: Work) -> None:
    """One hypothesis before the first token, as after a blank."""
    first = hypotheses[0]
    first.state, first.label, first.word = 0, JOINED, 0
    first.inside, first.inside_graph, first.inside_trace = NOTHING, 0, -1
    first.blank, first.blank_graph, first.blank_trace = 0, 0, -1
    work.sizes[HYPOTHESES] = 1
    enter_table(work, first, 0)


@jit
def emissions(row: Floats, best: Real, blank: Whole, emission: Floats) -> tuple[Real, Real]:
    """Fill `emission` by label (token + 1), less `best`; return the most but the blank's, and the blank's."""
    most = NOTHING
    emission[0], emission[len(row) + 1] = NOTHING, NOTHING
    for token in range(len(row)):
        emission[token + 1] = row[token] - best
        if token != blank:
            most = max(most, emission[token + 1])
    return most, emission[blank + 1]


@jit
def more_traces(work: Work, hypotheses: Records) -> Work:
    """Room for a word of each hypothesis: unused traces go, and the array grows if they were less than half."""
    collect_traces(work, hypotheses)
    used, needed = work.sizes[TRACES], len(hypotheses)
    if 2 * (used + needed) <= len(work.traces):
        return work
    traces = copied(work.traces, used, 4 * (used + needed))
    return Work(work.table, work.junctions, work.junction_table, work.levels, traces, work.sizes)


@jit
def more_room(work: Work, old: Records) -> tuple[Work, Records, Records]:
    """Twice the room for all but traces, and for those too if removing the ones of no use does not make it."""
    size, count = 2 * len(old), work.sizes[HYPOTHESES]
    larger = copied(old, count, size)
    work = more_traces(work, larger)
    wider = new_work(size, 2 * len(work.junctions), 0)
    wider.sizes[HYPOTHESES], wider.sizes[TRACES] = count, work.sizes[TRACES]
    for slot in range(count):
        enter_table(wider, larger[slot], slot)
    wider = Work(wider.table, wider.junctions, wider.junction_table, wider.levels, work.traces, wider.sizes)
    return wider, larger, np.empty(size, HYPOTHESIS)


@jit
def note(kept: Kept, t: Whole, hypotheses: Records, size: Whole, offset: Real) -> Kept:
    """Add the hypotheses that survived `t` frames."""
    begin = kept.splits[t]
    end = begin + size
    if end > len(kept.hypotheses):
        kept = Kept(kept.splits, kept.offset, copied(kept.hypotheses, begin, max(end, 2 * len(kept.hypotheses))))
    kept.splits[t + 1], kept.offset[t] = end, offset
    for slot in range(size):
        kept.hypotheses[begin + slot] = hypotheses[slot]
    return kept


@jit
def words_of(traces: Records, last: Whole) -> tuple[Ints, Ints]:
    """The words that end in trace `last`, and their frames."""
    count, trace = 0, last
    while trace >= 0:
        count, trace = count + 1, traces[trace].previous
    words, frames = np.empty(count, np.int32), np.empty(count, np.int32)
    trace = last
    for place in range(count - 1, -1, -1):
        words[place], frames[place] = traces[trace].word, traces[trace].frame
        trace = traces[trace].previous
    return words, frames


@jit
def best_end(
    arcs: Records, options: Options, hypotheses: Records, work: Work, t: Whole
) -> tuple[bool, Real, Real, Whole, bool]:
    """Whether there was room; score, graph score and trace of the best in a final state, else of the best at all."""
    best, best_graph, trace, complete = NOTHING, np.float32(0), -1, False
    nowhere = np.empty(0, np.float32)
    size = work.sizes[HYPOTHESES]
    fits, _ = leave(
        arcs, options, hypotheses, size, NOTHING, nowhere, hypotheses, work, NOTHING, NOTHING, True
    )  # fmt: skip
    fits = fits and close(arcs, options, NOTHING, work, t)
    for j in range(1, work.sizes[JUNCTIONS]):
        junction = work.junctions[j]
        a = junction.reading
        while a >= 0 and arcs[a].label & LAST == 0:
            a += 1
        if a >= 0 and arcs[a].label & LABEL == options.final_label:
            final = arcs[a].score * options.scale
            if max(junction.blank, junction.token) + final > best:
                resting = junction.blank >= junction.token
                best, complete = max(junction.blank, junction.token) + final, True
                best_graph = final + (junction.blank_graph if resting else junction.token_graph)
                trace = junction.blank_trace if resting else junction.token_trace
    clear_junctions(work)
    for i in range(0 if complete else size):
        each = hypotheses[i]
        if max(each.inside, each.blank) > best:
            inside = each.inside > each.blank
            best, best_graph, trace = each.blank, each.blank_graph, each.blank_trace
            if inside:
                best, best_graph, trace = each.inside, each.inside_graph, each.inside_trace
    return fits, best, best_graph, trace, complete


@jit
def search(arcs: Records, options: Options, log_probs: Floats, keep: bool) -> Found:
    """Search `log_probs (T, V)`; `keep` notes the survivors of every frame, for a lattice."""
    num_frames, num_tokens = log_probs.shape
    old, new = np.empty(ROOM, HYPOTHESIS), np.empty(ROOM, HYPOTHESIS)
    work = new_work(ROOM, ROOM_JUNCTIONS, ROOM_TRACES)
    steps = num_frames + 1 if keep else 0
    kept = Kept(np.empty(steps + 1, np.int64), np.empty(steps, np.float64), np.empty(steps, HYPOTHESIS))
    kept.splits[0] = 0
    emission = np.empty(num_tokens + 2, np.float32)
    start(old, work)
    offset, best, beam, t = 0.0, np.float32(0), options.beam, 0
    while t < num_frames and best > NOTHING:
        if keep:
            kept = note(kept, t, old, work.sizes[HYPOTHESES], offset)
        most, blank = emissions(log_probs[t], best, options.blank, emission)
        size, used = work.sizes[HYPOTHESES], work.sizes[TRACES]
        fits, found = frame(arcs, options, emission, most, blank, old, new, work, beam, t)
        if not fits:
            work.sizes[HYPOTHESES], work.sizes[TRACES] = size, used
            work, old, new = more_room(work, old)
            continue
        offset, best = offset + np.float64(best), found
        if work.sizes[TRACES] + work.sizes[HYPOTHESES] > len(work.traces):
            work = more_traces(work, new)
        least = threshold(new, work.sizes[HYPOTHESES], best, options.beam, options.max_active)
        beam = min(options.beam, best - least + options.beam_delta)
        prune(new, work, least, t)
        old, new = new, old
        t += 1
    if keep:
        kept = note(kept, t, old, work.sizes[HYPOTHESES], offset)
    fits, best, graph, trace, complete = best_end(arcs, options, old, work, t)
    while not fits:
        work, old, new = more_room(work, old)
        fits, best, graph, trace, complete = best_end(arcs, options, old, work, t)
    words, frames = words_of(work.traces, trace)
    return Found(words, frames, offset + np.float64(best), graph, complete, kept)
