"""Beam search with neural language models in the first pass, against enumeration of all paths."""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from speechkit.decode.beam import BeamConfig, BeamSearch, Weights
from speechkit.decode.fusion import PrefixTree
from speechkit.decode.sweep import NEURAL_WEIGHTS, WORD_SCORES, sweep_utterance
from speechkit.lm.conv_lm import ConvLmConfig, GatedBlockConfig
from speechkit.lm.units import Unit, learn_units
from speechkit.nn.transformer import StackConfig
from speechkit.tasks.fusion import FusedLanguageModel
from speechkit.tasks.language_model import LanguageModel, LmConfig
from speechkit.text.lang import Lang, make_lang
from speechkit.text.lexicon import Lexicon

pytest.importorskip("flashlight.lib.text", reason="beam search needs flashlight-text")
CPU = torch.device("cpu")
CONV = ConvLmConfig(embedding=8, blocks=(GatedBlockConfig(width=8, kernel=3), GatedBlockConfig(width=8, bottleneck=4)))
STACK = StackConfig(dim=8, layers=1, heads=2, feed_forward=8, norm_first=True)
WIDE = BeamConfig(size=5000, tokens=9, threshold=1e4)
WORDS = ["x", "xy", "yx", "yy"]


def model(unit: Unit, conv: bool, words: Sequence[str] = WORDS) -> LanguageModel:
    """An untrained model whose scores are far from equal."""
    torch.manual_seed(3)
    config = LmConfig(unit=unit, conv=CONV if conv else None, model=STACK, max_tokens=512)
    found = LanguageModel(config, learn_units(unit, [words], 0))
    for parameter in found.module.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return found


def collapse(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(token for before, token in itertools.pairwise((0, *path)) if token not in (before, 0))


def enumerated(
    log_probs: np.ndarray, lm: LanguageModel, words_of: Callable[[tuple[int, ...]], list[str] | None]
) -> dict[tuple[str, ...], tuple[float, float]]:
    """Acoustic score of the best path of each word sequence among all V^T, and the language model's score of it."""
    best: dict[tuple[str, ...], float] = {}
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        words = words_of(collapse(path))
        if words is not None:
            score = float(sum(log_probs[t, token] for t, token in enumerate(path)))
            best[tuple(words)] = max(best.get(tuple(words), -math.inf), score)
    scores = lm.log_probs(list(best), CPU)
    return {words: (acoustic, score) for (words, acoustic), score in zip(best.items(), scores, strict=True)}


def spelled(lang: Lang) -> Callable[[tuple[int, ...]], list[str] | None]:
    def words_of(tokens: tuple[int, ...]) -> list[str] | None:
        symbols = "".join(lang.tokens.symbols(tokens))
        words = [word for word in symbols.split("|") if word]  # further boundaries between words are free
        return words if symbols.endswith("|") and words and set(words) <= set(WORDS) else None

    return words_of


def emissions(size: int, frames: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return np.log(generator.dirichlet(np.full(size, 0.7), size=frames)).astype(np.float32).clip(-20)


@pytest.mark.parametrize("weights", [Weights(lm=0.0, neural=1.0), Weights(lm=0.0, neural=2.0, word=1.5)])
@pytest.mark.parametrize(("unit", "conv"), [("word", True), ("char", True), ("word", False), ("char", False)])
@pytest.mark.parametrize("spelling", ["char", "phone"])
def test_the_search_finds_the_best_of_all_word_sequences(
    spelling: str, unit: Unit, conv: bool, weights: Weights
) -> None:
    lexicon = Lexicon([(word, [*word]) for word in WORDS])
    lang = make_lang("char", WORDS) if spelling == "char" else make_lang("phone", [], lexicon=lexicon)
    assert list(lang.tokens) == ["<blk>", "|", "x", "y"]
    lm = model(unit, conv)
    search = BeamSearch(lang, FusedLanguageModel(lm, CPU), WIDE)
    changed = 0
    for seed in range(3):
        log_probs = emissions(4, 7, seed)
        scores = enumerated(log_probs, lm, spelled(lang))

        def total(words: tuple[str, ...], weights: Weights = weights, scores: dict = scores) -> float:  # type: ignore[type-arg]
            acoustic, language = scores[words]
            return float(acoustic + weights.neural * language + weights.word * len(words))

        found = search.search(log_probs, weights)
        best = max(found, key=lambda each: each.score(weights))
        assert tuple(best.words) == max(scores, key=total)
        assert best.score(weights) == pytest.approx(total(tuple(best.words)), abs=1e-3)
        assert {tuple(each.words) for each in found} >= set(sorted(scores, key=total)[-5:])
        for each in found:
            if each.words:
                assert each.neural == pytest.approx(scores[tuple(each.words)][1], abs=1e-3)
                assert each.lm == 0
        changed += tuple(best.words) != max(scores, key=lambda words: scores[words][0])  # noqa: B023
    assert changed  # the language model decides something


@pytest.mark.parametrize("conv", [True, False])
def test_tokens_that_are_words(conv: bool) -> None:
    lang, lm = make_lang("word", ["a b c"]), model("word", conv, ["a", "b", "c"])
    search, weights = BeamSearch(lang, FusedLanguageModel(lm, CPU), WIDE), Weights(lm=0.0, neural=1.0, word=0.5)
    for seed in range(3):
        log_probs = emissions(4, 6, seed)
        scores = enumerated(log_probs, lm, lang.words)
        best = max(scores, key=lambda w: scores[w][0] + scores[w][1] + 0.5 * len(w))  # noqa: B023
        assert tuple(search.decode(log_probs, weights)) == best


def test_sweep_gives_what_decoding_with_each_pair_of_weights_gives() -> None:
    lang, lm = make_lang("char", WORDS), model("char", True)
    search, log_probs = BeamSearch(lang, FusedLanguageModel(lm, CPU), WIDE), emissions(4, 7, 5)
    found = sweep_utterance(search, log_probs)
    assert len(found) == len(NEURAL_WEIGHTS) * len(WORD_SCORES)
    for weights in list(found)[::7]:
        assert weights.lm == 0
        assert search.decode(log_probs, weights) == found[weights]


def test_what_was_read_before_changes_nothing() -> None:
    lang, lm = make_lang("char", WORDS), model("char", True)
    search, weights = BeamSearch(lang, FusedLanguageModel(lm, CPU), WIDE), Weights(lm=0.0, neural=1.0)
    inputs = [emissions(4, 9, seed) for seed in range(3)]
    one_after_another = [search.decode(each, weights) for each in inputs]
    for each, words in zip(inputs, one_after_another, strict=True):
        assert search.tree is not None
        search.tree.clear()
        assert search.decode(each, weights) == words


class CountedModel(FusedLanguageModel):
    """Notes how many beginnings each reading has."""

    def read(self, states: Sequence[object], tokens: Sequence[int]):  # type: ignore[no-untyped-def]
        self.sizes = [*getattr(self, "sizes", []), len(tokens)]
        return super().read(states, tokens)


def test_each_beginning_is_read_once_and_many_together() -> None:
    counted = CountedModel(model("char", True), CPU)
    tree = PrefixTree(counted)
    ends = [tree.follow(tree.root, counted.encode_word(word)) for word in WORDS]
    tree.read(ends)
    assert counted.sizes == [1, 2, 4, 3]  # the start; x y; x| xy yx yy; xy| yx| yy|
    assert tree.log_prob(tree.root, counted.encode_word("xy")) < 0
    assert len(counted.sizes) == 4
    total = tree.log_prob(tree.root, [*counted.encode_word("xy"), *counted.encode_word("yy"), 0])
    assert total == pytest.approx(counted.model.log_probs([["xy", "yy"]], CPU)[0], abs=1e-4)
    assert counted.sizes[4:] == [1, 1, 1]
