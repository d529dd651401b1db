import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from speechkit.common.errors import SpeechkitError
from speechkit.fsa.graph import Graph, GraphBatch
from speechkit.fsa.storage import load_batch, load_graph, save_batch, save_graph
from speechkit.fsa.topology import HmmTopology, ctc_graph, ctc_topology, hmm_graph, linear

EMPTY = Graph.from_arcs([], 0)


def same_graph(left: Graph, right: Graph) -> None:
    for name in ("source", "destination", "label", "score"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), strict=True)
    assert left.num_states == right.num_states
    assert left.aux.keys() == right.aux.keys()
    for name, values in left.aux.items():
        np.testing.assert_array_equal(values, right.aux[name], strict=True)


@pytest.mark.parametrize("graph", [linear([1, 2], -0.5), ctc_topology(5), hmm_graph([[[1]]], HmmTopology(1)), EMPTY])
def test_graphs_come_back(tmp_path: Path, graph: Graph) -> None:
    save_graph(tmp_path / "graph.safetensors", graph)
    same_graph(load_graph(tmp_path / "graph.safetensors"), graph)
    assert [path.name for path in tmp_path.iterdir()] == ["graph.safetensors"]


def test_batches_come_back(tmp_path: Path) -> None:
    batch = GraphBatch.from_graphs([ctc_graph([1, 2]), EMPTY, hmm_graph([[[3]]], HmmTopology())], index=[2, 0, 0, 1])
    save_batch(tmp_path / "batch", batch)
    loaded = load_batch(tmp_path / "batch")
    for name, values in vars(batch).items():
        if name != "aux":
            torch.testing.assert_close(getattr(loaded, name), values, rtol=0, atol=0)
    assert loaded.aux.keys() == batch.aux.keys()
    same_graph(loaded.graph(2), batch.graph(2))


def test_any_safetensors_reader_opens_it(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy", reason="pip install safetensors to compare with it")
    graph = hmm_graph([[[1, 2]], [[3]]], HmmTopology(), silence=0)
    save_graph(tmp_path / "graph", graph)
    arrays = safetensors.load_file(tmp_path / "graph")
    np.testing.assert_array_equal(arrays["score"], graph.score)
    np.testing.assert_array_equal(arrays["aux.word"], graph.aux["word"])


def in_file(array: np.ndarray) -> bool:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return isinstance(array, np.memmap)


def test_arrays_are_the_file_and_writing_to_them_is_private(tmp_path: Path) -> None:
    path = tmp_path / "graph"
    save_graph(path, ctc_topology(4))
    graph = load_graph(path)
    assert all(in_file(array) for array in (graph.source, graph.label, graph.score, graph.aux["token"]))
    graph.score[:] = 1
    assert not load_graph(path).score.any()


SHARED = """
import re, sys
from pathlib import Path
from speechkit.fsa.storage import load_graph
graph = load_graph(Path(sys.argv[1]))
print(float(graph.score.sum()), flush=True)
sys.stdin.readline()
maps = Path("/proc/self/smaps").read_text().split(sys.argv[1])[1].split("VmFlags")[0]
print(*(sum(map(int, re.findall(name + r":\\s+(\\d+)", maps))) for name in ("Rss", "Private_Dirty")), flush=True)
"""


def test_processes_share_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "graph"
    save_graph(path, ctc_topology(300))
    run = [sys.executable, "-c", SHARED, str(path)]
    readers = [subprocess.Popen(run, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for reader in readers:
        assert reader.stdout.readline() == "0.0\n"
    for reader in readers:
        resident, dirty = map(int, reader.communicate("\n")[0].split())
        # In KiB: 20 bytes for each of 90,300 arcs lie in memory, none of them as a copy of this process.
        assert resident > 1500
        assert dirty == 0


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "cut":
        del content[-5:]
    elif how == "longer":
        content += b"more"
    elif how == "flipped":
        content[-1] ^= 1
    elif how == "no header":
        content[:8] = b"\xff" * 8
    elif how == "header":
        content[9] = ord("x")
    elif how == "empty":
        content.clear()
    elif how == "text":
        content[:] = b"0 1 2 0.5\n" * 20
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["cut", "longer", "flipped", "no header", "header", "empty", "text"])
def test_a_damaged_file_is_named(tmp_path: Path, how: str) -> None:
    for save, load, content in (
        (save_graph, load_graph, ctc_graph([1, 2])),
        (save_batch, load_batch, GraphBatch.shared(ctc_graph([1, 2]), 3)),
    ):
        path = tmp_path / "some graph"
        save(path, content)
        damage(path, how)
        with pytest.raises(SpeechkitError, match="some graph is damaged or no graph .*: delete it and run the step"):
            load(path)


def test_missing_and_mistaken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(SpeechkitError, match="nowhere does not exist"):
        load_graph(tmp_path / "nowhere")
    save_batch(tmp_path / "batch", GraphBatch.shared(ctc_graph([1]), 2))
    with pytest.raises(SpeechkitError, match="batch holds a speechkit graph batch, not a speechkit graph"):
        load_graph(tmp_path / "batch")


def test_arcs_that_cannot_be_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "graph"
    graph = ctc_graph([1])
    save_graph(path, Graph(graph.source, graph.destination + 7, graph.label, graph.score, graph.num_states))
    with pytest.raises(SpeechkitError, match=r"graph is damaged or no graph \(an arc names state"):
        load_graph(path)
