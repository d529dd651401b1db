"""Graphs of unpaired text, whose silence is the blank, and of hidden Markov models, against enumeration."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from wfst_cases import alignment_score, lm_score, random_log_probs, sentences

from speechkit.cli import main
from speechkit.decode.beam import Weights
from speechkit.decode.wfst import WfstConfig, WfstSearch
from speechkit.fsa.wfst.compile import compile_graph
from speechkit.fsa.wfst.graph import DecodingGraph, Topology
from speechkit.fsa.wfst.lexicon import Silence
from speechkit.lm.arpa import read_arpa
from speechkit.text.lang import Lang

pytest.importorskip("kaldifst", reason="decoding graphs need kaldifst")
WIDE = WfstConfig(beam=1e4, max_active=100_000)
LEXICON = {"ab": "a b", "a": "a", "bee": "b", "be": "b"}


def command(*arguments: str | Path) -> None:
    assert main([str(each) for each in arguments]) == 0


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    rng = np.random.default_rng(0)
    lines = [" ".join(rng.choice(list(LEXICON), size=rng.integers(1, 5))) for _ in range(40)]
    (folder / "lm.txt").write_text("\n".join(lines) + "\n")
    (folder / "lexicon.txt").write_text("".join(f"{word} {phones}\n" for word, phones in LEXICON.items()))
    command("unpaired-text", "--text", folder / "lm.txt", "--lexicon", folder / "lexicon.txt", "--out", folder / "text")
    return folder / "text"


def decoded(graph: DecodingGraph, seed: int, weights: Weights) -> tuple[list[str], float]:
    found = WfstSearch(graph, WIDE).decode(random_log_probs(4, seed, len(graph.tokens)), weights)
    assert found.complete
    return found.words, found.total


@pytest.mark.parametrize(("kind", "order"), [("words", 2), ("phones", 3)])
def test_words_and_phones_with_silence_as_the_blank(text: Path, tmp_path: Path, kind: str, order: int) -> None:
    lang = text / ("lang" if kind == "words" else "phone_lang")
    arpa = tmp_path / "lm.arpa"
    command("ngram", "--text", text / f"{kind}.txt", "--order", str(order), "--out", arpa, "--estimator", "own")
    command("graph", "--lang", lang, "--lm", arpa, "--out", tmp_path / "graph")
    graph, language, levels = DecodingGraph.load(tmp_path / "graph"), Lang.load(lang), read_arpa(arpa).levels
    assert graph.tokens == tuple(language.tokens) == ("<blk>", "a", "b")
    spelled = {word: language.tokens.ids(phones) for word, phones in language.lexicon.entries}
    known = {*spelled, "<s>", "</s>"}
    kept = [{ngram: row for ngram, row in level.items() if known.issuperset(ngram)} for level in levels]
    weights = Weights(lm=1.5, word=0.3)
    for seed in range(3):
        log_probs = random_log_probs(4, seed, 3)
        scores = {}
        for words in sentences(list(spelled), 4):
            tokens = list(itertools.chain.from_iterable(spelled[word] for word in words))
            acoustic = alignment_score(log_probs, tokens, parts_equal=True)
            scores[words] = acoustic + weights.lm * lm_score(kept, words) + weights.word * len(words)
        best = max(scores.values())
        words, total = decoded(graph, seed, weights)
        assert total == pytest.approx(best, abs=1e-3)
        assert scores[tuple(words)] == pytest.approx(best, abs=1e-3)


def hmm_score(log_probs: np.ndarray, states: list[int], loop: float, forward: float) -> float:
    """The best path through all of `states` in a row; each is left for the next or the end."""
    scores = np.full(len(states), -np.inf)
    for t, row in enumerate(log_probs.astype(np.float64)):
        entered = np.append(0.0 if t == 0 else -np.inf, scores[:-1] + forward)
        scores = np.maximum(scores + loop, entered) + row[states]
    return float(scores[-1] + forward) if states else -math.inf


def test_silence_of_three_states_between_units_of_one() -> None:
    entries, names = [("a", [0]), ("b", [1]), ("ab", [0, 1])], ["a_0", "b_0", "sil_0", "sil_1", "sil_2"]
    levels = [{(word,): (-0.5, 0.0) for word in ("a", "b", "ab", "</s>")}]
    loop, forward, probability = math.log(0.6), math.log(0.4), 0.3
    topology = Topology("hmm", loop, forward)
    graph = compile_graph(entries, levels, names, topology=topology, silence=Silence(2, probability, 3))
    spelled = dict(entries)
    ln10 = math.log(10)
    for seed in range(4):
        log_probs = random_log_probs(7, seed, 5)
        best = -math.inf
        for words in sentences(list(spelled), 3):
            for pauses in itertools.product((False, True), repeat=len(words) + 1):
                states, score = [], 0.0
                for place, pause in enumerate(pauses):
                    states += [2, 3, 4] * pause
                    score += math.log(probability if pause else 1 - probability) / ln10
                    states += spelled[words[place]] if place < len(words) else []
                lm = score - 0.5 * (len(words) + 1)
                best = max(best, hmm_score(log_probs, states, loop, forward) + 2.0 * lm)
        found = WfstSearch(graph, WIDE).decode(log_probs, Weights(lm=2.0))
        assert found.total == pytest.approx(best, abs=1e-3)


def test_the_silence_that_timit_scores_is_that_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "phn.txt").write_text("h# sh iy pau d h#\nh# d iy epi sh h#\n" * 4)
    options = ("--phones", "--phone-set", "39", "--score-silence", "--out", tmp_path / "text")
    command("unpaired-text", "--text", tmp_path / "phn.txt", *options)
    arpa, out = tmp_path / "lm.arpa", tmp_path / "graph"
    command("ngram", "--text", tmp_path / "text/phones.txt", "--order", "2", "--out", arpa, "--estimator", "own")
    command("graph", "--lang", tmp_path / "text/lang", "--lm", arpa, "--out", out)
    graph = DecodingGraph.load(out)
    assert graph.tokens == ("<blk>", "d", "iy", "sh", "sil")
    log_probs = np.full((6, 5), -8.0, np.float32)
    log_probs[range(6), [4, 3, 2, 4, 1, 4]] = -0.1
    assert WfstSearch(graph, WIDE).decode(log_probs, Weights()).words == ["sil", "sh", "iy", "sil", "d", "sil"]
