"""What compiled searches work on: records, options, and the tables by which hypotheses are found."""

from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from speechkit.common.kernels import compiler
from speechkit.fsa.wfst.graph import LABEL

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
# What compiled code works on: arrays of records (their fields are attributes), float32, and integers of any width.
Records: TypeAlias = Any
Real: TypeAlias = Any
Whole: TypeAlias = Any
NOTHING = np.float32(-np.inf)
BINS = 512
LEVEL = 31
HASH = 0x9E3779B1
HYPOTHESES, JUNCTIONS, TRACES = range(3)  # places in `sizes`
jit = compiler(Path(__file__).parent.glob("wfst_*.py"))

# A state and the token it was entered with (with JOINED from the arc), place in the table; scores and graph scores
# within the token and in blanks, the words before each; a word that was entered in this frame and has no trace yet.
HYPOTHESIS = np.dtype(
    [("state", "i4"), ("label", "i4"), ("place", "i4"), ("word", "i4")]
    + [("inside", "f4"), ("blank", "f4"), ("inside_graph", "f4"), ("blank_graph", "f4")]
    + [("inside_trace", "i4"), ("blank_trace", "i4")]
)
# What leaves a state: from blanks, from the best token, and from the best token with another label.
# `following` is the next junction of the same level.
JUNCTION = np.dtype(
    [("state", "i4"), ("place", "i4"), ("following", "i4"), ("reading", "i4")]
    + [("blank", "f4"), ("token", "f4"), ("other", "f4")]
    + [("blank_graph", "f4"), ("token_graph", "f4"), ("other_graph", "f4")]
    + [("blank_trace", "i4"), ("token_trace", "i4"), ("other_trace", "i4")]
    + [("token_label", "i4"), ("other_label", "i4")]
)
# A word, the trace of the words before it (-1 for none), and the frame in which it was entered.
TRACE = np.dtype([("previous", "i4"), ("word", "i4"), ("frame", "i4")])


class Options(NamedTuple):
    """Options of a search, and what topology and weights come to.

    `scale` multiplies graph scores, `word` is added for each word, `ahead` is at least what they can add on the way
    into the next token. `blank` is the blank's column, -1 for none; `loop` and `forward` are added for each further
    frame of a token and for leaving it.
    """

    beam: np.float32
    beam_delta: np.float32
    max_active: int
    scale: np.float32
    word: np.float32
    ahead: np.float32
    final_label: int
    blank: int
    parts_equal: bool
    loop: np.float32
    forward: np.float32


class Work(NamedTuple):
    """Arrays of a search: junctions with their table and the first of each level, traces, and how many are used."""

    table: Ints
    junctions: Records
    junction_table: Ints
    levels: Ints
    traces: Records
    sizes: Ints


@jit
def new_work(size: Whole, num_junctions: Whole, num_traces: Whole) -> Work:
    """Room for hypotheses, junctions and traces; the former two are powers of 2, their tables twice as large."""
    sizes = np.empty(3, np.int32)
    sizes[HYPOTHESES], sizes[JUNCTIONS], sizes[TRACES] = 0, 1, 0
    table, junctions = np.empty(2 * size, np.int32), np.empty(num_junctions, JUNCTION)
    junction_table, levels = np.empty(2 * num_junctions, np.int32), np.empty(LEVEL + 1, np.int32)
    for array in (table, junction_table, levels):
        for place in range(len(array)):
            array[place] = -1
    return Work(table, junctions, junction_table, levels, np.empty(num_traces, TRACE), sizes)


@jit
def copied(records: Records, count: Whole, room: Whole) -> Records:
    """An array of `room` records that begins with the first `count` of `records`."""
    larger = np.empty(room, records.dtype)
    for place in range(count):
        larger[place] = records[place]
    return larger


@jit
def enter_table(work: Work, hypothesis: Any, slot: Whole) -> None:
    """Note the slot of a hypothesis that the table does not have."""
    mask = len(work.table) - 1
    place = ((hypothesis.state + (hypothesis.label & LABEL)) * HASH >> 8) & mask
    while work.table[place] >= 0:
        place = (place + 1) & mask
    work.table[place] = slot
    hypothesis.place = place
