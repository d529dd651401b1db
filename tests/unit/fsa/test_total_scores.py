"""Total scores and their gradients by the built-in engine: compiled loops, and tensor operations in float64."""

import itertools
import math

import numpy as np
import pytest
import torch
from path_cases import chain_with_returns, dense_bigram, log_sum, paths, random_graph, reference_cases
from torch import Tensor
from torch.nn import functional as F

from speechkit.fsa.ctc_batch import ctc_graphs
from speechkit.fsa.graph import Graph, GraphBatch
from speechkit.fsa.intersect import total_scores
from speechkit.fsa.topology import HmmTopology, ctc_graph, ctc_topology, hmm_graph, linear

pytestmark = pytest.mark.usefixtures("dirty_memory")
DTYPES = [torch.float32, torch.float64]


def sums(log_probs: Tensor, lengths: Tensor, graphs: GraphBatch, arcs: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """Totals, and the gradients of their sum; the one for arcs is another way through the compiled loops."""
    log_probs = log_probs.detach().clone().requires_grad_()
    graphs.score.requires_grad_(arcs)
    totals = total_scores(log_probs, lengths, graphs, engine="torch")
    found = torch.autograd.grad(totals.sum(), [log_probs, graphs.score] if arcs else [log_probs])
    graphs.score.requires_grad_(False)
    assert totals.dtype == torch.float64
    return totals.detach(), found[0], found[1] if arcs else None


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(found.double(), expected.double(), rtol=tolerance, atol=tolerance)


def agree(log_probs: Tensor, lengths: Tensor, graphs: GraphBatch) -> None:
    """Compiled loops in both ways, against tensor operations in float64."""
    totals, labels, arcs = sums(log_probs.double(), lengths, graphs, True)
    assert arcs is not None
    for with_arcs in (False, True):
        found = sums(log_probs.float(), lengths, graphs, with_arcs)
        torch.testing.assert_close(found[0], totals, rtol=1e-6, atol=1e-4)
        close(found[1], labels)
        if found[2] is not None:
            close(found[2], arcs)


@pytest.mark.parametrize("arcs", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_of_k2(dtype: torch.dtype, arcs: bool) -> None:
    for case in reference_cases():
        totals, labels, counts = sums(case.log_probs.to(dtype), case.lengths, case.graphs, arcs)
        close(totals, case.totals, 1e-6)
        close(labels, case.label_counts)
        if counts is not None:
            close(counts, case.arc_counts)


@pytest.mark.parametrize("arcs", [False, True])
@pytest.mark.parametrize("cyclic", [False, True])
def test_every_path_of_small_graphs(cyclic: bool, arcs: bool) -> None:
    rng = np.random.default_rng(1)
    graphs = [random_graph(rng, 3, cyclic=cyclic) for _ in range(30)]
    log_probs = torch.from_numpy(rng.normal(size=(30, 5, 3)).astype(np.float32) * 2)
    lengths = torch.from_numpy(rng.integers(0, 6, 30))
    totals, labels, counts = sums(log_probs, lengths, GraphBatch.from_graphs(graphs), arcs)
    expected = torch.zeros(30, 5, 3)
    expected_counts = [np.zeros(graph.num_arcs) for graph in graphs]
    for n, (graph, length) in enumerate(zip(graphs, lengths.tolist(), strict=True)):
        found = list(paths(graph, log_probs[n, :length]))
        total = log_sum([score for score, _ in found])
        assert float(totals[n]) == pytest.approx(total, rel=1e-6, abs=1e-5)
        for score, path in found:
            for frame, arc in enumerate(path[:-1]):
                expected[n, frame, graph.label[arc]] += math.exp(score - total)
            for arc in path:
                expected_counts[n][arc] += math.exp(score - total)
    close(labels, expected)
    if counts is not None:
        close(counts, torch.from_numpy(np.concatenate(expected_counts)))


@pytest.mark.parametrize("sharpness", [1.0, 30.0])
@pytest.mark.parametrize(("frames", "tokens", "size"), [(60, 20, 8), (60, 20, 80), (1500, 400, 30)])
def test_ctc_of_torch(frames: int, tokens: int, size: int, sharpness: float) -> None:
    torch.manual_seed(0)
    log_probs = (torch.randn(4, frames, size) * sharpness).log_softmax(-1)
    lengths = torch.tensor([frames, frames * 2 // 3, 0, frames - 1])
    targets = torch.randint(1, size, (4, tokens))
    target_lengths = torch.tensor([tokens, tokens // 3, 0, 1])
    totals, labels, _ = sums(log_probs, lengths, ctc_graphs(targets, target_lengths), False)
    exact = log_probs.double().requires_grad_()
    arguments = (exact.transpose(0, 1), targets, lengths, target_lengths)
    expected = -F.ctc_loss(*arguments, reduction="none")
    # Without frames, torch 1.13 gives what was in the memory.
    torch.testing.assert_close(totals, expected.detach().where(lengths > 0, totals.new_zeros(())), rtol=1e-6, atol=1e-4)
    # torch's gradient is that of log_softmax, too: occupation is what it takes off the probabilities.
    (gradient,) = torch.autograd.grad(-expected.sum(), exact)
    inside = (torch.arange(frames) < lengths[:, None])[:, :, None]
    close(labels, (exact.exp() - gradient).detach() * inside, 1e-4)


def test_survivors_far_below_the_best_of_a_frame() -> None:
    """A path that is e^-9000 times as likely as others half way may be the only one in the end."""
    frames = 300
    log_probs = torch.full((2, frames, 4), -60.0)
    log_probs[:, : frames // 2, 1] = 0
    log_probs[:, frames // 2 :, 2] = 0
    log_probs[1, 7, 3] = -2000.0
    lengths = torch.tensor([frames, frames - 3])
    # All of token 3 lies where it is least likely, or where token 2 has its turn.
    agree(log_probs, lengths, GraphBatch.from_graphs([ctc_graph([1, 3, 2]), ctc_graph([2, 3, 1, 3])]))
    agree(log_probs, lengths, GraphBatch.from_graphs([linear([2] * frames), linear([3] * (frames - 3))]))


@pytest.mark.parametrize("sharpness", [1.0, 20.0, 2000.0])
def test_denominators_in_lanes(sharpness: float) -> None:
    """More utterances than lanes, of different lengths, on graphs that many of them share."""
    rng = np.random.default_rng(2)
    torch.manual_seed(2)
    log_probs = (torch.randn(19, 30, 13) * sharpness).log_softmax(-1)
    lengths = torch.from_numpy(rng.integers(0, 31, 19))
    dense, sparse = dense_bigram(rng, 12), ctc_topology(13, standard=False)
    index = [0, 1, 0, 0, 1, 0, 0, 0, 0, 2, 0, 0, 1, 0, 0, 0, 1, 0, 0]
    agree(log_probs, lengths, GraphBatch.from_graphs([dense, sparse, dense_bigram(rng, 5)], index))


def test_weights_of_any_size() -> None:
    rng = np.random.default_rng(3)
    graph = dense_bigram(rng, 6)
    far = Graph(graph.source, graph.destination, graph.label, graph.score * 300 - 500, graph.num_states)
    log_probs = torch.from_numpy(rng.normal(size=(3, 20, 7)).astype(np.float32) * 30 + 50)
    agree(log_probs, torch.tensor([20, 20, 11]), GraphBatch.shared(far, 3))
    hmm = hmm_graph([[[0, 1], [2]], [[1]]], HmmTopology(2), silence=0, silence_prob=0.3)
    agree(log_probs, torch.tensor([20, 9, 11]), GraphBatch.from_graphs([hmm, far, hmm]))


def test_diagonals_on_both_sides() -> None:
    torch.manual_seed(9)
    graphs = GraphBatch.from_graphs([chain_with_returns(40), chain_with_returns(4), ctc_graph([1] * 9)])
    agree(torch.randn(3, 70, 5).mul(10).log_softmax(-1), torch.tensor([70, 30, 50]), graphs)


def test_a_batch_is_its_utterances_in_any_order() -> None:
    rng = np.random.default_rng(4)
    torch.manual_seed(4)
    log_probs = torch.randn(12, 25, 7).log_softmax(-1)
    lengths = torch.from_numpy(rng.integers(5, 26, 12))
    graphs = [ctc_graph(rng.integers(1, 7, 4).tolist()) for _ in range(6)] + [dense_bigram(rng, 6)]
    index = [0, 6, 1, 6, 2, 6, 3, 4, 6, 5, 6, 6]
    totals, labels, _ = sums(log_probs, lengths, GraphBatch.from_graphs(graphs, index), False)
    order = torch.from_numpy(rng.permutation(12))
    shuffled = sums(log_probs[order], lengths[order], GraphBatch.from_graphs(graphs, np.array(index)[order]), False)
    close(shuffled[0], totals[order], 1e-6)
    close(shuffled[1], labels[order], 1e-6)
    for n in range(12):
        length = int(lengths[n])
        alone = sums(log_probs[n : n + 1, :length], lengths[n : n + 1], GraphBatch.shared(graphs[index[n]], 1), False)
        close(alone[0], totals[n : n + 1], 1e-6)
        close(alone[1], labels[n : n + 1, :length], 1e-6)
    assert not labels[torch.arange(25) >= lengths[:, None]].any()


def test_threads_change_nothing() -> None:
    torch.manual_seed(5)
    log_probs = torch.randn(20, 200, 30).log_softmax(-1)
    lengths = torch.randint(100, 201, (20,))
    targets = torch.randint(1, 30, (20, 40))
    threads, results = torch.get_num_threads(), []
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            graphs = ctc_graphs(targets, torch.full((20,), 40))
            results.append(sums(log_probs, lengths, graphs, False)[:2])
            shared = GraphBatch.shared(dense_bigram(np.random.default_rng(0), 29), 20)
            results[-1] += sums(log_probs, lengths, shared, False)[:2]
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, three) for one, three in zip(*results, strict=True))


@pytest.mark.parametrize("arcs", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_without_a_path(dtype: torch.dtype, arcs: bool) -> None:
    """-inf and no gradient, which the others do not notice; NaN behind the end of an utterance counts for nothing."""
    torch.manual_seed(6)
    log_probs = torch.randn(8, 4, 3, dtype=dtype).log_softmax(-1)
    log_probs[1, 2:] = math.nan
    log_probs[2, 1] = -math.inf
    empty, stuck, short = Graph.from_arcs([], 0), Graph.from_arcs([(0, 0, 1, 0.0)], 2), linear([])
    graphs = [linear([1, 2]), linear([1, 2]), ctc_graph([1]), empty, stuck, ctc_graph([1, 1, 2]), short]
    batch = GraphBatch.from_graphs(graphs, [0, 1, 2, 3, 4, 5, 6, 6])
    totals, labels, counts = sums(log_probs, torch.tensor([4, 2, 4, 3, 4, 4, 4, 3]), batch, arcs)
    assert torch.isfinite(totals).nonzero()[:, 0].tolist() == [1, 5]
    assert (totals[[0, 2, 3, 4, 6, 7]] == -math.inf).all()
    assert torch.isfinite(labels).all()
    assert labels.sum((1, 2)).tolist() == pytest.approx([0, 2, 0, 0, 0, 4, 0, 0])
    assert counts is None or torch.isfinite(counts).all()
    assert float(totals[1]) == pytest.approx(float(log_probs[1, 0, 1] + log_probs[1, 1, 2]))


@pytest.mark.parametrize("arcs", [False, True])
def test_nan_is_told(arcs: bool) -> None:
    log_probs = torch.zeros(4, 5, 3)
    log_probs[1, 2, 1] = math.nan
    log_probs[2, 2, 1] = math.inf
    log_probs[3, 2, 2] = math.nan
    graphs = GraphBatch.from_graphs([ctc_graph([1])] * 4)
    totals, labels, _ = sums(log_probs, torch.full((4,), 5), graphs, arcs)
    assert torch.isnan(totals).tolist() == [False, True, True, False]
    assert torch.isnan(labels.sum((1, 2))).tolist() == [False, True, True, False]


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_utterances_and_no_frames(dtype: torch.dtype) -> None:
    nothing = torch.zeros(0, 5, 3, dtype=dtype, requires_grad=True)
    totals = total_scores(nothing, torch.zeros(0, dtype=torch.int64), GraphBatch.from_graphs([]), engine="torch")
    totals.sum().backward()
    assert totals.shape == (0,)
    assert nothing.grad is not None
    straight = Graph.from_arcs([(0, 1, -1, -0.5), (0, 1, -1, -1.5), (0, 0, 0, 0.0)], 2)
    graphs = GraphBatch.from_graphs([straight, linear([1]), ctc_graph([]), ctc_graph([1])])
    totals, labels, counts = sums(torch.zeros(4, 0, 3, dtype=dtype), torch.zeros(4, dtype=torch.int64), graphs, True)
    assert totals.tolist() == pytest.approx([math.log(math.exp(-0.5) + math.exp(-1.5)), -math.inf, 0, -math.inf])
    assert labels.shape == (4, 0, 3)
    assert counts is not None
    assert float(counts.sum()) == pytest.approx(2)


def test_gradients_by_finite_differences() -> None:
    rng = np.random.default_rng(7)
    graphs = GraphBatch.from_graphs([ctc_graph([1, 1]), dense_bigram(rng, 3)], [0, 1, 1])
    log_probs = torch.from_numpy(rng.normal(size=(3, 6, 4))).requires_grad_()
    lengths = torch.tensor([6, 4, 5])
    assert torch.autograd.gradcheck(lambda x: total_scores(x, lengths, graphs, engine="torch"), (log_probs,))
    scale = torch.tensor([0.5, -2.0, 3.0], dtype=torch.float64)
    for arcs, name in itertools.product((False, True), ("log_probs", "score")):
        if name == "score" and not arcs:
            continue
        single = log_probs.detach().float().requires_grad_()
        graphs.score.requires_grad_(arcs)
        loss = (total_scores(single, lengths, graphs, engine="torch") * scale).sum()
        loss.backward()
        gradient = single.grad if name == "log_probs" else graphs.score.grad
        assert gradient is not None
        values = single.detach() if name == "log_probs" else graphs.score.detach()
        graphs.score.requires_grad_(False)
        for place in rng.integers(0, values.numel(), 12).tolist():
            sides = []
            for step in (0.01, -0.01):
                kept = float(values.view(-1)[place])
                values.view(-1)[place] += step
                sides.append(float((total_scores(single.detach(), lengths, graphs, engine="torch") * scale).sum()))
                values.view(-1)[place] = kept
            assert float(gradient.view(-1)[place]) == pytest.approx((sides[0] - sides[1]) / 0.02, abs=2e-3)
        graphs.score.grad = None


def test_gradients_reach_half_precision_and_views() -> None:
    torch.manual_seed(8)
    graphs = GraphBatch.from_graphs([ctc_graph([1, 2])])
    half = torch.randn(7, 1, 4).log_softmax(-1).bfloat16().requires_grad_()
    total_scores(half.transpose(0, 1), torch.tensor([7]), graphs, engine="torch").sum().backward()
    assert half.grad is not None
    assert half.grad.dtype == torch.bfloat16
    assert half.grad.float().sum() == pytest.approx(7, abs=0.1)


def test_what_does_not_fit_is_refused() -> None:
    log_probs, graphs = torch.zeros(2, 5, 3), GraphBatch.from_graphs([linear([1]), linear([3])])
    with pytest.raises(ValueError, match="graphs have label 3, log_probs 3 columns"):
        total_scores(log_probs, torch.tensor([1, 1]), graphs, engine="torch")
    with pytest.raises(ValueError, match=r"lengths \[1, 6\] with log_probs of 5 frames"):
        total_scores(log_probs, torch.tensor([1, 6]), graphs, engine="torch")
    with pytest.raises(ValueError, match="do not fit together"):
        total_scores(log_probs[:1], torch.tensor([1]), graphs, engine="torch")
    wrong = Graph(
        *(np.array([0], np.int32), np.array([7], np.int32), np.array([1], np.int32)), np.zeros(1, np.float32), 2
    )
    with pytest.raises(ValueError, match="an arc of graph 0 names a state that is not there"):
        total_scores(log_probs[:1], torch.tensor([1]), GraphBatch.from_graphs([wrong]), engine="torch")
