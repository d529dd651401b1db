"""Best paths by the built-in engine: compiled search, and the one in tensor operations."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from path_cases import chain_with_returns, dense_bigram, paths, random_graph, reference_cases
from torch import Tensor

from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.fsa import intersect
from speechkit.fsa.ctc_batch import ctc_graphs
from speechkit.fsa.engines import cpu, cpu_layout, tensors
from speechkit.fsa.graph import Graph, GraphBatch
from speechkit.fsa.intersect import best_path, choose_engine
from speechkit.fsa.paths import BestPaths
from speechkit.fsa.topology import HmmTopology, ctc_graph, hmm_graph, linear

pytestmark = pytest.mark.usefixtures("dirty_memory")
Search = Callable[[Tensor, Tensor, GraphBatch], BestPaths]


def compiled(log_probs: Tensor, lengths: Tensor, graphs: GraphBatch) -> BestPaths:
    return best_path(log_probs, lengths, graphs, engine="torch")


def in_small_blocks(log_probs: Tensor, lengths: Tensor, graphs: GraphBatch) -> BestPaths:
    """Memory for very few frames, so that most of them are computed twice."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu, "SEARCH_MEMORY", 40)
        return best_path(log_probs, lengths, graphs, engine="torch")


def in_tensors(log_probs: Tensor, lengths: Tensor, graphs: GraphBatch) -> BestPaths:
    return tensors.best_path(log_probs.double(), lengths, graphs)


SEARCHES = [compiled, in_small_blocks, in_tensors]


def check(found: BestPaths, log_probs: Tensor, lengths: Tensor, graphs: GraphBatch) -> None:
    """The arcs are a path from start to end of the utterance's own graph, and the scores are theirs."""
    for n, length in enumerate(lengths.tolist()):
        alive = float(found.scores[n]) > -math.inf
        assert (found.arcs[n] >= 0).tolist() == [alive and t < length for t in range(log_probs.shape[1])]
        assert not found.arc_scores[n, length:].any()
        if not alive:
            assert int(found.final_arcs[n]) == -1
            assert not found.arc_scores[n].any()
            continue
        arcs = [*found.arcs[n, :length].tolist(), int(found.final_arcs[n])]
        graph = int(graphs.index[n])
        first, last = int(graphs.arc_splits[graph]), int(graphs.arc_splits[graph + 1])
        states = [0] + [int(graphs.destination[arc]) for arc in arcs]
        assert all(first <= arc < last for arc in arcs)
        assert [int(graphs.source[arc]) for arc in arcs] == states[:-1]
        assert states[-1] == int(graphs.state_splits[graph + 1] - graphs.state_splits[graph]) - 1
        scores = [log_probs[n, t, graphs.label[arc]] + graphs.score[arc] for t, arc in enumerate(arcs[:-1])]
        torch.testing.assert_close(found.arc_scores[n, :length], torch.tensor(scores), rtol=1e-5, atol=1e-4)
        assert float(found.scores[n]) == pytest.approx(
            float(sum(scores)) + float(graphs.score[arcs[-1]]), rel=1e-5, abs=1e-4
        )


@pytest.mark.parametrize("search", SEARCHES)
def test_paths_of_k2(search: Search) -> None:
    for case in reference_cases():
        found = search(case.log_probs, case.lengths, case.graphs)
        torch.testing.assert_close(found.scores, case.best, rtol=1e-6, atol=1e-5)
        labels = found.labels(case.graphs)
        assert [row[row >= 0].tolist() for row in labels] == case.best_labels, case.key
        check(found, case.log_probs, case.lengths, case.graphs)


@pytest.mark.parametrize("search", SEARCHES)
def test_every_path_of_small_graphs(search: Search) -> None:
    rng = np.random.default_rng(1)
    graphs = [random_graph(rng, 3) for _ in range(40)]
    log_probs = torch.from_numpy(rng.normal(size=(40, 5, 3)).astype(np.float32))
    lengths = torch.from_numpy(rng.integers(0, 6, 40))
    batch = GraphBatch.from_graphs(graphs)
    found = search(log_probs, lengths, batch)
    check(found, log_probs, lengths, batch)
    for n, (graph, length) in enumerate(zip(graphs, lengths.tolist(), strict=True)):
        best = max((score for score, _ in paths(graph, log_probs[n, :length])), default=-math.inf)
        assert float(found.scores[n]) == pytest.approx(best, rel=1e-6, abs=1e-5)


@pytest.mark.parametrize("search", SEARCHES)
def test_aux_labels_along_the_path(search: Search) -> None:
    torch.manual_seed(2)
    log_probs = torch.randn(3, 40, 12).mul(3).log_softmax(-1)
    lengths = torch.tensor([40, 7, 25])
    words = hmm_graph([[[0, 1], [2]], [[3]]], HmmTopology(2), silence=5, silence_prob=0.3)
    batch = GraphBatch.from_graphs([ctc_graph([1, 1, 2]), ctc_graph([3, 4]), words])
    found = search(log_probs, lengths, batch)
    check(found, log_probs, lengths, batch)
    assert found.aux(batch, "token") == [[1, 1, 2], [3, 4], []]
    assert found.aux(batch, "word") == [[], [], [1, 2]]


@pytest.mark.parametrize("search", SEARCHES)
def test_shared_graphs_and_utterances_without_a_path(search: Search) -> None:
    rng = np.random.default_rng(3)
    torch.manual_seed(3)
    log_probs = torch.randn(9, 12, 6)
    log_probs[3, 5] = -math.inf
    lengths = torch.tensor([12, 3, 0, 12, 1, 12, 9, 12, 2])
    graphs = [dense_bigram(rng, 5), linear([1, 2, 3]), Graph.from_arcs([], 0), linear([])]
    batch = GraphBatch.from_graphs(graphs, [0, 1, 0, 0, 1, 2, 3, 3, 0])
    found = search(log_probs, lengths, batch)
    assert (found.scores == -math.inf).nonzero()[:, 0].tolist() == [3, 4, 5, 6, 7]
    check(found, log_probs, lengths, batch)
    nothing = search(log_probs[:0], lengths[:0], GraphBatch.from_graphs([]))
    assert nothing.arcs.shape == (0, 12)


@pytest.mark.parametrize("beam", [None, 5.0])
def test_no_state_is_left_before_the_end(beam: float | None) -> None:
    """Where arrays end is only checked with NUMBA_BOUNDSCHECK=1, as .ci/run does."""
    never_ends = Graph.from_arcs([(0, 1, 0, 0.0), (0, 1, 1, 0.0)], 3)
    batch = GraphBatch.from_graphs([never_ends, linear([0, 1])], [0, 1, 0, 1])
    lengths = torch.tensor([7, 7, 1, 2])
    found = best_path(torch.zeros(4, 7, 2), lengths, batch, engine="torch", beam=beam)
    assert found.scores.tolist() == [-math.inf, -math.inf, -math.inf, 0.0]


@pytest.mark.parametrize("beam", [None, 1000.0])
def test_diagonals_on_both_sides(beam: float | None) -> None:
    torch.manual_seed(9)
    log_probs, lengths = torch.randn(3, 70, 5).mul(10).log_softmax(-1), torch.tensor([70, 30, 50])
    batch = GraphBatch.from_graphs([chain_with_returns(40), chain_with_returns(4), ctc_graph([1] * 9)])
    expected = in_tensors(log_probs, lengths, batch)
    found = best_path(log_probs, lengths, batch, engine="torch", beam=beam)
    assert torch.equal(found.arcs, expected.arcs)
    assert torch.equal(found.arcs, in_small_blocks(log_probs, lengths, batch).arcs)


@pytest.mark.parametrize("search", [compiled, in_small_blocks])
@pytest.mark.parametrize("sharpness", [0.5, 3.0, 8.0, 20.0, 60.0])
@pytest.mark.parametrize("errors", [0.0, 0.1, 0.5])
def test_what_is_dropped_on_the_way_is_never_missed(errors: float, sharpness: float, search: Search) -> None:
    """Models that know nothing, little or all, and hear something else than what is to be aligned."""
    torch.manual_seed(8)
    targets = torch.randint(1, 12, (6, 60))
    labels = torch.zeros(6, 300, dtype=torch.int64)
    labels[:, 20:260:4] = torch.where(torch.rand(6, 60) < errors, torch.randint(0, 12, (6, 60)), targets)
    log_probs = torch.randn(6, 300, 12).scatter_add(2, labels[:, :, None], torch.full((6, 300, 1), sharpness))
    log_probs, lengths = log_probs.log_softmax(-1), torch.tensor([300, 280, 261, 150, 300, 200])
    hmm = hmm_graph([[[int(unit)]] for unit in targets[5, :30] // 3], HmmTopology(3), silence=0)
    rows = [ctc_graph(row.tolist()) for row in targets[:5]]
    batch = GraphBatch.from_graphs([*rows, hmm])
    found, expected = search(log_probs, lengths, batch), in_tensors(log_probs, lengths, batch)
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-9, atol=1e-9)
    assert torch.equal(found.arcs, expected.arcs)
    check(found, log_probs, lengths, batch)


def test_a_path_far_behind_the_best_of_its_frames() -> None:
    """For most of the time another one leads by more than any beam, and then goes where it cannot end."""
    log_probs = torch.full((1, 400, 3), -1.0)
    log_probs[:, :300, 1] = 0.0
    log_probs[:, 300:, 2] = 0.0
    log_probs[:, 399, 1] = -1e4
    stay, leave = [(i, i, 1, 0.0) for i in range(1, 70)], [(i, i + 1, 2, 0.0) for i in range(1, 70)]
    end = [(70, 71, -1, 0.0), (0, 1, 2, -5.0), (0, 70, 1, 0.0), (70, 70, 1, 0.0)]
    batch = GraphBatch.from_graphs([Graph.from_arcs([*stay, *leave, *end], 72)])
    found, expected = (each(log_probs, torch.tensor([400]), batch) for each in (compiled, in_tensors))
    torch.testing.assert_close(found.scores, expected.scores)
    check(found, log_probs, torch.tensor([400]), batch)


def test_long_recordings_keep_few_frames() -> None:
    """What is kept grows with the square root of the length, and the path is the same."""
    lengths, graphs = np.array([360_000, 360_000, 100, 0]), np.zeros((4, 13), np.int64)
    graphs[:, cpu_layout.STATES] = [30_000, 30_000, 10, 1]
    graphs[0, cpu_layout.KIND] = cpu_layout.BANDED
    sizes = cpu.block_sizes(lengths, graphs, cpu.SEARCH_MEMORY)
    assert sizes.tolist() == [1697, 600, 100, 1]
    work = cpu.best_work(lengths, graphs, sizes)
    assert sum(array.nbytes for array in work) < 400e6
    torch.manual_seed(4)
    log_probs = torch.randn(2, 3000, 20).log_softmax(-1)
    targets = torch.randint(1, 20, (2, 150))
    batch = ctc_graphs(targets, torch.tensor([150, 10]))
    whole, blocks = (search(log_probs, torch.tensor([3000, 2999]), batch) for search in (compiled, in_small_blocks))
    assert torch.equal(whole.arcs, blocks.arcs)
    assert torch.equal(whole.scores, blocks.scores)


def test_beams_give_up_exactness_only() -> None:
    torch.manual_seed(5)
    log_probs = torch.randn(2, 400, 30).mul(4).log_softmax(-1)
    lengths, targets = torch.tensor([400, 380]), torch.randint(1, 30, (2, 60))
    for batch in (
        ctc_graphs(targets, torch.tensor([60, 60])),
        GraphBatch.shared(dense_bigram(np.random.default_rng(0), 29), 2),
    ):
        exact = best_path(log_probs, lengths, batch, engine="torch")
        wide = best_path(log_probs, lengths, batch, engine="torch", beam=300.0)
        assert torch.equal(exact.arcs, wide.arcs)
        narrow = best_path(log_probs, lengths, batch, engine="torch", beam=8.0)
        check(narrow, log_probs, lengths, batch)
        assert (narrow.scores <= exact.scores).all()
    with pytest.raises(ValueError, match="the beam is 0"):
        best_path(log_probs, lengths, batch, beam=0.0)


def test_nan_is_told() -> None:
    log_probs = torch.zeros(3, 200, 3)
    log_probs[1, 2, 1] = math.nan
    log_probs[2, 2, 2] = -math.nan
    for tokens in ([1], [1] * 40):
        graphs = GraphBatch.from_graphs([ctc_graph(tokens)] * 3)
        found = best_path(log_probs, torch.full((3,), 200), graphs, engine="torch")
        assert torch.isnan(found.scores).tolist() == [False, True, False]
        assert (found.arcs[1] == -1).all()


def test_alignments_of_torchaudio() -> None:
    functional = pytest.importorskip("torchaudio.functional", exc_type=ImportError)
    torch.manual_seed(6)
    log_probs = torch.randn(3, 200, 30).mul(5).log_softmax(-1)
    targets = torch.randint(1, 30, (3, 50))
    batch = ctc_graphs(targets, torch.full((3,), 50))
    found = best_path(log_probs, torch.full((3,), 200), batch, engine="torch")
    for n in range(3):
        labels, scores = functional.forced_align(log_probs[n : n + 1], targets[n : n + 1])
        assert torch.equal(labels[0].long(), found.labels(batch)[n])
        torch.testing.assert_close(found.arc_scores[n], scores[0])


def test_engines_are_chosen_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_engine("torch") == "torch"
    with pytest.raises(UsageError, match="no FSA engine 'htk': choose one of auto, torch, k2"):
        choose_engine("htk")
    monkeypatch.setitem(__import__("sys").modules, "k2", None)
    intersect._k2_imports.cache_clear()
    assert choose_engine("auto") == "torch"
    with pytest.raises(SpeechkitError, match="k2 does not import"):
        choose_engine("k2")
    intersect._k2_imports.cache_clear()
