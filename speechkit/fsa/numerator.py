"""What the numerator of an utterance may contain: the pronunciations of its words, and when its tokens may occur."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from speechkit.fsa.graph import FINAL_LABEL, Graph

BLANK = 0
Place = tuple[int, tuple[int, ...]]


def token_lattice(words: Sequence[Sequence[Sequence[int]]]) -> Graph:
    """All token sequences that spell `words`, each with exactly one path and score 0.

    Two choices of pronunciations may give the same tokens. Were both in the numerator, it could score more than the
    denominator, in which every token sequence has one path: so the lattice is made deterministic (subset construction).

    Args:
        words: for each word its pronunciations, each a sequence of token ids from 1.

    Raises:
        ValueError: a word without a pronunciation, or a pronunciation without tokens.
    """
    for word, pronunciations in enumerate(words, 1):
        if not pronunciations or not all(pronunciations):
            raise ValueError(f"word {word} lacks a pronunciation, or has one without tokens")

    def beginning(word: int) -> list[Place]:
        """What may be read from the start of a word on: the word's index and the rest of its tokens."""
        return [(word, tuple(tokens)) for tokens in words[word]] if word < len(words) else [(word, ())]

    numbers = {frozenset(beginning(0)): 0}
    queue = list(numbers)
    arcs: list[tuple[int, int, int, float]] = []
    ends: list[int] = []
    for number, places in enumerate(queue):  # the queue grows
        after: dict[int, set[Place]] = {}
        for word, rest in places:
            if rest:
                following = [(word, rest[1:])] if rest[1:] else beginning(word + 1)
                after.setdefault(rest[0], set()).update(following)
            else:
                ends.append(number)
        for token, reached in sorted(after.items()):
            key = frozenset(reached)
            if key not in numbers:
                numbers[key] = len(queue)
                queue.append(key)
            arcs.append((number, numbers[key], token, 0.0))
    arcs += [(number, len(queue), FINAL_LABEL, 0.0) for number in ends]
    return Graph.from_arcs(arcs, len(queue) + 1)


def within_times(
    graph: Graph, first: npt.NDArray[np.int64], last: npt.NDArray[np.int64], num_frames: int, blank: int | None = BLANK
) -> Graph:
    """Unroll a numerator over time, keeping each token between its first and its last allowed frame.

    All frames of token i, its repetitions included, lie in `first[i] .. last[i]`; blanks may lie anywhere between. The
    result accepts exactly `num_frames` frames, and its paths are paths of `graph` with the same scores.

    Args:
        graph: a linear transcript composed with a topology: aux "position" counts the tokens begun after each arc.
        first, last: frames, both included, `(L,)`; values outside the utterance do no harm.
        num_frames: length of the utterance.
        blank: column that belongs to no token; None for a topology without one.

    Returns:
        The unrolled graph. It may have dead ends, and no path at all where the times leave none.
    """
    if graph.num_states == 0:
        return graph
    frames = np.arange(num_frames)[:, None]
    emitting = np.flatnonzero(graph.label != FINAL_LABEL)
    position = graph.aux["position"][emitting]
    is_blank = graph.label[emitting] == (FINAL_LABEL if blank is None else blank)
    # A blank after token i comes after the first frame of that token and before the last frame of the next.
    begin = np.concatenate([[0], first])[position] + (is_blank & (position > 0))
    token_end, blank_end = np.concatenate([[-1], last]), np.concatenate([last - 1, [num_frames - 1]])
    end = np.where(is_blank, blank_end[position], token_end[position])
    frame, chosen = np.nonzero((begin <= frames) & (frames <= end))
    arc = emitting[chosen]
    states, final = graph.num_states, num_frames * graph.num_states
    closing = np.flatnonzero(graph.label == FINAL_LABEL)
    arcs = np.concatenate([arc, closing])
    ends = np.stack(
        [
            np.concatenate([frame * states + graph.source[arc], final + graph.source[closing]]),
            np.concatenate([(frame + 1) * states + graph.destination[arc], final + graph.destination[closing]]),
        ]
    )
    used, number = np.unique(np.append(ends.ravel(), [0, final + states - 1]), return_inverse=True)
    source, destination = number[: ends.size].reshape(ends.shape).astype(np.int32)
    aux = {name: values[arcs] for name, values in graph.aux.items()}
    return Graph(source, destination, graph.label[arcs], graph.score[arcs], len(used), aux)
