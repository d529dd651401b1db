"""Decoding graphs in k2 against the built-in search."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "unit" / "fsa"))
from wfst_cases import make_graph, make_levels, random_log_probs

from speechkit.common.errors import UsageError
from speechkit.decode.beam import Weights
from speechkit.decode.graph_backends import graph_search
from speechkit.decode.wfst import WfstConfig
from speechkit.fsa.wfst.compile import compile_graph
from speechkit.fsa.wfst.graph import Topology

pytest.importorskip("k2", reason="k2 is not installed: tests/run_k2.sh runs these tests with it")
pytest.importorskip("kaldifst", reason="decoding graphs need kaldifst")
pytest.importorskip("numba", reason="the built-in search needs numba")

WIDE = WfstConfig(beam=1e3, max_active=10_000)
WEIGHTS = (Weights(lm=0.0), Weights(lm=1.0), Weights(lm=2.0, word=1.5), Weights(lm=0.5, word=-1.0))


@pytest.mark.parametrize("kind", ["ctc", "ctc-modified"])
@pytest.mark.parametrize(("lexicon", "order"), [("phones", 2), ("prefixes", 3), ("homophones", 2), ("doubled", 3)])
def test_k2_finds_the_same_best_path(lexicon: str, order: int, kind: str) -> None:
    graph, _ = make_graph(lexicon, order, seed=order, kind=kind)
    ours, theirs = graph_search("built-in", graph, WIDE), graph_search("k2", graph, WIDE)
    for seed in range(8):
        log_probs = random_log_probs(4 + seed, seed)
        for weights in WEIGHTS:
            mine, other = ours.decode(log_probs, weights), theirs.decode(log_probs, weights)
            assert other.total == pytest.approx(mine.total, abs=1e-3)
            if weights.lm and lexicon != "doubled":  # "a a" and "aa" may tie
                assert other.words == mine.words
                assert (other.acoustic, other.graph) == pytest.approx((mine.acoustic, mine.graph), abs=1e-3)


def test_k2_finds_nothing_where_there_is_no_path() -> None:
    graph, _ = make_graph("doubled", 1, seed=0)
    search = graph_search("k2", graph, WIDE)
    nothing = search.decode(np.zeros((0, 4), np.float32), Weights())
    assert (nothing.words, nothing.complete) == ([], False)


def test_k2_refuses_what_it_cannot_decode() -> None:
    levels = make_levels(["x"], 1, seed=0)
    graph = compile_graph([("x", [0])], levels, ["x.0"], topology=Topology("hmm"))
    with pytest.raises(UsageError, match="take --wfst-backend built-in"):
        graph_search("k2", graph, WIDE)
