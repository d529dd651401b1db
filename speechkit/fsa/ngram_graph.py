"""Token n-grams composed with frame topologies: the denominator and numerator graphs of LF-MMI.

An n-gram over tokens, a transcript and a lattice of pronunciations are all `Graph`s whose labels are tokens. A
topology is a `Graph` whose labels are columns of the log-probabilities and whose aux "token" marks the first frame of
each token (`speechkit.fsa.topology`). Composing the two gives the frame sequences of all accepted token sequences:

- denominator = topology o n-gram (icefall's `ctc_topo_P`; Povey et al., Interspeech 2016, section 2);
- numerator = denominator o transcript, a sub-graph of the denominator with the same language model weights, so that no
  numerator ever scores more than the denominator.

The utterances are whole, so the denominator starts where the n-gram does, in its sentence start, and ends with its
sentence-end probabilities. Kaldi, which trains on chunks, starts its denominator anywhere instead, distributed as
`initial_probs` says; here that distribution serves the leaky HMM only.
"""

from collections import defaultdict
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from speechkit.fsa.graph import FINAL_LABEL, NO_AUX, Graph
from speechkit.fsa.guard import check_arcs
from speechkit.fsa.topology import ctc_topology

Doubles = npt.NDArray[np.float64]
TopologyName = Literal["ctc", "ctc-modified", "chain"]
PROPAGATION_STEPS = 100


def chain_topology(num_tokens: int) -> Graph:
    """Kaldi's chain topology over tokens 1..`num_tokens` - 1: one state, whose first frame has a column of its own.

    Column 2(u - 1) is the first frame of token u, column 2(u - 1) + 1 every further one. There is no blank. All scores
    are 0, as in Kaldi's training (transition scale 0); aux "token" marks the first frames.
    """
    tokens = np.arange(1, num_tokens)
    source = np.repeat(np.arange(num_tokens), len(tokens))
    entered = np.tile(tokens, num_tokens)
    columns = {
        "source": np.concatenate([source, tokens, tokens]),
        "destination": np.concatenate([entered, tokens, np.full_like(tokens, num_tokens)]),
        "label": np.concatenate([2 * (entered - 1), 2 * (tokens - 1) + 1, np.full_like(tokens, FINAL_LABEL)]),
        "token": np.concatenate([entered, np.zeros(2 * len(tokens), np.int64)]),
    }
    return _graph(columns, np.zeros(len(columns["source"])), num_tokens + 1, ("token",))


def token_ngram_graph(
    ngram: Graph, num_tokens: int, topology: TopologyName = "ctc", *, max_arcs: int | None = None
) -> Graph:
    """The denominator: every frame sequence of every token sequence, weighted by the n-gram.

    Args:
        ngram: acceptor of tokens 1..`num_tokens` - 1 with natural-log weights, as `speechkit.lm.token_ngram` makes it.
        topology: "ctc" (blank 0, equal neighbours need a blank between them), "ctc-modified" (they need none; fewer
            arcs), or "chain" (two columns per token, no blank).
        max_arcs: the size to refuse beforehand.

    Returns:
        A graph with aux "token" on the first frame of each token.

    Raises:
        SpeechkitError: more than `max_arcs` arcs; the message names the remedies.
    """
    if max_arcs is not None:
        remedy = "take phones as units, a lower order or fewer states of the n-gram, or allow more (max_den_arcs)"
        remedy = remedy if topology == "ctc-modified" else f"take the topology ctc-modified, {remedy}"
        what = f"a denominator of {num_tokens - 1} tokens and an n-gram of {ngram.num_states} states"
        check_arcs(denominator_arcs(ngram, num_tokens, topology), max_arcs, what, remedy)
    made = chain_topology(num_tokens) if topology == "chain" else ctc_topology(num_tokens, standard=topology == "ctc")
    return compose(made, ngram)


def denominator_arcs(ngram: Graph, num_tokens: int, topology: TopologyName) -> int:
    """Arcs that composing a deterministic n-gram takes, counted beforehand: of the result, or of a larger topology."""
    emitting = ngram.label != FINAL_LABEL
    ends, states = ngram.source[~emitting], np.arange(ngram.num_states - 1)
    outgoing = np.bincount(ngram.source[emitting], minlength=ngram.num_states)
    final = np.bincount(ends, minlength=ngram.num_states)
    # Pairs of the token that was read last and the state that it led to.
    token, after = np.unique(np.stack([ngram.label, ngram.destination])[:, emitting], axis=1)
    onward = outgoing[after] + final[after]
    if topology == "chain":
        return max(num_tokens**2, int(outgoing[0] + (onward + 1).sum()))
    if topology == "ctc-modified":
        return int((1 + 2 * outgoing + final)[states].sum()) + 2 * len(after)
    arcs = set(zip(ngram.source[emitting].tolist(), ngram.label[emitting].tolist(), strict=True))
    repeated = sum(pair in arcs for pair in zip(after.tolist(), token.tolist(), strict=True))
    return max(num_tokens**2, int((1 + outgoing + final)[states].sum() + (onward + 2).sum()) - repeated)


def compose(graph: Graph, tokens: Graph) -> Graph:
    """The paths of `graph` whose sequence of aux "token" is one that `tokens` accepts, scores added.

    Returns:
        A graph without dead ends (of no states where no path is left), with the aux labels of `graph` and the aux
        "position", the state of `tokens` after each arc: for a linear `tokens`, how many tokens have begun.
    """
    return Composer(graph)(tokens)


class Composer:
    """Composes one graph, whose arcs it sorts once, with many acceptors of tokens (`compose` says what comes out)."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.silent: defaultdict[int, list[int]] = defaultdict(list)
        self.entering: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        self.ends: defaultdict[int, list[int]] = defaultdict(list)
        rows = zip(graph.source.tolist(), graph.label.tolist(), graph.aux["token"].tolist(), strict=True)
        for arc, (source, label, token) in enumerate(rows):
            if label == FINAL_LABEL:
                self.ends[source].append(arc)
            elif token == NO_AUX:
                self.silent[source].append(arc)
            else:
                self.entering[source, token].append(arc)
        self.destination = graph.destination.tolist()

    def __call__(self, tokens: Graph) -> Graph:
        """Compose."""
        if 0 in (self.graph.num_states, tokens.num_states):
            return _EMPTY
        leaving = _leaving(tokens)
        numbers = {(0, 0): 0}
        queue = [(0, 0)]
        found: list[tuple[int, int, int, int, int]] = []  # from, to, arc of the graph, arc of tokens or -1, position

        def reach(here: int, arc: int, token_arc: int, place: int) -> None:
            target = self.destination[arc], place
            if target not in numbers:
                numbers[target] = len(queue)
                queue.append(target)
            found.append((here, numbers[target], arc, token_arc, place))

        for here, (state, place) in enumerate(queue):  # the queue grows
            for arc in self.silent[state]:
                reach(here, arc, -1, place)
            for token_arc, token, after in leaving[place]:
                if token == FINAL_LABEL:
                    found += [(here, -1, arc, token_arc, NO_AUX) for arc in self.ends[state]]
                else:
                    for arc in self.entering.get((state, token), ()):
                        reach(here, arc, token_arc, after)
        return self._collect(tokens, found, len(queue))

    def _collect(self, tokens: Graph, found: list[tuple[int, int, int, int, int]], final: int) -> Graph:
        source, destination, arc, token_arc, position = np.array(found, dtype=np.int64).reshape(len(found), 5).T
        score = self.graph.score[arc].astype(np.float64)
        weighted = token_arc >= 0
        score[weighted] += tokens.score[token_arc[weighted]]
        columns = {
            "source": source,
            "destination": np.where(destination < 0, final, destination),
            "label": self.graph.label[arc],
            **{name: values[arc] for name, values in self.graph.aux.items()},
            "position": position,
        }
        names = [name for name in columns if name not in ("source", "destination", "label")]
        return connected(_graph(columns, score, final + 1, tuple(names)))


def _leaving(graph: Graph) -> list[list[tuple[int, int, int]]]:
    """For each state the arcs that leave it, as (arc, label, destination)."""
    leaving: list[list[tuple[int, int, int]]] = [[] for _ in range(graph.num_states)]
    rows = zip(graph.source.tolist(), graph.label.tolist(), graph.destination.tolist(), strict=True)
    for arc, (source, label, destination) in enumerate(rows):
        leaving[source].append((arc, label, destination))
    return leaving


def connected(graph: Graph) -> Graph:
    """The graph without the states from which, or to which, no path leads; of no states where none is left."""
    alive = _reached(graph.num_states, [0], graph.source, graph.destination)
    alive &= _reached(graph.num_states, [graph.num_states - 1], graph.destination, graph.source)
    if graph.num_states == 0 or not alive[0]:
        return _EMPTY
    if alive.all():
        return graph
    number = np.cumsum(alive) - 1
    kept = alive[graph.source] & alive[graph.destination]
    columns: dict[str, npt.NDArray[Any]] = {
        "source": number[graph.source[kept]],
        "destination": number[graph.destination[kept]],
        "label": graph.label[kept],
        **{name: values[kept] for name, values in graph.aux.items()},
    }
    return _graph(columns, graph.score[kept], int(alive.sum()), tuple(graph.aux))


def _reached(
    num_states: int, start: list[int], source: npt.NDArray[Any], destination: npt.NDArray[Any]
) -> npt.NDArray[np.bool_]:
    reached = np.zeros(num_states, bool)
    count = 0
    if num_states:
        reached[start] = True
    while count < (count := int(reached.sum())):
        reached[destination[reached[source]]] = True
    return reached


def initial_probs(graph: Graph, steps: int = PROPAGATION_STEPS) -> Doubles:
    """How often a path is in each state: started in state 0, propagated `steps` frames, averaged over them.

    The weights of the arcs that leave a state are taken relative to their sum (KD src/chain/chain-den-graph.cc).

    Returns:
        Probabilities of the states, `(num_states,)`; that of the final one is 0.
    """
    emitting = graph.label != FINAL_LABEL
    source, destination = graph.source[emitting], graph.destination[emitting]
    weight = np.exp(graph.score[emitting].astype(np.float64))
    total = np.bincount(source, weight, minlength=graph.num_states)
    weight /= total[source]
    current: Doubles = np.eye(1, graph.num_states)[0]
    average: Doubles = np.zeros(graph.num_states)
    for _ in range(steps):
        average += current / steps
        current = np.bincount(destination, current[source] * weight, minlength=graph.num_states).astype(np.float64)
    normalised: Doubles = average / average.sum()
    return normalised


def leaky(graph: Graph, leak: float, initial: Doubles) -> Graph:
    """Kaldi's leaky HMM without epsilons: after every frame, `leak` of the mass of all states jumps to `initial`.

    One more state holds the mass that leaks. An arc into it stands for every (state, label) that emits; an arc out of
    it for every (label, state) that can be entered, with the weights that `initial` averages. That is exact, and only
    about doubles the arcs, where the matrix A + leak 1 pi^T would have states x states x labels of them. The arcs of
    `graph` stay as they are, so its sub-graphs stay sub-graphs (Povey et al. 2016, section 2.4 and KD
    src/chain/chain-denominator.cc: alpha'(t) = alpha(t) + leak pi sum(alpha(t))).

    Args:
        leak: share of the mass, such as 1e-5; Kaldi's recipes take 0.1.
        initial: probabilities of the states, such as `initial_probs(graph)`.
    """
    final, virtual = graph.num_states - 1, graph.num_states - 1
    emitting = graph.label != FINAL_LABEL
    with np.errstate(divide="ignore"):
        averaged = graph.score + np.log(initial)[graph.source]
    out_label, out_state, out_score = _summed(
        graph.label.astype(np.int64), graph.destination.astype(np.int64), averaged
    )
    reachable = out_score > -np.inf
    out_label, out_state, out_score = out_label[reachable], out_state[reachable], out_score[reachable]
    emits = out_label != FINAL_LABEL
    in_state, in_label, in_score = _summed(
        np.concatenate([graph.source[emitting], np.full(int(emits.sum()), virtual)]).astype(np.int64),
        np.concatenate([graph.label[emitting], out_label[emits]]).astype(np.int64),
        np.concatenate([graph.score[emitting], out_score[emits]]),
    )
    columns: dict[str, npt.NDArray[Any]] = {
        "source": np.concatenate([graph.source, np.full_like(out_state, virtual), in_state]),
        "destination": np.concatenate(
            [
                np.where(graph.destination == final, final + 1, graph.destination),
                np.where(out_state == final, final + 1, out_state),
                np.full_like(in_state, virtual),
            ]
        ),
        "label": np.concatenate([graph.label, out_label, in_label]),
    }
    added = len(out_state) + len(in_state)
    columns |= {name: np.concatenate([values, np.zeros(added, np.int32)]) for name, values in graph.aux.items()}
    score = np.concatenate([graph.score, out_score, in_score + np.log(leak)])
    return _graph(columns, score, graph.num_states + 1, tuple(graph.aux))


def _summed(
    first: npt.NDArray[np.int64], second: npt.NDArray[np.int64], score: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Doubles]:
    """The different pairs of `first` and `second`, and the log of the sum of exp(score) of each."""
    pairs, place = np.unique(np.stack([first, second], 1), axis=0, return_inverse=True)
    total = np.full(len(pairs), -np.inf)
    np.logaddexp.at(total, place.ravel(), score)
    return pairs[:, 0], pairs[:, 1], total


def _graph(
    columns: dict[str, npt.NDArray[Any]], score: npt.NDArray[Any], num_states: int, names: tuple[str, ...]
) -> Graph:
    order = np.argsort(columns["source"], kind="stable")
    source, destination, label = (columns[name][order].astype(np.int32) for name in ("source", "destination", "label"))
    aux = {name: columns[name][order].astype(np.int32) for name in names}
    graph = Graph(source, destination, label, score[order].astype(np.float32), num_states, aux)
    graph.check()
    return graph


_EMPTY = Graph.from_arcs([], 0)
