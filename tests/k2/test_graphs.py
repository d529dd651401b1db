"""Graphs built here against those that k2 builds, and the text that k2 reads and writes."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from speechkit.fsa.engines.k2 import total_scores
from speechkit.fsa.graph import Graph, GraphBatch
from speechkit.fsa.text import from_text, to_text
from speechkit.fsa.topology import HmmTopology, ctc_graph, ctc_topology, hmm_graph, linear

k2 = pytest.importorskip("k2", reason="k2 is not installed: tests/run_k2.sh runs these tests with it")

VOCABULARY = 5


def graph_of(fsa: "k2.Fsa") -> Graph:
    """A graph of k2; where a label is on arcs from and to the same states twice, both stay."""
    arcs = fsa.arcs.values().numpy()
    return Graph.from_arcs(np.column_stack([arcs[:, :3], fsa.scores.numpy()]), fsa.shape[0])


def batch(graph: Graph) -> tuple[torch.Tensor, torch.Tensor, GraphBatch]:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.arange(1, 12)
    log_probs = torch.randn(len(lengths), 12, VOCABULARY, generator=generator).log_softmax(-1)
    return log_probs, lengths, GraphBatch.shared(graph, len(lengths))


def same_language(ours: Graph, theirs: Graph) -> None:
    """The same totals for utterances of every length."""
    log_probs, lengths, graphs = batch(ours)
    expected = total_scores(log_probs, lengths, GraphBatch.shared(theirs, len(lengths)))
    torch.testing.assert_close(total_scores(log_probs, lengths, graphs), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("modified", [False, True])
@pytest.mark.parametrize("tokens", [[1], [1, 2, 3], [2, 2], [4, 4, 4, 1]])
def test_ctc_graph(tokens: list[int], modified: bool) -> None:
    theirs = graph_of(k2.ctc_graph([tokens], modified=modified)[0])
    same_language(ctc_graph(tokens, standard=not modified), theirs)


@pytest.mark.parametrize("modified", [False, True])
def test_ctc_topology(modified: bool) -> None:
    theirs = k2.ctc_topo(VOCABULARY - 1, modified=modified)
    ours = ctc_topology(VOCABULARY, standard=not modified)
    assert ours.num_arcs == theirs.num_arcs
    same_language(ours, graph_of(theirs))


def test_linear() -> None:
    theirs = graph_of(k2.linear_fsa([3, 1, 1, 2]))
    ours = linear([3, 1, 1, 2])
    for name in ("source", "destination", "label", "score", "num_states"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


def test_k2_reads_the_text() -> None:
    graph = hmm_graph([[[1, 2], [3]], [[1]]], HmmTopology(2, 0.3), silence=0)
    fsa = k2.Fsa.from_str(to_text(graph, ["unit"]), num_aux_labels=1)
    read = graph_of(fsa)
    for name in ("source", "destination", "label", "score", "num_states"):
        np.testing.assert_array_equal(getattr(read, name), getattr(graph, name))
    np.testing.assert_array_equal(fsa.aux_labels.numpy(), graph.aux["unit"])


def test_text_of_k2_is_read() -> None:
    fsa = k2.ctc_topo(3)
    graph = from_text(k2.to_str_simple(fsa), ["token"])
    np.testing.assert_array_equal(graph.label, fsa.labels.numpy())
    final = fsa.labels.numpy() == -1
    np.testing.assert_array_equal(graph.aux["token"][~final], fsa.aux_labels.numpy()[~final])


LEAN = """
import sys
for name in ("numba", "scipy", "lhotse", "soundfile", "safetensors", "yaml", "tqdm", "kaldifst"):
    sys.modules[name] = None  # importing it fails
import torch
import speechkit.common.errors, speechkit.fsa.draw, speechkit.fsa.guard, speechkit.fsa.storage, speechkit.fsa.text
from speechkit.fsa.graph import GraphBatch
from speechkit.fsa.intersect import arc_posteriors, best_path, choose_engine, total_scores
from speechkit.fsa.topology import ctc_graph
batch = torch.zeros(1, 3, 2), torch.tensor([3]), GraphBatch.from_graphs([ctc_graph([1])])
assert choose_engine("auto") == "k2"
print(round(float(total_scores(*batch).exp())), len(best_path(*batch).arcs), len(arc_posteriors(*batch)))
"""


def test_torch_and_numpy_are_enough_beside_k2() -> None:
    done = subprocess.run([sys.executable, "-c", LEAN], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("6 1 1\n", 0), done.stderr
