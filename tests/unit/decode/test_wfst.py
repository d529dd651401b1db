"""The graph search against enumeration of all sentences, and against kaldi-decoder on random graphs."""

import math
import threading
from typing import Any

import numpy as np
import pytest
from wfst_cases import LEXICONS, TOKENS, make_graph, make_levels, random_log_probs, readings

from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.decode import wfst
from speechkit.decode.beam import Weights
from speechkit.decode.graph_backends import KaldiSearch, graph_search
from speechkit.decode.wfst import WfstConfig, WfstSearch
from speechkit.fsa.wfst.compile import compile_graph, spelled_in_states
from speechkit.fsa.wfst.graph import DecodingGraph, Topology

pytest.importorskip("kaldifst", reason="decoding graphs need kaldifst")
WIDE = WfstConfig(beam=1e4, max_active=100_000)
WEIGHTS = (Weights(lm=0.0), Weights(lm=1.0), Weights(lm=2.0, word=1.5), Weights(lm=0.5, word=-2.0))


@pytest.mark.parametrize("kind", ["ctc", "ctc-modified"])
@pytest.mark.parametrize(("lexicon", "order"), [("phones", 2), ("prefixes", 3), ("homophones", 2), ("doubled", 3)])
def test_the_best_of_all_sentences_is_found(lexicon: str, order: int, kind: str) -> None:
    graph, levels = make_graph(lexicon, order, seed=order, kind=kind)
    search = WfstSearch(graph, WIDE)
    for seed in range(4):
        log_probs = random_log_probs(5, seed)
        found = readings(log_probs, lexicon, levels, kind)
        for weights in WEIGHTS:
            best = max(each.score(weights.lm, weights.word) for each in found)
            result = search.decode(log_probs, weights)
            assert result.complete
            assert result.total == pytest.approx(best, abs=1e-3)
            (same,) = [each for each in found if each.words == result.words]
            assert same.score(weights.lm, weights.word) == pytest.approx(best, abs=1e-3)
            assert result.acoustic == pytest.approx(same.acoustic, abs=1e-3)
            assert result.graph == pytest.approx(best - same.acoustic, abs=1e-3)


CTC = Topology()


def large_graph(kind: Topology = CTC, words: int = 60, longest: int = 4) -> DecodingGraph:
    """Words of up to `longest` of 5 tokens, among them homophones and beginnings of others, under a trigram."""
    rng = np.random.default_rng(0)
    names = [f"w{number}" for number in range(words)]
    entries = [(name, rng.integers(1, 6, size=rng.integers(1, longest + 1)).tolist()) for name in names]
    tokens = ["<blk>", *"abcde"]
    if kind.kind == "hmm":
        entries = [(name, spelling) for name, spelling in spelled_in_states(entries, 2)]
        tokens = [f"{token}.{state}" for token in tokens for state in range(2)]
    levels = make_levels(names[:8], 3, seed=1)
    rest = {(name,): (-2.0 - 0.001 * place, -0.2) for place, name in enumerate(names[8:])}
    return compile_graph(entries, [levels[0] | rest, *levels[1:]], tokens, topology=kind)


TOPOLOGIES = {
    "ctc": CTC,
    "ctc-modified": Topology("ctc-modified"),
    "hmm": Topology("hmm", math.log(0.75), math.log(0.25)),
}


@pytest.mark.parametrize("topology", TOPOLOGIES.values(), ids=TOPOLOGIES)
def test_the_best_score_is_that_of_kaldi_decoder(topology: Topology) -> None:
    pytest.importorskip("kaldi_decoder", reason="kaldi-decoder is not installed")
    graph = large_graph(topology)
    ours, theirs = WfstSearch(graph, WIDE), KaldiSearch(graph, WIDE)
    for weights in WEIGHTS:
        for seed in range(6):
            log_probs = random_log_probs(10 + 7 * seed, seed, tokens=len(graph.tokens))
            mine, other = ours.decode(log_probs, weights), theirs.decode(log_probs, weights)
            assert mine.complete == other.complete
            assert mine.total == pytest.approx(other.total, abs=2e-3)
            assert mine.acoustic + mine.graph == pytest.approx(mine.total)


@pytest.mark.parametrize(("frames", "words", "longest"), [(3000, 60, 4), (30, 3000, 7)], ids=["long", "wide"])
def test_what_outgrows_the_first_arrays_is_as_right(frames: int, words: int, longest: int) -> None:
    pytest.importorskip("kaldi_decoder", reason="kaldi-decoder is not installed")
    graph = large_graph(CTC, words, longest)
    log_probs = random_log_probs(frames, 0, tokens=len(graph.tokens))
    config, weights = WfstConfig(beam=40.0, max_active=100_000), Weights(lm=1.0)
    mine = WfstSearch(graph, config).decode(log_probs, weights)
    other = KaldiSearch(graph, config).decode(log_probs, weights)
    assert mine.words == other.words
    assert mine.frames == sorted(mine.frames)
    assert mine.total == pytest.approx(other.total, rel=1e-5)


def test_narrow_beams_and_few_hypotheses_find_no_better_path() -> None:
    graph = large_graph()
    log_probs = random_log_probs(60, 3, tokens=len(graph.tokens))
    best = WfstSearch(graph, WIDE).decode(log_probs, Weights(lm=1.0)).total
    totals = [
        WfstSearch(graph, WfstConfig(beam=beam, max_active=most)).decode(log_probs, Weights(lm=1.0)).total
        for beam, most in ((0.5, 3000), (3, 3000), (8, 3000), (30, 3000), (30, 5), (30, 50))
    ]
    assert all(total <= best + 1e-3 for total in totals)
    assert totals[:4] == sorted(totals[:4])
    assert totals[3] == pytest.approx(best, abs=1e-3)


def test_words_carry_the_frame_in_which_they_were_entered() -> None:
    graph, _ = make_graph("phones", 1, seed=0)
    path = [0, 1, 1, 0, 0, 2, 0, 2, 3]
    log_probs = np.full((len(path), 4), -9.0, np.float32)
    log_probs[np.arange(len(path)), path] = -0.01
    result = WfstSearch(graph, WIDE).decode(log_probs, Weights(lm=0.0))
    assert (result.words, result.frames) == (["x", "y", "y", "z"], [1, 5, 7, 8])


def test_threads_share_one_search() -> None:
    graph = large_graph()
    search = WfstSearch(graph, WfstConfig())
    utterances = [random_log_probs(80, seed, tokens=len(graph.tokens)) for seed in range(12)]
    expected = [search.decode(each, Weights()) for each in utterances]
    found: dict[int, Any] = {}

    def work(first: int) -> None:
        for number in range(first, len(utterances), 3):
            found[number] = search.decode(utterances[number], Weights())

    threads = [threading.Thread(target=work, args=(first,)) for first in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[number] for number in range(len(utterances))] == expected


def test_utterances_without_frames_or_without_a_path() -> None:
    graph, _ = make_graph("phones", 2, seed=0)
    search = WfstSearch(graph, WIDE)
    assert search.decode(np.zeros((0, 4), np.float32), Weights()).words == []
    nothing = search.decode(np.full((3, 4), -np.inf, np.float32), Weights())
    assert (nothing.words, nothing.total, nothing.complete) == ([], -math.inf, False)
    # "aa" cannot end within one frame, and nothing else may be said: what was heard so far counts.
    levels = [{("<s>",): (-99.0, 0.0), ("</s>",): (-1.0, 0.0), ("aa",): (-0.1, 0.0)}, {("<s>", "aa"): (-0.1, 0.0)}]
    unfinished = compile_graph(LEXICONS["doubled"][1:2], levels, TOKENS)
    log_probs = np.array([[-9, -0.1, -9, -9], [-9, -0.1, -9, -9]], np.float32)
    result = WfstSearch(unfinished, WfstConfig(beam=5)).decode(log_probs, Weights())
    assert not result.complete
    assert result.total > -1.5


def test_input_that_does_not_fit_is_an_error() -> None:
    graph, _ = make_graph("phones", 2, seed=0)
    search = WfstSearch(graph, WIDE)
    with pytest.raises(SpeechkitError, match="5 tokens and the decoding graph 4"):
        search.decode(np.zeros((3, 5), np.float32), Weights())
    with pytest.raises(SpeechkitError, match="not finite"):
        search.decode(np.full((3, 4), np.nan, np.float32), Weights())
    with pytest.raises(SpeechkitError, match="widen it"):
        WfstConfig(beam=0)
    with pytest.raises(UsageError, match="did you mean 'kaldi-decoder'"):
        graph_search("kaldi-decodr", graph, WIDE)


def test_a_search_that_runs_out_of_memory_goes_on_with_a_narrower_beam(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    graph = large_graph()
    log_probs = random_log_probs(40, 0, tokens=len(graph.tokens))
    search = WfstSearch(graph, WfstConfig(beam=16.0))
    whole = WfstSearch._found

    def short_of_memory(self: WfstSearch, log_probs: Any, weights: Any, config: WfstConfig, keep: bool) -> Any:
        if config.beam > 8:
            raise MemoryError
        return whole(self, log_probs, weights, config, keep)

    monkeypatch.setattr(wfst.WfstSearch, "_found", short_of_memory)
    assert search.decode(log_probs, Weights()).words == WfstSearch(graph, WfstConfig(beam=8.0)).decode(
        log_probs, Weights()
    ).words  # fmt: skip
    assert "out of memory with a beam of 16; a narrower one follows" in caplog.text
