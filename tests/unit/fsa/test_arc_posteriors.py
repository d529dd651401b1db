"""Occupation probabilities of arcs by the built-in engine, compiled and in tensor operations."""

import math

import numpy as np
import pytest
import torch
from path_cases import dense_bigram, log_sum, paths, random_graph, reference_cases

from speechkit.fsa.graph import Graph, GraphBatch
from speechkit.fsa.intersect import arc_posteriors, total_scores
from speechkit.fsa.topology import ctc_graph, linear

pytestmark = pytest.mark.usefixtures("dirty_memory")
DTYPES = [torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_over_frames_are_the_counts_of_k2(dtype: torch.dtype) -> None:
    for case in reference_cases():
        found = arc_posteriors(case.log_probs.to(dtype), case.lengths, case.graphs, engine="torch")
        assert [len(each) for each in found] == case.lengths.tolist()
        counts = torch.cat([each.sum(0) for each in found]).double()
        expected = (case.arc_counts * (case.graphs.label >= 0)).double()
        torch.testing.assert_close(counts, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_path_of_small_graphs(dtype: torch.dtype) -> None:
    rng = np.random.default_rng(1)
    graphs = [random_graph(rng, 3) for _ in range(20)]
    log_probs = torch.from_numpy(rng.normal(size=(20, 5, 3))).to(dtype)
    lengths = torch.from_numpy(rng.integers(0, 6, 20))
    found = arc_posteriors(log_probs, lengths, GraphBatch.from_graphs(graphs), engine="torch")
    for n, (graph, length) in enumerate(zip(graphs, lengths.tolist(), strict=True)):
        expected = torch.zeros(length, graph.num_arcs)
        listed = list(paths(graph, log_probs[n, :length]))
        total = log_sum([score for score, _ in listed])
        for score, path in listed:
            for frame, arc in enumerate(path[:-1]):
                expected[frame, arc] += math.exp(score - total)
        torch.testing.assert_close(found[n], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_shared_graphs_lengths_and_dead_ends(dtype: torch.dtype) -> None:
    torch.manual_seed(2)
    log_probs = torch.randn(5, 9, 5, dtype=dtype).log_softmax(-1)
    log_probs[4, 3] = -math.inf
    lengths = torch.tensor([9, 0, 4, 2, 9])
    graphs = [dense_bigram(np.random.default_rng(0), 4), linear([1]), Graph.from_arcs([], 0), ctc_graph([1, 2])]
    batch = GraphBatch.from_graphs(graphs, [0, 2, 0, 1, 3])
    found = arc_posteriors(log_probs, lengths, batch, engine="torch")
    assert [tuple(each.shape) for each in found] == [(9, 54), (0, 0), (4, 54), (2, 2), (9, 12)]
    assert [each.dtype for each in found] == [torch.float32] * 5
    sums = [[1.0] * 9, [], [1.0] * 4, [0.0] * 2, [0.0] * 9]
    assert [each.sum(1).tolist() for each in found] == [pytest.approx(expected, abs=1e-5) for expected in sums]
    log_probs.requires_grad_()
    total_scores(log_probs, lengths, batch, engine="torch").sum().backward()
    for n, each in enumerate(found):
        by_label = torch.zeros(len(each), 5)
        arcs = slice(int(batch.arc_splits[batch.index[n]]), int(batch.arc_splits[batch.index[n] + 1]))
        by_label.index_add_(1, batch.label[arcs].clamp(min=0).long(), each)
        assert log_probs.grad is not None
        torch.testing.assert_close(by_label, log_probs.grad[n, : len(each)].float(), rtol=1e-5, atol=1e-5)
