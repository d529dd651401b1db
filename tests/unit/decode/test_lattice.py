"""Lattices, n-best lists and rescoring against enumeration of all sentences, and what happens without memory."""

import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from wfst_cases import Levels, Reading, lm_score, make_graph, make_levels, random_log_probs, readings

from speechkit.decode import wfst_lattice
from speechkit.decode.beam import Hypothesis, Weights
from speechkit.decode.lattice import NO_TOKEN, Lattice
from speechkit.decode.rescore import rescored_lattice, rescored_list, sentence_score
from speechkit.decode.wfst import WfstConfig, WfstSearch
from speechkit.lm.arpa import Arpa

pytest.importorskip("kaldifst", reason="decoding graphs need kaldifst")
WHOLE = WfstConfig(beam=1e4, max_active=100_000, lattice_beam=1e4)
WEIGHTS = (Weights(lm=1.0), Weights(lm=0.0, word=0.7), Weights(lm=0.5, word=-2.0))
CASES = [("phones", 2, "ctc"), ("prefixes", 3, "ctc"), ("homophones", 2, "ctc-modified"), ("doubled", 3, "ctc")]


def ranked(found: list[Reading], weights: Weights) -> list[float]:
    return sorted((each.score(weights.lm, weights.word) for each in found), reverse=True)


@pytest.mark.parametrize(("lexicon", "order", "kind"), CASES)
def test_the_n_best_are_the_best_of_all_sentences(lexicon: str, order: int, kind: str) -> None:
    graph, levels = make_graph(lexicon, order, seed=order, kind=kind)
    search = WfstSearch(graph, WHOLE)
    for seed, weights in itertools.product(range(2), WEIGHTS):
        log_probs = random_log_probs(5, seed)
        expected = {tuple(each.words): each for each in readings(log_probs, lexicon, levels, kind)}
        lattice = search.lattice(log_probs, weights)
        found = lattice.nbest(weights, 30)
        scores = [each.score(weights) for each in found]
        np.testing.assert_allclose(scores, ranked(list(expected.values()), weights)[:30], atol=1e-3)
        assert len({tuple(each.words) for each in found}) == len(found) == min(30, len(expected))
        for each in found:
            same = expected[tuple(each.words)]
            assert each.score(weights) == pytest.approx(same.score(weights.lm, weights.word), abs=1e-3)
            if weights.lm:
                assert each.acoustic == pytest.approx(same.acoustic, abs=1e-3)
                assert each.lm == pytest.approx(same.lm, abs=1e-3)
        assert found[0].score(weights) == pytest.approx(search.decode(log_probs, weights).total, abs=1e-3)


def arcs_of_paths(lattice: Lattice) -> list[list[Any]]:
    """The arcs of every path from the first node to the last."""
    leaving: dict[int, list[Any]] = {}
    for row in lattice.arcs:
        leaving.setdefault(int(row["source"]), []).append(row)
    paths, waiting = [], [(0, [])]  # type: ignore[var-annotated]
    while waiting:
        node, path = waiting.pop()
        if node == lattice.num_nodes - 1:
            paths.append(path)
        waiting += [(int(row["destination"]), [*path, row]) for row in leaving.get(node, ())]
    return paths


def test_every_path_reads_every_frame_and_lies_within_the_beam() -> None:
    graph, levels = make_graph("prefixes", 2, seed=1)
    log_probs, weights = random_log_probs(6, 5), Weights(lm=1.0, word=-0.5)
    best = WfstSearch(graph, WHOLE).decode(log_probs, weights).total
    everything = readings(log_probs, "prefixes", levels)
    for beam in (0.5, 2.0, 6.0):
        config = WfstConfig(beam=1e4, max_active=100_000, lattice_beam=beam)
        lattice = WfstSearch(graph, config).lattice(log_probs, weights)
        assert (lattice.arcs["source"] < lattice.arcs["destination"]).all()
        assert (np.diff(lattice.arcs["source"]) >= 0).all()
        scores = lattice.scores(weights)
        total = {row.tobytes(): score for row, score in zip(lattice.arcs, scores, strict=True)}
        reached: set[bytes] = set()
        for path in arcs_of_paths(lattice):
            read = [(int(row["frame"]), int(row["token"])) for row in path if row["token"] != NO_TOKEN]
            assert [frame for frame, _ in read] == list(range(6))
            acoustic = sum(float(log_probs[frame, token]) for frame, token in read)
            assert sum(float(row["acoustic"]) for row in path) == pytest.approx(acoustic, abs=1e-4)
            if sum(total[row.tobytes()] for row in path) >= best - beam - 1e-3:
                reached.update(row.tobytes() for row in path)
        assert reached == set(total)  # every arc is on a path within the beam
        within = [each for each in everything if each.score(1.0, -0.5) >= best - beam + 1e-3]
        assert len(lattice.nbest(weights, 1000)) >= len(within)
        again = WfstSearch(graph, WHOLE).lattice(log_probs, weights).pruned(weights, beam)
        assert (again.num_arcs, again.num_nodes) == (lattice.num_arcs, lattice.num_nodes)


@pytest.mark.parametrize(("lexicon", "order", "kind"), CASES)
def test_rescored_lattices_rank_sentences_by_the_new_model(lexicon: str, order: int, kind: str) -> None:
    graph, levels = make_graph(lexicon, 1, seed=3, kind=kind)
    words = list(graph.words[1:])
    model = Arpa(make_levels(words, order, seed=9))
    log_probs, weights = random_log_probs(4, 11), Weights(lm=0.8, word=0.3)
    lattice = rescored_lattice(WfstSearch(graph, WHOLE).lattice(log_probs, Weights()), model)
    found = lattice.nbest(weights, 20)
    everything = [
        Hypothesis(each.words, each.acoustic, sentence_score(each.words, model))
        for each in readings(log_probs, lexicon, levels, kind)
    ]
    expected = sorted((each.score(weights) for each in everything), reverse=True)
    np.testing.assert_allclose([each.score(weights) for each in found], expected[:20], atol=1e-3)
    by_words = {tuple(each.words): each for each in everything}
    for each in found:
        assert each.lm == pytest.approx(by_words[tuple(each.words)].lm, abs=1e-3)
    listed = rescored_list(found, model)
    assert [each.lm for each in listed] == pytest.approx([each.lm for each in found], abs=1e-3)


def test_the_score_of_a_sentence_is_the_sum_over_its_words_and_end() -> None:
    levels: Levels = [
        {("<s>",): (-99.0, -0.5), ("</s>",): (-0.3, 0.0), ("x",): (-0.4, -0.25), ("y",): (-0.7, -0.1)},
        {("<s>", "x"): (-0.2, 0.0), ("x", "x"): (-0.6, 0.0)},
    ]
    assert sentence_score(["x", "x", "y"], Arpa(levels)) == pytest.approx(-0.2 - 0.6 - 0.25 - 0.7 - 0.1 - 0.3)
    assert lm_score(levels, ["x", "x", "y"]) == pytest.approx(-0.2 - 0.6 - 0.25 - 0.7 - 0.1 - 0.3)


def test_a_lattice_with_too_many_arcs_gets_a_narrower_beam(caplog: pytest.LogCaptureFixture) -> None:
    graph, _ = make_graph("prefixes", 3, seed=2)
    log_probs, weights = random_log_probs(30, 0), Weights(lm=1.0)
    best = WfstSearch(graph, WHOLE).decode(log_probs, weights)
    whole = WfstSearch(graph, WfstConfig(lattice_beam=8.0)).lattice(log_probs, weights)
    limited = WfstConfig(lattice_beam=8.0, lattice_arcs=whole.num_arcs // 2)
    narrow = WfstSearch(graph, limited).lattice(log_probs, weights)
    assert 30 < narrow.num_arcs <= whole.num_arcs // 2
    assert narrow.nbest(weights, 1)[0].words == best.words
    assert "the lattice of beam 8 is too large or out of memory; a narrower one follows" in caplog.text
    path = WfstSearch(graph, WfstConfig(lattice_arcs=3)).lattice(log_probs, weights)
    assert path.num_arcs == len(best.words) + 1
    (only,) = path.nbest(weights, 5)
    assert (only.words, only.score(weights)) == (best.words, pytest.approx(best.total, abs=1e-3))
    assert only.acoustic == pytest.approx(best.acoustic, abs=1e-3)


@pytest.mark.parametrize("failures", [1, 99])
def test_without_memory_for_a_lattice_every_utterance_still_gets_its_words(
    failures: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    graph, _ = make_graph("homophones", 2, seed=2)
    log_probs, weights = random_log_probs(20, 0), Weights(lm=1.0)
    best = WfstSearch(graph, WHOLE).decode(log_probs, weights)
    whole, calls = wfst_lattice.lattice_arcs, itertools.count(1)

    def short_of_memory(*arguments: Any) -> Any:
        if next(calls) <= failures:
            raise MemoryError
        return whole(*arguments)

    monkeypatch.setattr(wfst_lattice, "lattice_arcs", short_of_memory)
    lattice = WfstSearch(graph, WfstConfig()).lattice(log_probs, weights)
    assert lattice.nbest(weights, 3)[0].words == best.words
    assert caplog.text.count("a narrower one follows") == min(failures, 4)
    assert (lattice.num_arcs == len(best.words) + 1) == (failures > 4)


def test_silent_and_impossible_utterances_have_a_lattice_without_words() -> None:
    graph, _ = make_graph("phones", 2, seed=0)
    search = WfstSearch(graph, WfstConfig())
    for log_probs in (np.zeros((0, 4), np.float32), np.full((3, 4), -np.inf, np.float32)):
        (only,) = search.lattice(log_probs, Weights()).nbest(Weights(), 10)
        assert only.words == []


def test_the_text_form_is_kaldis() -> None:
    graph, _ = make_graph("phones", 1, seed=0)
    log_probs: npt.NDArray[np.float32] = np.log(np.array([[0.05, 0.9, 0.03, 0.02]], np.float32))
    lattice = WfstSearch(graph, WfstConfig(lattice_beam=0.5)).lattice(log_probs, Weights(lm=1.0))
    lines = list(lattice.lines("utt1"))
    assert (lines[0], lines[-1]) == ("utt1", "")
    assert int(lines[-2]) == lattice.num_nodes - 1
    first = lines[1].split()
    assert first[:4] == ["0", "1", "2", "x"]
    graph_cost, acoustic_cost = map(float, first[4].split(","))
    assert acoustic_cost == pytest.approx(-math.log(0.9), abs=1e-4)
    assert graph_cost == pytest.approx(-float(lattice.arcs["graph"][0]), abs=1e-4)
