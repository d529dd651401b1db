"""k2 and the built-in engine on the same random batches: 250 of them, of all topologies."""

import math
from collections.abc import Callable

import pytest
import torch
from random_cases import KINDS, SEEDS, Case, make_case

from speechkit.fsa.graph import Graph, GraphBatch
from speechkit.fsa.intersect import arc_posteriors, best_path, total_scores
from speechkit.fsa.paths import BestPaths
from speechkit.fsa.topology import HmmTopology, ctc_graph, hmm_graph, linear

pytest.importorskip("k2", reason="k2 is not installed: tests/run_k2.sh runs these tests with it")
pytest.importorskip("numba", reason="the built-in engine needs numba")

ENGINES = ("k2", "torch")


def differentiated(case: Case, engine: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Total scores and the gradients, in log-probs and in arc scores, of their sum with uneven weights."""
    log_probs = case.log_probs.clone().requires_grad_()
    graphs = GraphBatch(**{**vars(case.graphs), "score": case.graphs.score.clone().requires_grad_()})
    totals = total_scores(log_probs, case.lengths, graphs, engine=engine)
    weights = torch.linspace(0.5, 2, len(totals), dtype=torch.float64)
    (weights * totals).sum().backward()
    zeros = [torch.zeros_like(leaf) for leaf in (log_probs, graphs.score)]
    grads = [
        zero if leaf.grad is None else leaf.grad for zero, leaf in zip(zeros, (log_probs, graphs.score), strict=True)
    ]
    return totals.detach(), grads[0], grads[1]


def best_two(graph: Graph, log_probs: torch.Tensor) -> tuple[float, float]:
    """Scores of the best path and of the next best one, by the two best partial paths into every state, in float64."""
    partial: list[list[float]] = [[0.0]] + [[] for _ in range(graph.num_states - 1)]
    arcs = list(zip(*(a.tolist() for a in (graph.source, graph.destination, graph.label, graph.score)), strict=True))

    def step(frame: list[float] | None) -> list[list[float]]:
        reached: list[list[float]] = [[] for _ in range(graph.num_states)]
        for source, destination, label, score in arcs:
            if (label < 0) == (frame is None):
                gain = score + (0.0 if frame is None else frame[label])
                reached[destination] += [before + gain for before in partial[source] if before + gain > -math.inf]
        return [sorted(scores, reverse=True)[:2] for scores in reached]

    for frame in log_probs.double().tolist():
        partial = step(frame)
    ends = step(None)[-1] if graph.num_states else []
    first, second = [*ends, -math.inf, -math.inf][:2]
    return first, second


def check_path(case: Case, best: BestPaths, row: int) -> None:
    """The arcs of an utterance's path follow each other and add up to its score."""
    graphs, length = case.graphs, int(case.lengths[row])
    arcs = best.arcs[row]
    assert (arcs[length:] == -1).all()
    assert (best.arc_scores[row, length:] == 0).all()
    if best.scores[row] == -math.inf:
        assert (arcs == -1).all()
        assert best.final_arcs[row] == -1
        return
    path = torch.cat([arcs[:length], best.final_arcs[row : row + 1]])
    assert ((path >= graphs.arc_splits[graphs.index[row]]) & (path < graphs.arc_splits[graphs.index[row] + 1])).all()
    assert graphs.source[path[0]] == 0
    assert (graphs.destination[path[:-1]] == graphs.source[path[1:]]).all()
    assert graphs.label[path[-1]] == -1
    frames = case.log_probs[row, torch.arange(length), graphs.label[path[:-1]].long()] + graphs.score[path[:-1]]
    torch.testing.assert_close(best.arc_scores[row, :length], frames)
    total = frames.double().sum() + graphs.score[path[-1]]
    torch.testing.assert_close(total, best.scores[row], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_total_scores_and_gradients(kind: str) -> None:
    for seed in SEEDS:
        case = make_case(kind, seed)
        for name, found, expected in zip(
            ("totals", "log-probs", "arcs"),
            *(differentiated(case, engine) for engine in reversed(ENGINES)),
            strict=True,
        ):
            message = f"{kind}, seed {seed}, {name}: "
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4, msg=lambda m, at=message: at + m)


@pytest.mark.parametrize("kind", KINDS)
def test_best_paths(kind: str) -> None:
    unique = 0
    for seed in SEEDS:
        case = make_case(kind, seed)
        found = [best_path(case.log_probs, case.lengths, case.graphs, engine=engine) for engine in ENGINES]
        torch.testing.assert_close(found[0].scores, found[1].scores, rtol=1e-5, atol=1e-5)
        for row, length in enumerate(case.lengths.tolist()):
            for best in found:
                check_path(case, best, row)
            graph = case.graphs.graph(int(case.graphs.index[row]))
            first, second = best_two(graph, case.log_probs[row, :length])
            assert float(found[0].scores[row]) == pytest.approx(first, rel=1e-5, abs=1e-5)
            if first - second > 1e-4 * max(1, abs(first)):
                unique += 1
                assert found[0].arcs[row].tolist() == found[1].arcs[row].tolist()
    assert unique > 0 or kind == "no-arcs"


@pytest.mark.parametrize("kind", KINDS)
def test_arc_posteriors(kind: str) -> None:
    for seed in SEEDS:
        case = make_case(kind, seed)
        both = [arc_posteriors(case.log_probs, case.lengths, case.graphs, engine=engine) for engine in ENGINES]
        for ours, theirs in zip(*both, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_spoils_the_utterances_that_read_it(value: float) -> None:
    graphs = GraphBatch.from_graphs([ctc_graph([1, 2]), hmm_graph([[[3]], [[1]]], HmmTopology(2))], [0, 1, 0, 1, 0])
    log_probs = torch.randn(5, 8, 9, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    lengths = torch.tensor([5, 6, 8, 7, 0])
    log_probs[0, 2, 1] = log_probs[3, 0, 6] = value
    # Read by none: past the length, and in columns of no arc.
    log_probs[1, 6:] = log_probs[2, :, 5] = value
    case = Case(log_probs, lengths, graphs)
    results = [differentiated(case, engine) for engine in ENGINES]
    for ours, theirs in zip(*(found[:2] for found in results), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4, equal_nan=True)
    assert all(found[2].isnan().any() for found in results)
    assert results[0][0].isnan().tolist() == [True, False, False, True, False]
    both = [best_path(log_probs, lengths, graphs, engine=engine) for engine in ENGINES]
    torch.testing.assert_close(both[0].scores, both[1].scores, equal_nan=True)
    assert both[0].arcs.tolist() == both[1].arcs.tolist()
    for pair in zip(*(arc_posteriors(log_probs, lengths, graphs, engine=engine) for engine in ENGINES), strict=True):
        torch.testing.assert_close(*pair, rtol=1e-4, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("engine", ENGINES)
def test_labels_beyond_the_columns_are_refused(engine: str) -> None:
    graphs = GraphBatch.from_graphs([linear([3])])
    with pytest.raises(ValueError, match="label 3.* 3 columns"):
        total_scores(torch.zeros(1, 1, 3), torch.ones(1, dtype=torch.int64), graphs, engine=engine)


FUNCTIONS: dict[str, Callable[..., object]] = {"total": total_scores, "best": best_path, "posteriors": arc_posteriors}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_batch_of_no_utterances(name: str, engine: str) -> None:
    empty = GraphBatch.from_graphs([make_case("ctc", 0).graphs.graph(0)], [])
    lengths = torch.zeros(0, dtype=torch.int64)
    found = FUNCTIONS[name](torch.zeros(0, 3, 12), lengths, empty, engine=engine)
    assert len(found.scores if isinstance(found, BestPaths) else found) == 0
