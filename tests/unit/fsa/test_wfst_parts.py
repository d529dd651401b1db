"""The parts of decoding graphs: exchange with OpenFst, lexicon and grammar transducers."""

import itertools
import math
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from speechkit.common.errors import SpeechkitError
from speechkit.fsa.wfst.grammar import LN10, grammar_fst
from speechkit.fsa.wfst.lexicon import Silence, disambiguated, lexicon_fst
from speechkit.fsa.wfst.openfst import Fst, from_kaldifst, read_fst, to_kaldifst, write_fst
from speechkit.lm.arpa import Arpa, read_arpa
from speechkit.lm.counts import count_ngrams
from speechkit.lm.kneser_ney import estimate

kaldifst = pytest.importorskip("kaldifst", reason="decoding graphs need kaldifst")
WORDS = ("a", "b", "c", "d")
BACKOFF = len(WORDS) + 1


def random_fst(seed: int) -> Fst:
    rng = np.random.default_rng(seed)
    states, arcs = 7, 20
    columns = (rng.integers(0, 4, arcs), rng.integers(0, 4, arcs), rng.integers(0, states, arcs), rng.random(arcs))
    return Fst.from_arcs(2, rng.integers(0, states, arcs), columns, np.where(rng.random(states) < 0.5, np.inf, 0.5))


def test_a_transducer_comes_back_from_kaldifst_as_it_was(tmp_path: Path) -> None:
    ours = random_fst(0)
    theirs = to_kaldifst(ours)
    assert (theirs.start, theirs.num_states) == (ours.start, ours.num_states)
    rows = zip(ours.source, ours.destination, ours.ilabel, ours.olabel, ours.cost, strict=True)
    found = [
        (state, arc.nextstate, arc.ilabel, arc.olabel, pytest.approx(arc.weight.value))
        for state in range(theirs.num_states)
        for arc in kaldifst.ArcIterator(theirs, state)
    ]
    assert found == [tuple(row) for row in rows]
    assert [theirs.final(state).value for state in range(7)] == ours.final.tolist()
    again = from_kaldifst(theirs)
    for name in ("start", "arc_splits", "ilabel", "olabel", "destination", "cost", "final"):
        np.testing.assert_array_equal(getattr(again, name), getattr(ours, name), err_msg=name)
    write_fst(ours, tmp_path / "x.fst")
    content = (tmp_path / "x.fst").read_bytes()
    (tmp_path / "x.fst").write_bytes(b"text" + content[4:])
    with pytest.raises(SpeechkitError, match=r"x\.fst is not an OpenFst vector"):
        read_fst(tmp_path / "x.fst")


def test_shared_spellings_and_beginnings_of_others_are_told_apart() -> None:
    entries = [(1, (5,)), (2, (5, 6)), (3, (5, 6)), (4, (7,)), (5, (5,))]
    found = disambiguated(entries, 1)
    assert found == [(1, (5, -1)), (2, (5, 6, -1)), (3, (5, 6, -2)), (4, (7,)), (5, (5, -2))]
    spellings = [spelling for _, spelling in found]
    assert len(set(spellings)) == len(spellings)
    assert not any(a == b[: len(a)] for a, b in itertools.permutations(spellings, 2))


def outputs(fst: Fst, inputs: Sequence[int]) -> dict[tuple[int, ...], float]:
    """Cost of each output string that the transducer gives for the input, by following all arcs."""
    best: dict[tuple[int, ...], float] = {}
    waiting = [(fst.start, 0, (), 0.0)]
    while waiting:
        state, read, output, cost = waiting.pop()
        if read == len(inputs) and math.isfinite(fst.final[state]):
            total = cost + float(fst.final[state])
            best[output] = min(best.get(output, math.inf), total)
        for arc in range(fst.arc_splits[state], fst.arc_splits[state + 1]):
            label, word = int(fst.ilabel[arc]), int(fst.olabel[arc])
            if label == 0 or (read < len(inputs) and inputs[read] == label):
                after = (*output, word) if word else output
                waiting.append((fst.destination[arc], read + (label > 0), after, cost + float(fst.cost[arc])))
    return best


def test_the_lexicon_reads_spellings_as_words() -> None:
    lexicon, symbols = lexicon_fst([(1, (0, 1)), (2, (1,)), (3, (0, 1)), (1, (2,))], num_tokens=3, num_words=3)
    assert symbols == 3  # 0 for back-off, two for the words of one spelling
    one, two, three = 1, 2, 3
    disambiguation = [4, 5, 6]
    assert outputs(lexicon, [one, two, disambiguation[1], two]) == {(1, 2): 0}
    assert outputs(lexicon, [one, two, disambiguation[2], three]) == {(3, 1): 0}
    assert outputs(lexicon, [one, two]) == {}
    assert outputs(lexicon, [two, disambiguation[0], two]) == {(2, BACKOFF - 1, 2): 0}


def test_silence_may_come_between_words_at_a_cost() -> None:
    silence = Silence(2, 0.25)
    lexicon, symbols = lexicon_fst([(1, (0,)), (2, (1,))], num_tokens=3, num_words=2, silence=silence)
    assert symbols == 2
    pause, disambiguation = 3, 5
    costs = outputs(lexicon, [1, 2])
    assert costs == {(1, 2): pytest.approx(-3 * math.log(0.75))}
    costs = outputs(lexicon, [pause, disambiguation, 1, 2, pause, disambiguation])
    assert costs == {(1, 2): pytest.approx(-2 * math.log(0.25) - math.log(0.75))}
    with pytest.raises(ValueError, match="lies between 0 and 1"):
        Silence(2, 1.0)


def estimated(order: int, seed: int, folder: Path) -> Arpa:
    """A Kneser-Ney model of random sentences."""
    rng = random.Random(seed)
    sentences = [rng.choices(WORDS, weights=(6, 3, 2, 1), k=rng.randint(1, 6)) for _ in range(60)]
    model = estimate(count_ngrams(iter(sentences), order), (0.5, 1.0, 1.5))
    model.write(folder / "lm.arpa")
    return read_arpa(folder / "lm.arpa")


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_the_grammar_scores_sentences_as_the_model_does(order: int, tmp_path: Path) -> None:
    model = estimated(order, order, tmp_path)
    numbers = {word: number for number, word in enumerate(WORDS, start=1)}
    grammar = grammar_fst(model.levels, numbers, BACKOFF)
    rng = random.Random(0)
    for _ in range(30):
        sentence = rng.choices(WORDS, k=rng.randint(0, 5))
        expected = log10_prob(model, sentence)
        assert cost(grammar, [numbers[word] for word in sentence]) == pytest.approx(-LN10 * expected, abs=1e-4)


def log10_prob(model: Arpa, sentence: Sequence[str]) -> float:
    words = ["<s>", *sentence, "</s>"]
    return sum(model.log10_prob(word, words[:place]) for place, word in enumerate(words) if place)


def cost(grammar: Fst, sentence: Sequence[int], backoff: int = BACKOFF) -> float:
    """What reading a sentence costs, backing off only where there is no other way."""
    state, total = grammar.start, 0.0
    for word in [*sentence, None]:
        while True:
            arcs = range(grammar.arc_splits[state], grammar.arc_splits[state + 1])
            found = {int(grammar.ilabel[arc]): arc for arc in arcs}
            if word is None and math.isfinite(grammar.final[state]):
                return total + float(grammar.final[state])
            arc = found.get(word or 0, found.get(backoff, -1))
            state, total = int(grammar.destination[arc]), total + float(grammar.cost[arc])
            if grammar.ilabel[arc] == word:
                break
    raise AssertionError


def test_what_is_left_of_the_model_keeps_its_scores(tmp_path: Path) -> None:
    model = estimated(3, 3, tmp_path)
    grammar = grammar_fst(model.levels, {"a": 1, "d": 2}, 3)
    for sentence in itertools.product("ad", repeat=4):
        found = cost(grammar, ["ad".index(word) + 1 for word in sentence], backoff=3)
        assert found == pytest.approx(-LN10 * log10_prob(model, sentence), abs=1e-4)


def test_words_outside_the_lexicon_are_dropped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = estimated(3, 0, tmp_path)
    with caplog.at_level("INFO"):
        grammar = grammar_fst(model.levels, {"a": 1, "b": 2, "z": 3}, 4)
    assert "2 words of the language model are not in the lexicon and left out: c d" in caplog.text
    assert "1 words of the lexicon are not in the language model: z" in caplog.text
    assert set(grammar.ilabel.tolist()) == {1, 2, 4}
    with pytest.raises(SpeechkitError, match="no word of the language model"):
        grammar_fst(model.levels, {"z": 1}, 2)


def test_a_model_without_sentence_ends_is_an_error() -> None:
    with pytest.raises(SpeechkitError, match="no </s>"):
        grammar_fst([{("a",): (-0.1, 0.0)}], {"a": 1}, 2)
