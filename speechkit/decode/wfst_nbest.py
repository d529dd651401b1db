"""The best word sequences of a lattice, compiled by numba."""

import numpy as np
import numpy.typing as npt

from speechkit.decode.wfst_records import Floats, Ints, Real, Whole, jit

Doubles = npt.NDArray[np.float64]
NONE = -1
PREVIOUS, WORD, CHILD, SIBLING = range(4)  # columns of a history: the one before, its word, and a tree of those after
ROOM = 256


@jit
def history_after(histories: Ints, used: Whole, history: Whole, word: Whole) -> Whole:
    """The history that adds `word`: one that is there, else `used`, which is filled in."""
    child = histories[history, CHILD]
    while child >= 0:
        if histories[child, WORD] == word:
            return child
        child = histories[child, SIBLING]
    histories[used, PREVIOUS], histories[used, WORD], histories[used, CHILD] = history, word, NONE
    histories[used, SIBLING], histories[history, CHILD] = histories[history, CHILD], used
    return used


@jit
def insert(
    scores: Doubles, parts: Floats, histories: Ints, count: Whole, total: Real, part: Real, history: Whole
) -> Whole:
    """Put an entry into a list kept best first, one for each history; return how long it is then."""
    room = len(scores)
    place = 0
    while place < count and histories[place] != history:
        place += 1
    if place < count:
        if scores[place] >= total:
            return count
    elif count < room:
        place, count = count, count + 1
    elif scores[room - 1] >= total:
        return count
    else:
        place = room - 1
    while place > 0 and scores[place - 1] < total:
        scores[place], parts[place], histories[place] = scores[place - 1], parts[place - 1], histories[place - 1]
        place -= 1
    scores[place], parts[place], histories[place] = total, part, history
    return count


@jit
def best_histories(
    source: Ints, destination: Ints, word: Ints, score: Doubles, graph: Floats, num_nodes: Whole, size: Whole
) -> tuple[Doubles, Floats, Ints, Ints]:
    """The `size` best different word sequences from node 0 to the last node of a lattice.

    Every node keeps its best beginnings, which is exact: what is not among the best at a node is not at the end.

    Args:
        source: of each arc, ascending; nodes are numbered so that every arc leads to a higher one.
        score: of each arc, weighted; `graph` the one that is added up beside it.

    Returns:
        Scores, graph scores and histories at the last node, best first, and all histories (row 0 is the empty one).
    """
    scores, parts = np.empty((num_nodes, size), np.float64), np.empty((num_nodes, size), np.float32)
    ends, counts = np.empty((num_nodes, size), np.int32), np.zeros(num_nodes, np.int64)
    histories = np.empty((ROOM, 4), np.int32)
    histories[0, PREVIOUS], histories[0, WORD], histories[0, CHILD], histories[0, SIBLING] = NONE, 0, NONE, NONE
    used = 1
    scores[0, 0], parts[0, 0], ends[0, 0], counts[0] = 0, 0, 0, 1
    for a in range(len(source)):
        begin, end = source[a], destination[a]
        for place in range(counts[begin]):
            total = scores[begin, place] + score[a]
            if counts[end] == size and total <= scores[end, size - 1]:
                break
            history = ends[begin, place]
            if word[a]:
                if used == len(histories):
                    histories = wider(histories)
                history = history_after(histories, used, history, word[a])
                used = max(used, history + 1)
            part = parts[begin, place] + graph[a]
            counts[end] = insert(scores[end], parts[end], ends[end], counts[end], total, part, history)
    last, found = num_nodes - 1, counts[num_nodes - 1]
    return scores[last, :found], parts[last, :found], ends[last, :found], histories


@jit
def wider(histories: Ints) -> Ints:
    """The same histories with twice the room."""
    larger = np.empty((2 * len(histories), 4), np.int32)
    for row in range(len(histories)):
        for column in range(4):
            larger[row, column] = histories[row, column]
    return larger
