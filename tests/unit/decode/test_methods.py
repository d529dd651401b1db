"""Ways to decode with a language model: words, grids of weights and n-best lists agree, with and without rescoring."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from wfst_cases import LEXICONS, TOKENS, Levels, make_levels, random_log_probs

from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.decode.beam import BeamConfig, Hypothesis, Weights
from speechkit.decode.methods import BeamMethod, GraphMethod, Method
from speechkit.decode.rescore import sentence_score
from speechkit.decode.wfst import WfstConfig
from speechkit.fsa.wfst.compile import compile_graph
from speechkit.fsa.wfst.graph import Topology
from speechkit.lm.arpa import read_arpa, write_arpa
from speechkit.text.lang import Lang
from speechkit.text.lexicon import Lexicon
from speechkit.text.tokens import TokenTable

pytest.importorskip("kaldifst", reason="decoding graphs need kaldifst")
WIDE = WfstConfig(beam=1e3, max_active=10_000, lattice_beam=1e3)
POINTS = (Weights(lm=0.5, word=1.0), Weights(lm=2.0, word=-1.0), Weights(lm=0.0, word=0.0))


def write_levels(path: Path, levels: Levels) -> Path:
    sections = [
        [f"{prob}\t{' '.join(ngram)}\t{backoff}\n" for ngram, (prob, backoff) in level.items()] for level in levels
    ]
    write_arpa(path, [len(level) for level in levels], sections)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph of words that are tokens under a bigram, the bigram, and a trigram to rescore with."""
    folder = tmp_path_factory.mktemp("methods")
    levels = make_levels(["x", "y", "z"], 2, seed=4)
    write_levels(folder / "bigram.arpa", levels)
    write_levels(folder / "trigram.arpa", make_levels(["x", "y", "z"], 3, seed=5))
    compile_graph(LEXICONS["phones"], levels, TOKENS).save(folder / "graph")
    return folder


def beam_method(folder: Path, rescore: Path | None = None) -> Method:
    pytest.importorskip("flashlight.lib.text", reason="beam search needs flashlight-text")
    import json

    words = [word for word, _ in LEXICONS["phones"]]
    lang = Lang("word", TokenTable(TOKENS[1:]), Lexicon((word, [word]) for word in words))
    beam = BeamConfig(size=500, tokens=4, threshold=1e4)
    return BeamMethod(json.dumps(lang.state()), folder / "bigram.arpa", beam, rescore)


def make_method(name: str, folder: Path, rescore: bool) -> Method:
    other = folder / "trigram.arpa" if rescore else None
    return GraphMethod(folder / "graph", WIDE, rescore=other) if name == "wfst" else beam_method(folder, other)


@pytest.mark.parametrize("rescore", [False, True])
@pytest.mark.parametrize("name", ["beam", "wfst"])
def test_grids_hold_what_decoding_with_each_pair_of_weights_gives(name: str, rescore: bool, folder: Path) -> None:
    method = pickle.loads(pickle.dumps(make_method(name, folder, rescore)))
    method.prepare()
    log_probs = random_log_probs(6, 1)
    grid = method.grid(log_probs)
    assert len(grid) == 56
    for weights in POINTS:
        assert grid[weights] == method.words(log_probs, weights)


@pytest.mark.parametrize("rescore", [False, True])
@pytest.mark.parametrize("name", ["beam", "wfst"])
def test_n_best_lists_begin_with_the_words_and_fall(name: str, rescore: bool, folder: Path) -> None:
    method, weights, log_probs = make_method(name, folder, rescore), POINTS[0], random_log_probs(6, 2)
    found: list[Hypothesis] = method.nbest(log_probs, weights, 8)
    assert found[0].words == method.words(log_probs, weights)
    scores = [each.score(weights) for each in found]
    assert scores == sorted(scores, reverse=True)
    assert len({tuple(each.words) for each in found}) == len(found) == 8
    if rescore:
        model = read_arpa(folder / "trigram.arpa")
        for each in found:
            assert each.lm == pytest.approx(sentence_score(each.words, model), abs=1e-3)


def test_the_topology_of_the_model_overrides_the_graphs(folder: Path) -> None:
    method = GraphMethod(folder / "graph", WIDE)
    twice = np.log(np.array([[0.001, 0.997, 0.001, 0.001]] * 2, np.float32))
    reward = Weights(lm=0.0, word=5.0)
    assert method.words(twice, reward) == ["x"]
    assert replace(method, topology=Topology("ctc-modified")).words(twice, reward) == ["x", "x"]


def test_other_decoders_give_words_but_no_lattices(folder: Path) -> None:
    pytest.importorskip("kaldi_decoder", reason="kaldi-decoder is not installed")
    method = GraphMethod(folder / "graph", WIDE, backend="kaldi-decoder")
    log_probs = random_log_probs(9, 3)
    assert method.words(log_probs, POINTS[0]) == GraphMethod(folder / "graph", WIDE).words(log_probs, POINTS[0])
    with pytest.raises(UsageError, match="leave out --wfst-backend"):
        method.nbest(log_probs, POINTS[0], 3)


def test_what_is_missing_shows_before_the_first_utterance(folder: Path) -> None:
    with pytest.raises(SpeechkitError, match="nowhere is not a decoding graph"):
        GraphMethod(folder / "nowhere", WIDE).prepare()
    with pytest.raises(SpeechkitError, match=r"none\.arpa"):
        GraphMethod(folder / "graph", WIDE, rescore=folder / "none.arpa").prepare()
