import numpy as np
import pytest

from speechkit.common.errors import SpeechkitError
from speechkit.fsa.graph import Graph
from speechkit.fsa.text import from_text, to_text
from speechkit.fsa.topology import HmmTopology, hmm_graph, linear


def test_a_small_graph_as_text() -> None:
    assert to_text(linear([3, 1], -0.5)) == "0 1 3 -0.5\n1 2 1 -0.5\n2 3 -1 0.0\n3\n"


@pytest.mark.parametrize("aux", [(), ("word",), ("unit", "word", "entry")])
def test_graphs_come_back(aux: tuple[str, ...]) -> None:
    graph = hmm_graph([[[1, 2], [3]], [[1]]], HmmTopology(2, 0.3), silence=0)
    graph.score[2:5] = [-np.inf, 1e-30, np.float32(1) / 3]
    found = from_text(to_text(graph, aux), aux)
    for name in ("source", "destination", "label", "score"):
        np.testing.assert_array_equal(getattr(found, name), getattr(graph, name), strict=True)
    assert found.num_states == graph.num_states
    assert list(found.aux) == list(aux)
    for name in aux:
        np.testing.assert_array_equal(found.aux[name], graph.aux[name])


def test_graphs_without_arcs() -> None:
    for states in (0, 2):
        graph = from_text(to_text(Graph.from_arcs([], states)))
        assert (graph.num_states, graph.num_arcs) == (states, 0)
    assert from_text("", aux=("word",)).aux["word"].tolist() == []


def test_arcs_in_any_order_and_empty_lines() -> None:
    assert to_text(from_text("1 2 -1 0\n\n 0 1 3 1.5 \n2\n")) == "0 1 3 1.5\n1 2 -1 0.0\n2\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 1 -1\n1\n", "graph.txt, line 1: 3 fields where there should be 4"),
        ("0 1 -1 0\n1 2 3 4\n", "graph.txt, line 2: 4 fields where there should be 1"),
        ("\n0 x -1 0\n1\n", "graph.txt, line 2: invalid literal .*'x'"),
        ("0 1 -1 high\n1\n", "graph.txt, line 1: could not convert .*'high'"),
        ("0 1 3 0\n1\n", "graph.txt: arcs into the final state, and only they, have label -1"),
    ],
)
def test_what_is_no_graph_is_named(text: str, message: str) -> None:
    with pytest.raises(SpeechkitError, match=message):
        from_text(text, where="graph.txt")
