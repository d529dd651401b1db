"""Compiled decoding graphs: what they read, how they are stored, how they compose, and what stops their making."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from wfst_cases import LEXICONS, TOKENS, lm_score, make_graph, make_levels, random_log_probs, sentences

from speechkit.common.errors import SpeechkitError
from speechkit.fsa.wfst.compile import CompileLimits, compile_graph, spelled_in_states
from speechkit.fsa.wfst.compose import weighted, with_topology
from speechkit.fsa.wfst.graph import JOINED, LABEL, LAST, DecodingGraph, Topology
from speechkit.fsa.wfst.lexicon import Silence
from speechkit.fsa.wfst.openfst import Fst, from_kaldifst, to_kaldifst

kaldifst = pytest.importorskip("kaldifst", reason="decoding graphs need kaldifst")
LN10 = math.log(10)


def costs(fst: Fst, tokens: list[int]) -> dict[tuple[int, ...], float]:
    """The least cost of each output string for a string of tokens."""
    best: dict[tuple[int, ...], float] = {}
    waiting = [(fst.start, 0, (), 0.0)]
    while waiting:
        state, read, output, cost = waiting.pop()
        if read == len(tokens) and math.isfinite(fst.final[state]):
            best[output] = min(best.get(output, math.inf), cost + float(fst.final[state]))
        for arc in range(fst.arc_splits[state], fst.arc_splits[state + 1]):
            label, word = int(fst.ilabel[arc]), int(fst.olabel[arc])
            if label == 0 or (read < len(tokens) and tokens[read] + 1 == label):
                after = (*output, word) if word else output
                waiting.append((int(fst.destination[arc]), read + (label > 0), after, cost + float(fst.cost[arc])))
    return best


@pytest.mark.parametrize(("lexicon", "order"), [("phones", 2), ("prefixes", 3), ("homophones", 2), ("doubled", 1)])
def test_a_graph_reads_spellings_as_sentences_with_their_scores(lexicon: str, order: int) -> None:
    graph, levels = make_graph(lexicon, order, seed=order)
    fst, names = graph.fst(), graph.words
    expected: dict[tuple[int, ...], dict[tuple[str, ...], float]] = {}
    for words in sentences(sorted(set(names[1:])), 3):
        spellings: list[list[int]] = [[]]
        for word in words:
            spellings = [[*a, *b] for a in spellings for name, b in LEXICONS[lexicon] if name == word]
        for spelling in spellings:
            expected.setdefault(tuple(spelling), {})[words] = -LN10 * lm_score(levels, words)
    for tokens, by_words in expected.items():
        found = {tuple(names[word] for word in output): cost for output, cost in costs(fst, list(tokens)).items()}
        for words, cost in by_words.items():
            assert found[words] == pytest.approx(cost, abs=1e-4)


def test_the_layout_keeps_its_conventions() -> None:
    graph, _ = make_graph("prefixes", 3, seed=5)
    label = graph.arcs["label"] & LABEL
    begins = np.append(0, np.flatnonzero(graph.arcs["label"] & LAST) + 1)[:-1]
    reads = (label > 0) & (label != graph.final_label)
    assert set(graph.arcs["target"][label != graph.final_label]) <= set(begins.tolist())
    state = np.searchsorted(begins, np.arange(graph.num_arcs), side="right") - 1
    kind = np.where(label == 0, 0, np.where(reads, 1, 2))
    assert all((np.diff(kind[state == each]) >= 0).all() for each in range(len(begins)))
    joined = graph.arcs["label"] & JOINED > 0
    entering = {target: set(label[reads & (graph.arcs["target"] == target)].tolist()) for target in begins.tolist()}
    epsilons = set(graph.arcs["target"][label == 0].tolist()) | set(begins[state[label == 0]].tolist()) | {0}
    for target, marked in zip(graph.arcs["target"][reads].tolist(), joined[reads].tolist(), strict=True):
        assert marked == (len(entering[target]) > 1 or target in epsilons)


def test_a_saved_graph_is_mapped_as_it_was(tmp_path: Path) -> None:
    graph, _ = make_graph("homophones", 2, seed=1, kind="ctc-modified")
    folder = tmp_path / "a graph ü"
    graph.save(folder)
    loaded = DecodingGraph.load(folder)
    np.testing.assert_array_equal(loaded.arcs, graph.arcs)
    assert (loaded.tokens, loaded.words, loaded.topology) == (graph.tokens, graph.words, graph.topology)
    assert not loaded.arcs.flags.writeable
    assert isinstance(loaded.arcs.base, np.memmap)
    (folder / "arcs.npy").write_bytes((folder / "arcs.npy").read_bytes()[:-20])
    with pytest.raises(SpeechkitError, match=r"arcs\.npy .*run `speechkit graph` again"):
        DecodingGraph.load(folder)
    description = json.loads((folder / "graph.json").read_text(encoding="utf-8"))
    (folder / "graph.json").write_text(json.dumps({**description, "version": 0}), encoding="utf-8")
    with pytest.raises(SpeechkitError, match="another version"):
        DecodingGraph.load(folder)
    with pytest.raises(SpeechkitError, match="is not a decoding graph"):
        DecodingGraph.load(tmp_path)


def ctc_transducer(tokens: int, parts_equal: bool) -> Fst:
    """H from its definition: state i is within token i, state 0 in blanks."""
    arcs = [(0, 0, 1, 0), *((i, 0, 1, 0) for i in range(1, tokens))]
    arcs += [(i, i, i + 1, 0) for i in range(1, tokens)]
    arcs += [(i, j, j + 1, j + 1) for i in range(tokens) for j in range(1, tokens) if i != j or not parts_equal]
    source, destination, ilabel, olabel = zip(*arcs, strict=True)
    return Fst.from_arcs(0, source, (ilabel, olabel, destination, [0.0] * len(arcs)), [0.0] * tokens)


def best_cost(fst: Fst, log_probs: np.ndarray) -> float:
    """The least cost of reading one label a frame."""
    source, reads = fst.source, fst.ilabel > 0
    reached = np.full(fst.num_states, np.inf)
    reached[fst.start] = 0
    for t in range(len(log_probs) + 1):
        while True:
            after = reached.copy()
            np.minimum.at(after, fst.destination[~reads], reached[source[~reads]] + fst.cost[~reads])
            if (after >= reached).all():
                break
            reached = after
        if t < len(log_probs):
            totals = reached[source[reads]] + fst.cost[reads] - log_probs[t, fst.ilabel[reads] - 1]
            reached = np.full(fst.num_states, np.inf)
            np.minimum.at(reached, fst.destination[reads], totals)
    return float((reached + fst.final).min())


@pytest.mark.parametrize("kind", ["ctc", "ctc-modified"])
@pytest.mark.parametrize("lexicon", ["phones", "doubled"])
def test_the_topology_composes_as_in_openfst(lexicon: str, kind: str) -> None:
    graph, _ = make_graph(lexicon, 3, seed=2, kind=kind)
    fst = weighted(graph.fst(), 0.7, -0.3)
    topology = to_kaldifst(ctc_transducer(len(TOKENS), kind == "ctc"))
    kaldifst.arcsort(topology, "olabel")
    right = to_kaldifst(fst)
    kaldifst.arcsort(right, "ilabel")
    ours, theirs = with_topology(fst, graph.topology), from_kaldifst(kaldifst.compose(topology, right))
    for seed in range(20):
        log_probs = random_log_probs(1 + seed % 9, seed)
        assert best_cost(ours, log_probs) == pytest.approx(best_cost(theirs, log_probs), abs=1e-4)


def test_states_of_hidden_markov_models_loop_and_move_on_at_a_cost() -> None:
    entries = spelled_in_states([("a", [0]), ("b", [1])], 2)
    assert entries == [("a", [0, 1]), ("b", [2, 3])]
    levels = [{("<s>",): (-99.0, 0.0), ("</s>",): (-0.3, 0.0), ("a",): (-0.5, 0.0), ("b",): (-0.7, 0.0)}]
    loop, forward = math.log(0.75), math.log(0.25)
    graph = compile_graph(entries, levels, ("a.0", "a.1", "b.0", "b.1"), topology=Topology("hmm", loop, forward))
    composed = with_topology(graph.fst(), graph.topology)
    log_probs = np.log(np.array([[0.7, 0.1, 0.1, 0.1]] * 3 + [[0.1, 0.7, 0.1, 0.1]], np.float32))
    expected = 4 * math.log(0.7) + 2 * loop + 2 * forward - LN10 * (0.5 + 0.3)
    assert best_cost(composed, log_probs) == pytest.approx(-expected, abs=1e-4)


def test_optional_silence_is_in_the_graph() -> None:
    levels = make_levels(["x", "y"], 1, seed=0)
    silence = Silence(3, 0.25)
    graph = compile_graph([("x", [1]), ("y", [2])], levels, TOKENS, silence=silence)
    lm = -LN10 * lm_score(levels, ["x"])
    (with_pause,) = costs(graph.fst(), [3, 1]).values()
    (without,) = costs(graph.fst(), [1]).values()
    assert without == pytest.approx(lm - 2 * math.log(0.75), abs=1e-4)
    assert with_pause == pytest.approx(lm - math.log(0.25) - math.log(0.75), abs=1e-4)


def test_what_cannot_be_compiled_within_limits_names_the_remedy() -> None:
    levels = make_levels(["x", "y"], 2, seed=0)
    entries = [("x", [1]), ("y", [2])]
    with pytest.raises(SpeechkitError, match=r"more than the limit.*prune the language model.*--decode beam"):
        compile_graph(entries, levels, TOKENS, limits=CompileLimits(memory=1000))
    with pytest.raises(SpeechkitError, match=r"took more than 0 s: prune the language model"):
        compile_graph(entries, levels, TOKENS, limits=CompileLimits(seconds=0.0))


def test_a_cycle_of_epsilons_is_an_error() -> None:
    fst = Fst.from_arcs(0, [0, 1, 1], ([0, 0, 2], [0, 0, 1], [1, 0, 1], [0.1, 0.1, 0.1]), [math.inf, 0.0])
    with pytest.raises(SpeechkitError, match="epsilons in a row, or a cycle"):
        DecodingGraph.from_fst(fst, TOKENS, ("<eps>", "a"))
    with pytest.raises(SpeechkitError, match="no path"):
        DecodingGraph.from_fst(Fst.from_arcs(0, [0], ([2], [1], [0], [0.0]), [math.inf]), TOKENS, ("<eps>", "a"))


def test_without_kaldifst_the_error_is_one_line_with_the_command() -> None:
    code = """
import sys
sys.modules["kaldifst"] = None
from speechkit.common.errors import SpeechkitError
from speechkit.fsa.wfst.openfst import kaldifst
try:
    kaldifst()
except SpeechkitError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install kaldifst" in done.stdout
    assert done.stdout.count("\n") == 1
