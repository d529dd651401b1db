"""The k2 engine against numbers that k2 gave outside this project, and an independent program in float64 beside it."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from speechkit.common.errors import SpeechkitError
from speechkit.fsa.engines import k2 as engine
from speechkit.fsa.graph import Graph, GraphBatch

pytest.importorskip("k2", reason="k2 is not installed: tests/run_k2.sh runs these tests with it")

Arrays = dict[str, Any]


@pytest.fixture(scope="module")
def reference() -> Arrays:
    folder = Path(os.environ.get("SPEECHKIT_REFERENCE", Path(__file__).parents[3] / "shared" / "reference"))
    if not (folder / "k2_reference.npz").exists():
        pytest.skip("set SPEECHKIT_REFERENCE to a folder with k2_reference.npz")
    with np.load(folder / "k2_reference.npz") as arrays:
        return dict(arrays)


def cases(arrays: Arrays) -> list[str]:
    return [entry["key"] for entry in json.loads(str(arrays["manifest_json"]))]


def graph(arrays: Arrays, prefix: str) -> Graph:
    arcs = arrays[f"{prefix}/arcs"]
    return Graph(*arcs.T.copy(), arrays[f"{prefix}/scores"], int(arrays[f"{prefix}/num_states"]))


def shuffled(arrays: Arrays, key: str) -> tuple[torch.Tensor, torch.Tensor, GraphBatch, list[int]]:
    """A case with its utterances in another order than the falling lengths of the file: log-probs, lengths, graphs."""
    lengths = arrays[f"{key}/lens"].astype(np.int64)
    order = np.random.default_rng(0).permutation(len(lengths)).tolist()
    log_probs = torch.from_numpy(arrays[f"{key}/logp"][order])
    graphs = GraphBatch.from_graphs([graph(arrays, f"{key}/g{row}") for row in order])
    return log_probs.requires_grad_(), torch.from_numpy(lengths[order]), graphs, order


def close(found: torch.Tensor, expected: np.ndarray, scale: float = 1e-4) -> None:
    torch.testing.assert_close(found.double(), torch.from_numpy(expected).double(), rtol=scale, atol=scale)


def test_total_scores_and_gradients(reference: Arrays) -> None:
    for key in cases(reference):
        log_probs, lengths, graphs, order = shuffled(reference, key)
        graphs.score.requires_grad_()
        totals = engine.total_scores(log_probs, lengths, graphs)
        totals.sum().backward()
        close(totals.detach(), reference[f"{key}/k2_tot"][order], 1e-6)
        close(log_probs.grad, reference[f"{key}/k2_grad_logp"][order])
        close(graphs.score.grad, np.concatenate([reference[f"{key}/g{row}/f64_grad_arcs"] for row in order]))


def test_best_paths(reference: Arrays) -> None:
    for key in cases(reference):
        log_probs, lengths, graphs, order = shuffled(reference, key)
        best = engine.best_path(log_probs, lengths, graphs)
        close(best.scores, reference[f"{key}/k2_max"][order], 1e-6)
        for row, labels in zip(order, best.labels(graphs), strict=True):
            expected = reference[f"{key}/g{row}/k2_best_path"]
            assert labels.tolist() == [*expected, *[-1] * (len(labels) - len(expected))]
        reached = torch.isfinite(best.scores)
        ends = graphs.score[best.final_arcs[reached]].double()
        torch.testing.assert_close(best.arc_scores.double().sum(1)[reached] + ends, best.scores[reached])


def test_arc_posteriors_add_up_to_the_gradients(reference: Arrays) -> None:
    for key in cases(reference):
        log_probs, lengths, graphs, order = shuffled(reference, key)
        for at, (row, posterior) in enumerate(
            zip(order, engine.arc_posteriors(log_probs, lengths, graphs), strict=True)
        ):
            arcs = graphs.graph(at)
            counts = posterior.sum(0)[arcs.label >= 0]
            close(counts, reference[f"{key}/g{row}/f64_grad_arcs"][arcs.label >= 0])
            by_label = torch.zeros(len(posterior), log_probs.shape[2])
            emits = torch.from_numpy(arcs.label >= 0)
            by_label.index_add_(1, torch.from_numpy(arcs.label).long()[emits], posterior[:, emits])
            close(by_label, reference[f"{key}/k2_grad_logp"][row][: len(posterior)])


def test_large_batches_go_to_k2_in_portions(reference: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    key = max(cases(reference), key=lambda key: len(reference[f"{key}/lens"]))
    log_probs, lengths, graphs, order = shuffled(reference, key)
    monkeypatch.setattr(engine, "LATTICE_ARCS", 1)
    totals = engine.total_scores(log_probs, lengths, graphs)
    totals.sum().backward()
    close(totals.detach(), reference[f"{key}/k2_tot"][order], 1e-6)
    close(log_probs.grad, reference[f"{key}/k2_grad_logp"][order])
    close(engine.best_path(log_probs, lengths, graphs).scores, reference[f"{key}/k2_max"][order], 1e-6)
    monkeypatch.setattr(engine, "MOST_ARCS", 10)
    with pytest.raises(
        SpeechkitError, match="frames on a graph of .* arcs are too much for k2.*: use --fsa-engine torch"
    ):
        engine.best_path(log_probs, lengths, graphs)
