"""The own estimator against a case worked by hand, a plain formulation with dictionaries, and lmplz where built."""

import random
from collections import Counter, defaultdict

import numpy as np
import pytest

from speechkit.cli import main
from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.lm.arpa import read_arpa
from speechkit.lm.counts import count_ngrams, read_sentences
from speechkit.lm.kneser_ney import FALLBACK, estimate, estimate_discounts
from speechkit.lm.lmplz import find_lmplz

# Sentences "a" and "a b", bigrams, discounts 0.5, 1 and 1.5 (worked by hand): unigram counts of left neighbours are
# a 1, b 1, </s> 2; 2 of 4 is discounted and spread over <unk>, </s>, a, b.
BY_HAND = {
    ("<unk>",): 0.125, ("a",): 0.25, ("b",): 0.25, ("</s>",): 0.375,
    ("<s>", "a"): 0.625, ("a", "b"): 0.375, ("a", "</s>"): 0.4375, ("b", "</s>"): 0.6875,
}  # fmt: skip
BACKOFFS_BY_HAND = {"<s>": 0.5, "a": 0.5, "b": 0.5, "</s>": 1.0, "<unk>": 1.0}


def random_sentences(seed, num_sentences=250, num_words=25):
    rng = random.Random(seed)
    words = [f"w{index}" for index in range(num_words)]
    weights = [1 / (index + 1) for index in range(num_words)]
    return [rng.choices(words, weights, k=rng.randint(0, 9)) for _ in range(num_sentences)]


def estimated(sentences, order, path):
    estimate(count_ngrams(sentences, order)).write(path)
    return read_arpa(path)


class Definition:
    """Probabilities straight from Chen and Goodman's recursion, one query at a time."""

    def __init__(self, sentences, order):
        texts = [["<s>", *words, "</s>"] for words in sentences]
        self.order, self.words = order, {word for text in texts for word in text} - {"<s>"}
        self.counts = [Counter() for _ in range(order)]
        for text in texts:
            for start in range(len(text)):
                for length in range(1, min(order, len(text) - start) + 1):
                    self.counts[length - 1][tuple(text[start : start + length])] += 1
        for length in range(1, order):
            seen_before = Counter(ngram[1:] for ngram in self.counts[length])
            plain = self.counts[length - 1]
            self.counts[length - 1] = Counter(
                {ngram: plain[ngram] if ngram[0] == "<s>" else seen_before[ngram] for ngram in plain}
            )
        self.counts[0].pop(("<s>",))
        self.discounts = [self._discounts(counts) for counts in self.counts]
        self.after = [defaultdict(list) for _ in range(order)]
        for after, counts in zip(self.after, self.counts, strict=True):
            for ngram, count in counts.items():
                after[ngram[:-1]].append(count)

    @staticmethod
    def _discounts(counts):
        n = Counter(counts.values())
        if not (n[1] and n[2] and n[3]):
            return [0, *FALLBACK]
        y = n[1] / (n[1] + 2 * n[2])
        found = [0, *(k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3))]
        return found if all(0 <= d <= k for k, d in enumerate(found)) else [0, *FALLBACK]

    def prob(self, word, context):
        context = tuple(context)[max(0, len(context) - self.order + 1) :]
        lower = self.prob(word, context[1:]) if context else 1 / (len(self.words) + 1)
        counts, discounts = self.after[len(context)][context], self.discounts[len(context)]
        if not counts:
            return lower
        count = self.counts[len(context)][(*context, word)]
        taken = sum(discounts[min(each, 3)] for each in counts)
        return (max(count - discounts[min(count, 3)], 0) + taken * lower) / sum(counts)


def test_small_case_worked_by_hand(tmp_path):
    arpa = estimated([["a"], ["a", "b"]], 2, tmp_path / "lm.arpa")
    found = {ngram: 10**prob for level in arpa.levels for ngram, (prob, _) in level.items()}
    assert found.pop(("<s>",)) == 1.0
    assert found == pytest.approx(BY_HAND, rel=1e-5)
    assert {word: 10 ** arpa.levels[0][word,][1] for word in BACKOFFS_BY_HAND} == pytest.approx(
        BACKOFFS_BY_HAND, rel=1e-5
    )


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_agrees_with_the_definition_for_seen_and_unseen(order, tmp_path):
    sentences = random_sentences(order)
    arpa, definition = estimated(sentences, order, tmp_path / "lm.arpa"), Definition(sentences, order)
    rng = random.Random(0)
    words = sorted(definition.words)
    for _ in range(300):
        text = ["<s>", *rng.choices(words[:-1], k=rng.randint(0, 4)), rng.choice([*words, "never"])]
        start = rng.randrange(len(text))
        context = text[start:-1]
        assert 10 ** arpa.log10_prob(text[-1], context) == pytest.approx(definition.prob(text[-1], context), rel=1e-5)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_after_every_context_sum_to_one(order, tmp_path):
    arpa = estimated(random_sentences(7, 120, 12), order, tmp_path / "lm.arpa")
    contexts = [(), *(ngram for level in arpa.levels[:-1] for ngram in level if ngram[-1] not in ("</s>", "<unk>"))]
    for context in contexts:
        total = sum(10 ** arpa.log10_prob(word, context) for word in arpa.words if word != "<s>")
        assert total == pytest.approx(1, abs=1e-5), context


def test_discounts_of_equation_26_and_when_they_are_undefined():
    # n1 = 8, n2 = 4, n3 = 2, n4 = 1: Y = 8/16, D1 = 1 - 2Y 4/8, D2 = 2 - 3Y 2/4, D3 = 3 - 4Y 1/2
    adjusted = np.repeat([1, 2, 3, 4, 9, 0], [8, 4, 2, 1, 3, 5])
    assert estimate_discounts(adjusted) == pytest.approx((0.5, 1.25, 2.0))
    assert estimate_discounts(np.array([1, 1, 2, 4])) is None
    assert estimate_discounts(np.repeat([1, 2, 3, 4], [9, 1, 9, 9])) is None


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("kind", ["random", "phones", "one word"])
def test_same_model_as_lmplz(order, kind, tmp_path):
    program = find_lmplz()
    if program is None:
        pytest.skip("lmplz is not built; run tools/install_kenlm.sh to compare with it")
    sentences = {
        "random": lambda: random_sentences(3, 2000, 200),
        "phones": lambda: [f"sil {' '.join(words)} sil".split() for words in random_sentences(5, 40, 10)],
        "one word": lambda: [["one"]],
    }[kind]()
    text = tmp_path / "text Ü.txt"
    text.write_text("".join(f"{' '.join(words)}\n" for words in sentences), encoding="utf-8")
    for estimator in ("own", "lmplz"):
        command = ["ngram", "--text", str(text), "--order", str(order), "--out", str(tmp_path / f"{estimator}.arpa")]
        assert main([*command, "--estimator", estimator]) == 0
    ours, theirs = (read_arpa(tmp_path / f"{estimator}.arpa") for estimator in ("own", "lmplz"))
    for our_level, their_level in zip(ours.levels, theirs.levels, strict=True):
        assert our_level.keys() == their_level.keys()
        for ngram, values in their_level.items():
            assert our_level[ngram] == pytest.approx(values, abs=1e-4), ngram


def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, capsys):
    empty, special = tmp_path / "empty.txt", tmp_path / "special.txt"
    empty.write_text("\n  \n")
    special.write_text("a <s> b\n")
    out = tmp_path / "lm.arpa"
    cases = [
        (tmp_path / "none.txt", "2", 1, "does not exist"),
        (empty, "2", 1, "holds no words"),
        (empty, "0", 2, "at least 1"),
    ]
    for text, order, code, message in [*cases, (special, "2", 1, "holds the word <s>")]:
        assert main(["ngram", "--text", str(text), "--order", order, "--out", str(out), "--estimator", "own"]) == code
        assert message in capsys.readouterr().err
    assert (
        main(["ngram", "--text", str(special), "--order", "2", "--out", str(out), "--discount-fallback", "2", "1", "1"])
        == 2
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.txt", "special.txt"]
    with pytest.raises(UsageError):
        count_ngrams([["a"]], 0)
    with pytest.raises(SpeechkitError):
        count_ngrams([[], []], 2)


def test_missing_lmplz_is_an_error_only_when_asked_for(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("speechkit.lm.lmplz.find_lmplz", lambda: None)
    text, out = tmp_path / "text.txt", tmp_path / "lm.arpa"
    text.write_text("a b\n")
    assert main(["ngram", "--text", str(text), "--order", "2", "--out", str(out), "--estimator", "lmplz"]) == 1
    assert "tools/install_kenlm.sh" in capsys.readouterr().err
    assert main(["ngram", "--text", str(text), "--order", "2", "--out", str(out)]) == 0
    assert "own estimator" in capsys.readouterr().out


def test_a_failing_lmplz_leaves_nothing(tmp_path, monkeypatch, capsys):
    program, text = tmp_path / "lmplz", tmp_path / "text.txt"
    program.write_text("#!/bin/sh\necho half > /dev/null; echo 'no memory' >&2; exit 3\n")
    program.chmod(0o755)
    text.write_text("a b\n")
    monkeypatch.setenv("SPEECHKIT_KENLM", str(tmp_path))
    assert main(["ngram", "--text", str(text), "--order", "2", "--out", str(tmp_path / "lm.arpa")]) == 1
    assert "no memory" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lmplz", "text.txt"]


def test_sentences_are_split_at_ascii_blanks_only(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes("a\u00a0b  c\td \u3000\r\n\ne\rf\n".encode())
    assert list(read_sentences(path)) == [["a\u00a0b", "c", "d", "\u3000"], [], ["e", "f"]]
