"""The LF-MMI objective against enumeration of paths and finite differences."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from speechkit.fsa.graph import Graph, GraphBatch
from speechkit.fsa.ngram_graph import compose, initial_probs, leaky, token_ngram_graph
from speechkit.fsa.topology import linear
from speechkit.lm.token_ngram import smoothed
from speechkit.losses.lfmmi import Mmi, lfmmi, limited, output_penalty

TRANSCRIPTS = [[1, 2], [2, 2, 1], [3], [1, 1]]
LENGTHS = torch.tensor([7, 6, 4, 5])


def denominator(leak: float = 0.0) -> Graph:
    graph = token_ngram_graph(smoothed([[1, 2], [2, 2, 1], [3, 1]], 2, 4), 4)
    return leaky(graph, leak, initial_probs(graph)) if leak else graph


def numerators() -> GraphBatch:
    return GraphBatch.from_graphs([compose(denominator(), linear(tokens)) for tokens in TRANSCRIPTS])


def objective(scores: Tensor, lengths: Tensor = LENGTHS, leak: float = 0.0) -> Mmi:
    graphs = GraphBatch.shared(denominator(leak), len(lengths))
    return lfmmi(scores, lengths, numerators(), graphs, engine="torch")


def outputs(scale: float = 1.0) -> Tensor:
    return torch.randn(4, 7, 4, generator=torch.Generator().manual_seed(0)) * scale


def total(log_probs: np.ndarray, graph: Graph) -> float:
    """log of the sum over all paths, by following each."""
    weight = 0.0
    stack = [(0, 0, 0.0)]
    while stack:
        state, frame, score = stack.pop()
        for arc in np.flatnonzero(graph.source == state):
            label, after = graph.label[arc], score + float(graph.score[arc])
            if label < 0:
                weight += math.exp(after) if frame == len(log_probs) else 0.0
            elif frame < len(log_probs):
                stack.append((int(graph.destination[arc]), frame + 1, after + float(log_probs[frame, label])))
    return math.log(weight)


def test_it_is_the_difference_of_two_sums_over_paths() -> None:
    scores, lengths = outputs()[:, :4], torch.tensor([4, 4, 4, 4])
    found = objective(scores, lengths).objective
    for n, tokens in enumerate(TRANSCRIPTS):
        rows = scores[n].double().numpy()
        expected = total(rows, compose(denominator(), linear(tokens))) - total(rows, denominator())
        assert float(found[n]) == pytest.approx(expected, abs=1e-5)
    assert float(objective(scores, lengths).loss) == pytest.approx(-float(found.sum()))


@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0, 100.0])
@pytest.mark.parametrize("leak", [0.0, 0.1])
def test_it_is_never_positive(scale: float, leak: float) -> None:
    for scores in (outputs(scale), outputs(scale).log_softmax(-1)):
        assert objective(scores, leak=leak).objective.max() <= 1e-4 * max(1, scale)


@pytest.mark.parametrize("leak", [0.0, 0.1])
def test_gradient_against_finite_differences(leak: float) -> None:
    scores, step = outputs().requires_grad_(), 1e-2
    objective(scores, leak=leak).loss.backward()
    assert scores.grad is not None
    for n, frame, column in [(0, 0, 0), (0, 6, 2), (1, 3, 1), (2, 3, 3), (3, 2, 0), (3, 4, 1)]:
        shifted = []
        for sign in (1, -1):
            moved = scores.detach().clone()
            moved[n, frame, column] += sign * step
            shifted.append(float(objective(moved, leak=leak).loss))
        expected = (shifted[0] - shifted[1]) / (2 * step)
        assert float(scores.grad[n, frame, column]) == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("leak", [0.0, 0.1])
def test_rows_of_the_gradient_sum_to_zero_and_padding_has_none(leak: float) -> None:
    scores = outputs(3.0).requires_grad_()
    objective(scores, leak=leak).loss.backward()
    assert scores.grad is not None
    assert scores.grad.sum(dim=-1).abs().max() < 1e-5
    assert scores.grad.abs().amax(dim=(1, 2)).min() > 1e-3
    for n, length in enumerate(LENGTHS.tolist()):
        assert scores.grad[n, length:].eq(0).all()


def test_a_softmax_before_it_makes_no_difference() -> None:
    raw, normal = outputs(3.0).requires_grad_(), outputs(3.0).requires_grad_()
    one, other = objective(raw), objective(normal.log_softmax(-1))
    torch.testing.assert_close(one.objective, other.objective, atol=1e-5, rtol=1e-5)
    one.loss.backward()
    other.loss.backward()
    torch.testing.assert_close(raw.grad, normal.grad, atol=1e-5, rtol=1e-4)


def test_without_a_path_there_is_no_loss_and_no_gradient() -> None:
    scores = outputs().requires_grad_()
    lengths = torch.tensor([7, 3, 4, 2])  # 2 2 1 needs four frames, 1 1 three
    result = objective(scores, lengths)
    assert result.has_path.tolist() == [True, False, True, False]
    assert result.objective[1] == -torch.inf
    assert float(result.loss.detach()) == pytest.approx(-float(result.objective[[0, 2]].sum()))
    result.loss.backward()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()
    assert scores.grad[[1, 3]].eq(0).all()


def test_the_order_of_a_batch_does_not_matter() -> None:
    order = torch.tensor([2, 0, 3, 1])
    graphs = numerators()
    shuffled = GraphBatch.from_graphs([graphs.graph(int(n)) for n in order])
    found = lfmmi(outputs()[order], LENGTHS[order], shuffled, GraphBatch.shared(denominator(), 4), engine="torch")
    torch.testing.assert_close(found.objective, objective(outputs()).objective[order])


def test_raw_outputs_are_bounded_and_pulled_back() -> None:
    raw = torch.tensor([[[-40.0, 2.0, 31.0], [99.0, 99.0, 99.0]]], requires_grad=True)
    assert limited(raw, 30.0).tolist()[0][0] == [-30.0, 2.0, 30.0]
    mask = torch.tensor([[True, False]])
    penalty = output_penalty(raw, mask, bound=30.0, out_of_range=0.01, l2=5e-5)
    squares = 40**2 + 2**2 + 31**2
    assert float(penalty.detach()) == pytest.approx(0.005 * (10**2 + 1**2) + 2.5e-5 * squares, rel=1e-5)
    penalty.backward()
    assert raw.grad is not None
    expected = [[-0.1 - 40 * 5e-5, 2 * 5e-5, 0.01 + 31 * 5e-5], [0, 0, 0]]
    torch.testing.assert_close(raw.grad[0], torch.tensor(expected))
