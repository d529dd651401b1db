"""Greedy decoding and beam search against enumeration of all paths."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from speechkit.common.errors import SpeechkitError
from speechkit.decode.beam import BeamConfig, BeamSearch, Weights
from speechkit.decode.greedy import greedy
from speechkit.decode.sweep import LM_WEIGHTS, WORD_SCORES, SweepPoint, at_edge, rank, sweep_utterance
from speechkit.text.lang import Lang, make_lang
from speechkit.text.lexicon import Lexicon
from speechkit.text.pieces import Pieces
from speechkit.text.tokens import TokenTable

BIGRAM = {
    ("<s>", "a"): -0.2, ("<s>", "b"): -0.9, ("<s>", "c"): -1.3,
    ("a", "a"): -1.5, ("a", "b"): -0.3, ("a", "c"): -0.9, ("a", "</s>"): -0.8,
    ("b", "a"): -0.6, ("b", "b"): -1.1, ("b", "c"): -0.4, ("b", "</s>"): -0.9,
    ("c", "a"): -0.5, ("c", "b"): -0.8, ("c", "c"): -1.6, ("c", "</s>"): -0.5,
}  # fmt: skip


def write_bigram(path: Path, names: dict[str, str]) -> Path:
    """The bigram above as ARPA, its words renamed."""

    def rename(word: str) -> str:
        return names.get(word, word)

    unigrams = "".join(f"-1.0\t{rename(word)}\t0\n" for word in ("a", "b", "c"))
    bigrams = "".join(f"{score}\t{rename(first)} {rename(second)}\n" for (first, second), score in BIGRAM.items())
    counts = f"\\data\\\nngram 1=6\nngram 2={len(BIGRAM)}\n\n"
    special = "-9\t<unk>\n-99\t<s>\t0\n-9\t</s>\n"
    arpa = f"{counts}\\1-grams:\n{special}{unigrams}\n\\2-grams:\n{bigrams}\n\\end\\\n"
    path.write_text(arpa, encoding="utf-8")
    return path


def collapse(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(token for before, token in itertools.pairwise((0, *path)) if token not in (before, 0))


def lm_score(words: list[str]) -> float:
    return sum(BIGRAM[pair] for pair in itertools.pairwise(["<s>", *words, "</s>"]))


def best_by_enumeration(log_probs: np.ndarray, weights: Weights, words_of: object) -> list[str]:
    """The words of the best single path among all V^T, scored with LM and word score."""
    frames, size = log_probs.shape
    best: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(size), repeat=frames):
        score = float(sum(log_probs[t, token] for t, token in enumerate(path)))
        key = collapse(path)
        best[key] = max(best.get(key, -math.inf), score)
    scored: dict[tuple[str, ...], float] = {}
    for tokens, acoustic in best.items():
        words = words_of(tokens)  # type: ignore[operator]
        if words:
            score = acoustic + weights.lm * lm_score(words) + weights.word * len(words)
            scored[tuple(words)] = max(scored.get(tuple(words), -math.inf), score)
    return list(max(scored, key=lambda key: scored[key]))


def test_greedy_is_the_collapsed_best_path() -> None:
    torch.manual_seed(0)
    log_probs = torch.randn(4, 9, 3).log_softmax(-1)
    lengths = torch.tensor([9, 5, 1, 0])
    found = greedy(log_probs, lengths)
    for row, length, tokens in zip(log_probs, lengths.tolist(), found, strict=True):
        assert tuple(tokens) == collapse(tuple(row[:length].argmax(-1).tolist()))


@pytest.mark.parametrize(
    "weights", [Weights(lm=0.0), Weights(lm=1.0), Weights(lm=2.0, word=1.5), Weights(lm=0.0, word=-2.0)]
)
def test_tokens_that_are_words(tmp_path: Path, weights: Weights) -> None:
    lang = make_lang("word", ["a b c"])
    search = BeamSearch(
        lang, write_bigram(tmp_path / "été lm.arpa", {}), BeamConfig(size=2000, tokens=4, threshold=1e4)
    )
    generator = np.random.default_rng(7)
    for _ in range(5):
        log_probs = np.log(generator.dirichlet(np.full(4, 0.5), size=6)).astype(np.float32).clip(-20)
        expected = best_by_enumeration(log_probs, weights, lambda tokens: lang.words(tokens))
        assert search.decode(log_probs, weights) == expected


@pytest.mark.parametrize("weights", [Weights(lm=0.0), Weights(lm=1.0), Weights(lm=1.5, word=1.0)])
def test_spelled_words(tmp_path: Path, weights: Weights) -> None:
    lang = make_lang("phone", [], lexicon=Lexicon([("x", "x"), ("xy", "xy"), ("yx", "yx")]))
    assert list(lang.tokens) == ["<blk>", "|", "x", "y"]
    lm = write_bigram(tmp_path / "lm.arpa", {"a": "x", "b": "xy", "c": "yx"})
    search = BeamSearch(lang, lm, BeamConfig(size=5000, tokens=4, threshold=1e4))
    back = {"x": "a", "xy": "b", "yx": "c"}

    def words_of(tokens: tuple[int, ...]) -> list[str] | None:
        symbols = "".join(lang.tokens.symbols(tokens))
        if not symbols.endswith("|"):
            return None
        words = [back.get(word) for word in symbols.split("|") if word]  # further boundaries between words are free
        return None if None in words else words  # type: ignore[return-value]

    generator = np.random.default_rng(3)
    for _ in range(5):
        log_probs = np.log(generator.dirichlet(np.full(4, 0.7), size=7)).astype(np.float32).clip(-20)
        expected = best_by_enumeration(log_probs, weights, words_of)
        assert [back[word] for word in search.decode(log_probs, weights)] == expected


def test_sweep_gives_what_decoding_with_each_pair_of_weights_gives(tmp_path: Path) -> None:
    lang = make_lang("word", ["a b c"])
    search = BeamSearch(lang, write_bigram(tmp_path / "lm.arpa", {}), BeamConfig(size=500, tokens=4, threshold=1e4))
    log_probs = np.log(np.random.default_rng(1).dirichlet(np.full(4, 0.5), size=8)).astype(np.float32)
    found = sweep_utterance(search, log_probs)
    assert len(found) == len(LM_WEIGHTS) * len(WORD_SCORES)
    for weights, words in found.items():
        assert search.decode(log_probs, weights) == words


def test_of_equal_points_the_plainest_comes_first_and_edges_are_told() -> None:
    grid = [Weights(lm=lm, word=word) for lm in LM_WEIGHTS for word in WORD_SCORES]
    points = rank([{weights: ["a"] for weights in grid}], lambda weights, words: 5.0)
    assert points[0] == SweepPoint(Weights(lm=0.0, word=0.0), 5.0)
    points = rank([{weights: ["a"] for weights in grid}], lambda weights, words: 10.0 - weights.lm)
    assert points[0].weights.lm == LM_WEIGHTS[-1]
    assert at_edge(points) == ["lm"]


def test_an_empty_utterance_has_no_words(tmp_path: Path) -> None:
    search = BeamSearch(make_lang("word", ["a b c"]), write_bigram(tmp_path / "lm.arpa", {}), BeamConfig())
    assert search.decode(np.zeros((0, 4), dtype=np.float32), Weights()) == []


def test_a_missing_lm_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(SpeechkitError, match=r"none\.arpa does not exist.*greedy"):
        BeamSearch(make_lang("word", ["a"]), tmp_path / "none.arpa", BeamConfig())


def ends_heard(path: tuple[int, ...], starts: set[int]) -> bool:
    """Whether each word's last piece has one frame or is followed by a blank, before the next word or the end."""
    runs = [(token, len(list(group))) for token, group in itertools.groupby((*path, 0))]
    return all(
        length == 1 or following not in starts
        for (token, length), (following, _) in itertools.pairwise(runs)
        if token != 0
    )


@pytest.mark.parametrize("weights", [Weights(lm=0.0), Weights(lm=1.0), Weights(lm=1.5, word=1.0)])
def test_words_spelled_in_pieces(tmp_path: Path, weights: Weights) -> None:
    lexicon = Lexicon([("x", ["▁x"]), ("xy", ["▁x", "y"]), ("yx", ["▁y", "x"])])
    lang = Lang("bpe", TokenTable(["▁x", "▁y", "x", "y"]), lexicon, pieces=Pieces(b""))
    lm = write_bigram(tmp_path / "lm.arpa", {"a": "x", "b": "xy", "c": "yx"})
    search = BeamSearch(lang, lm, BeamConfig(size=5000, tokens=5, threshold=1e4))
    back = {"x": "a", "xy": "b", "yx": "c"}
    generator = np.random.default_rng(3)
    for _ in range(4):
        log_probs = np.log(generator.dirichlet(np.full(5, 0.7), size=6)).astype(np.float32).clip(-20)
        best, expected = -math.inf, [""]
        for path in itertools.product(range(5), repeat=6):
            symbols = "".join(lang.tokens.symbols(collapse(path)))
            words = [back.get(word, "") for word in symbols.split("▁")[1:]]
            if symbols.startswith("▁") and all(words) and ends_heard(path, {1, 2}):
                acoustic = float(sum(log_probs[t, token] for t, token in enumerate(path)))
                score = acoustic + weights.lm * lm_score(words) + weights.word * len(words)
                best, expected = max((best, expected), (score, words))
        assert [back[word] for word in search.decode(log_probs, weights)] == expected


def test_one_word_said_twice_in_pieces_is_two_words(tmp_path: Path) -> None:
    lexicon = Lexicon([(word, [f"▁{word}"]) for word in "abc"])
    lang = Lang("bpe", TokenTable(["▁a", "▁b", "▁c"]), lexicon, pieces=Pieces(b""))
    search = BeamSearch(lang, write_bigram(tmp_path / "lm.arpa", {}), BeamConfig())
    path = [1, 1, 0, 1, 2, 2, 2]
    log_probs = np.full((len(path), 4), -9.0, dtype=np.float32)
    log_probs[range(len(path)), path] = -0.001
    assert search.decode(log_probs, Weights(lm=0.5)) == ["a", "a", "b"]
