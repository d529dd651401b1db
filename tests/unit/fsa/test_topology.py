import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
import torch

from speechkit.fsa.graph import Graph
from speechkit.fsa.topology import HmmTopology, ctc_graph, ctc_topology, hmm_graph, linear


def paths(graph: Graph, num_frames: int) -> list[list[int]]:
    """All paths that consume `num_frames`, as lists of arcs."""
    leaving = defaultdict(list)
    for arc, state in enumerate(graph.source.tolist()):
        leaving[state].append(arc)
    found, partial = [], [([], 0)]
    for _ in range(num_frames):
        partial = [
            ([*path, arc], graph.destination[arc])
            for path, state in partial
            for arc in leaving[state]
            if graph.label[arc] >= 0
        ]
    for path, state in partial:
        found += [[*path, arc] for arc in leaving[state] if graph.label[arc] < 0]
    return found


def language(graph: Graph, num_frames: int) -> dict[tuple[int, ...], float]:
    """Frame sequences of one length with their weights, summed over paths, as probabilities."""
    weights: dict[tuple[int, ...], float] = defaultdict(float)
    for path in paths(graph, num_frames):
        weights[tuple(graph.label[path[:-1]].tolist())] += math.exp(graph.score[path].sum(dtype=float))
    return dict(weights)


def outputs(graph: Graph, num_frames: int, name: str) -> set[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Frame sequences with the aux labels along their paths."""
    return {
        (tuple(graph.label[path[:-1]].tolist()), tuple(graph.aux[name][path][graph.aux[name][path] > 0].tolist()))
        for path in paths(graph, num_frames)
    }


def total_probability(graph: Graph) -> float:
    """Weight of all paths of all lengths, from the inverse of I - A over the emitting states."""
    matrix = np.zeros((graph.num_states, graph.num_states))
    np.add.at(matrix, (graph.source, graph.destination), np.exp(graph.score.astype(float)))
    return float(np.linalg.inv(np.eye(graph.num_states) - matrix)[0, -1])


def collapse(frames: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(token for before, token in itertools.pairwise((0, *frames)) if token not in (before, 0))


def forward(graph: Graph, log_probs: torch.Tensor) -> torch.Tensor:
    """Log of the summed weights of all paths over `(T, V)` log-probs, in float64, frame by frame."""
    source, destination = torch.from_numpy(graph.source).long(), torch.from_numpy(graph.destination).long()
    label, score = torch.from_numpy(graph.label).long(), torch.from_numpy(graph.score).double()
    emitting = label >= 0
    alpha = torch.full((graph.num_states,), -torch.inf, dtype=torch.float64)
    alpha[0] = 0
    for frame in log_probs.double():
        reached = torch.full((graph.num_states,), 0.0, dtype=torch.float64)
        step = alpha[source[emitting]] + score[emitting] + frame[label[emitting]]
        reached.index_add_(0, destination[emitting], step.exp())
        alpha = reached.log()
    return torch.logsumexp(alpha[source[~emitting]] + score[~emitting], 0)


def test_linear_reads_its_labels_once() -> None:
    graph = linear([3, 1, 1], score=-0.5)
    assert list(language(graph, 3)) == [(3, 1, 1)]
    assert language(graph, 3)[3, 1, 1] == pytest.approx(math.exp(-1.5))
    assert not language(graph, 2)
    assert language(linear([]), 0) == {(): 1.0}


@pytest.mark.parametrize("tokens", [[], [1], [1, 1], [1, 2, 1], [2, 2, 1]])
@pytest.mark.parametrize("num_frames", [0, 1, 2, 4, 5])
def test_ctc_graph_holds_what_collapses_to_the_tokens(tokens: list[int], num_frames: int) -> None:
    found = language(ctc_graph(tokens), num_frames)
    expected = {f for f in itertools.product(range(3), repeat=num_frames) if collapse(f) == tuple(tokens)}
    assert set(found) == expected
    assert all(weight == 1 for weight in found.values())
    marks = {found for _, found in outputs(ctc_graph(tokens), num_frames, "token")}
    assert marks == ({tuple(tokens)} if expected else set())


def test_modified_ctc_needs_no_blank_between_equal_tokens() -> None:
    graph = ctc_graph([1, 1], standard=False)
    assert set(language(graph, 2)) == {(1, 1)}
    assert language(graph, 3) == {(1, 1, 1): 2, (0, 1, 1): 1, (1, 0, 1): 1, (1, 1, 0): 1}
    assert outputs(graph, 3, "token") == {(frames, (1, 1)) for frames in language(graph, 3)}


@pytest.mark.parametrize("tokens", [[], [2], [1, 2, 3, 1], [3, 3, 2, 2]])
def test_ctc_total_is_torch_ctc_loss(tokens: list[int]) -> None:
    torch.manual_seed(0)
    log_probs = torch.randn(9, 4, dtype=torch.float64).log_softmax(-1)
    loss = torch.nn.functional.ctc_loss(
        log_probs[:, None], torch.tensor([tokens], dtype=torch.int64), [9], [len(tokens)], reduction="sum"
    )
    assert float(forward(ctc_graph(tokens), log_probs)) == pytest.approx(-float(loss), rel=1e-10)


@pytest.mark.parametrize("num_frames", [0, 1, 4])
def test_ctc_topology_reads_every_frame_sequence_once(num_frames: int) -> None:
    graph = ctc_topology(3)
    assert outputs(graph, num_frames, "token") == {
        (frames, collapse(frames)) for frames in itertools.product(range(3), repeat=num_frames)
    }
    assert len(paths(graph, num_frames)) == 3**num_frames


@pytest.mark.parametrize("num_frames", [0, 1, 3, 4])
def test_modified_topology_reads_what_the_modified_graphs_read(num_frames: int) -> None:
    graph = ctc_topology(3, standard=False)
    assert graph.num_arcs == 4 * 3 - 2
    expected = {
        (frames, tokens)
        for length in range(num_frames + 1)
        for tokens in itertools.product((1, 2), repeat=length)
        for frames in language(ctc_graph(tokens, standard=False), num_frames)
    }
    assert outputs(graph, num_frames, "token") == expected
    counts = sum(
        len(paths(ctc_graph(tokens, standard=False), num_frames))
        for length in range(num_frames + 1)
        for tokens in itertools.product((1, 2), repeat=length)
    )
    assert len(paths(graph, num_frames)) == counts


def hmm_language(alternatives, topology, num_frames, silence_prob):
    """The weights of `hmm_graph` by its definition: choose silences and pronunciations, then durations of states."""
    weights: dict[tuple[int, ...], float] = defaultdict(float)
    places = len(alternatives) + 1
    for silent in itertools.product([False, True], repeat=places):
        for chosen in itertools.product(*alternatives):
            weight = math.prod(silence_prob if s else 1 - silence_prob for s in silent)
            weight /= math.prod(len(entries) for entries in alternatives)
            units = [0] * silent[0] + [u for word, s in zip(chosen, silent[1:], strict=True) for u in [*word, *[0] * s]]
            states = [topology.pdf(unit, state) for unit in units for state in range(topology.num_states)]
            for cuts in itertools.combinations(range(1, num_frames), max(len(states) - 1, 0)):
                spans = np.diff([0, *cuts, num_frames])
                if len(states) == len(spans):
                    moves = topology.self_loop ** (num_frames - len(states)) * (1 - topology.self_loop) ** len(states)
                    weights[tuple(np.repeat(states, spans).tolist())] += weight * moves
    return {frames: weight for frames, weight in weights.items() if weight > 0}


@pytest.mark.parametrize("num_states", [1, 2, 3])
@pytest.mark.parametrize("silence_prob", [0.0, 0.3, 1.0])
def test_hmm_graph_against_its_definition(num_states: int, silence_prob: float) -> None:
    topology = HmmTopology(num_states, self_loop=0.6)
    alternatives = [[[1], [2, 1]], [[3]]]
    graph = hmm_graph(alternatives, topology, silence=0, silence_prob=silence_prob)
    for num_frames in range(1, 9):
        expected = hmm_language(alternatives, topology, num_frames, silence_prob)
        assert language(graph, num_frames) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("alternatives", "silence_prob"),
    [([], 0.4), ([[[1, 2]]], 0.0), ([[[1, 2], [3], [2]], [[1, 1], [2]]], 0.5), ([[[1], [2]]], 1.0)],
)
@pytest.mark.parametrize("silence", [HmmTopology(2, 0.3), HmmTopology(3, ergodic=True), HmmTopology(5, ergodic=True)])
def test_weights_of_all_paths_sum_to_one(
    alternatives: list[list[list[int]]], silence_prob: float, silence: HmmTopology
) -> None:
    graph = hmm_graph(alternatives, HmmTopology(), silence=9, silence_prob=silence_prob, silence_topology=silence)
    assert total_probability(graph) == pytest.approx(1, rel=1e-5)


def test_hmm_graph_marks_first_frames() -> None:
    graph = hmm_graph([[[1, 1]], [[2], [1, 2]]], HmmTopology(1), silence=0, silence_prob=0.5)
    # Unit 1 three times: with one state, its columns are the units' ids.
    marks = {name: outputs(graph, 4, name) for name in ("unit", "word", "entry")}
    assert ((1, 1, 1, 2), (2, 2, 3)) in marks["unit"]
    assert ((1, 1, 1, 2), (2, 2, 2, 3)) in marks["unit"]
    assert ((1, 1, 0, 2), (2, 2, 1, 3)) in marks["unit"]
    assert {found for _, found in marks["word"]} == {(1, 2)}
    assert ((1, 1, 1, 2), (1, 1)) in marks["entry"]
    assert ((1, 1, 1, 2), (1, 2)) in marks["entry"]
    arcs = [arc for arc in range(graph.num_arcs) if graph.aux["word"][arc]]
    assert all(graph.aux["unit"][arc] and graph.aux["entry"][arc] for arc in arcs)


def test_graphs_of_too_few_frames_have_no_path() -> None:
    graph = hmm_graph([[[1, 2]]], HmmTopology(3), silence=0)
    assert not paths(graph, 5)
    assert len(paths(graph, 6)) == 1


def test_self_loop_scale_leaves_the_choice_among_other_states() -> None:
    plain = HmmTopology(3).log_transitions(1.0)
    scaled = HmmTopology(3).log_transitions(0.1)
    allowed = np.isfinite(plain)
    np.testing.assert_allclose(scaled[allowed], 0.1 * plain[allowed])
    ergodic = HmmTopology(5, ergodic=True)
    assert ergodic.log_transitions(0.0)[1, 2] == pytest.approx(math.log(1 / 3))
    np.testing.assert_allclose(np.exp(ergodic.log_transitions(1.0)), ergodic.transitions())


def test_ergodic_topology_is_kaldis_silence() -> None:
    assert HmmTopology(5, 0.75, ergodic=True).transitions().tolist() == [
        [0.25, 0.25, 0.25, 0.25, 0, 0],
        [0, 0.25, 0.25, 0.25, 0.25, 0],
        [0, 0.25, 0.25, 0.25, 0.25, 0],
        [0, 0.25, 0.25, 0.25, 0.25, 0],
        [0, 0, 0, 0, 0.75, 0.25],
    ]


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(ValueError, match="word 2 has no pronunciation"):
        hmm_graph([[[1]], []], HmmTopology())
    with pytest.raises(ValueError, match="word 1 has a pronunciation without units"):
        hmm_graph([[[1], []]], HmmTopology())
    with pytest.raises(ValueError, match="columns of unit 4"):
        hmm_graph([[[4]]], HmmTopology(), silence=0, silence_topology=HmmTopology(5, ergodic=True))
    with pytest.raises(ValueError, match="1 to 3 states"):
        HmmTopology(4)
    with pytest.raises(ValueError, match="self-loop"):
        HmmTopology(3, 1.0)
    with pytest.raises(ValueError, match="token 0"):
        ctc_graph([1, 0])
    with pytest.raises(ValueError, match="silence_prob"):
        hmm_graph([[[1]]], HmmTopology(), silence=0, silence_prob=1.5)
