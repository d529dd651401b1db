import shutil
from pathlib import Path

import pytest

from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.fsa.draw import draw, to_dot
from speechkit.fsa.topology import ctc_graph, ctc_topology, linear


def test_labels_names_and_scores() -> None:
    lines = to_dot(linear([1, 7], -0.25), labels=["<blk>", 'a"b']).splitlines()
    assert "  3 [shape=doublecircle];" in lines
    assert r'  0 -> 1 [label="a\"b/-0.25"];' in lines
    assert '  1 -> 2 [label="7/-0.25"];' in lines
    assert '  2 -> 3 [label=""];' in lines


def test_aux_labels_only_where_they_are() -> None:
    lines = to_dot(ctc_graph([2]), labels={0: "-", 2: "t"}, aux={"token": None}).splitlines()
    assert '  0 -> 1 [label="t:2"];' in lines
    assert '  1 -> 1 [label="t"];' in lines
    assert '  0 -> 0 [label="-"];' in lines


def test_files(tmp_path: Path) -> None:
    draw(ctc_graph([1]), tmp_path / "graph.dot")
    assert (tmp_path / "graph.dot").read_text() == to_dot(ctc_graph([1]))
    with pytest.raises(UsageError, match=r"'graph.txt': end it in .dot, .svg"):
        draw(ctc_graph([1]), tmp_path / "graph.txt")


def test_without_graphviz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SpeechkitError, match="apt-get install graphviz"):
        draw(ctc_graph([1]), tmp_path / "graph.svg")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("kind", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_images(tmp_path: Path, kind: str, start: bytes) -> None:
    if shutil.which("dot") is None:
        pytest.skip("Graphviz is not installed: apt-get install graphviz")
    draw(ctc_graph([1, 2]), tmp_path / f"graph.{kind}", aux={"token": ["", "ä", "b"]})
    assert (tmp_path / f"graph.{kind}").read_bytes().startswith(start)


def test_graphs_that_take_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("dot") is None:
        pytest.skip("Graphviz is not installed: apt-get install graphviz")
    monkeypatch.setattr("speechkit.fsa.draw.SECONDS", 0.5)
    with pytest.raises(SpeechkitError, match=r"graph.svg: Graphviz took more than 0.5 s .* part of it, or a .dot"):
        draw(ctc_topology(40), tmp_path / "graph.svg")
    assert list(tmp_path.iterdir()) == []
