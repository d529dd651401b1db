"""ARPA files and perplexity, against KenLM's own reading."""

import gzip
import random

import pytest

from speechkit.common.errors import SpeechkitError
from speechkit.lm.arpa import read_arpa
from speechkit.lm.counts import count_ngrams
from speechkit.lm.kneser_ney import estimate
from speechkit.lm.perplexity import perplexity


@pytest.fixture
def model(tmp_path):
    rng = random.Random(2)
    sentences = [rng.choices("abcdef", [6, 5, 4, 3, 2, 1], k=rng.randint(1, 8)) for _ in range(100)]
    path = tmp_path / "modèle" / "lm.arpa"
    estimate(count_ngrams(sentences, 3)).write(path)
    return path


def test_scores_are_those_of_kenlm(model):
    kenlm = pytest.importorskip("kenlm", reason="pip install kenlm to compare with it")
    arpa, reference = read_arpa(model), kenlm.Model(str(model))
    rng = random.Random(0)
    for _ in range(50):
        words = rng.choices("abcdefx", k=rng.randint(0, 6))
        text = ["<s>", *words, "</s>"]
        total = sum(arpa.log10_prob(text[index], text[:index]) for index in range(1, len(text)))
        assert total == pytest.approx(reference.score(" ".join(words)), abs=1e-4)


def test_perplexity_counts_sentence_ends_and_unknown_words(model, tmp_path):
    pytest.importorskip("kenlm", reason="pip install kenlm to compute perplexities")
    text = tmp_path / "text.txt"
    text.write_text("a b x\n\nf\n")
    arpa = read_arpa(model)
    expected = sum(
        arpa.log10_prob(sentence[index], sentence[:index])
        for sentence in (["<s>", "a", "b", "x", "</s>"], ["<s>", "</s>"], ["<s>", "f", "</s>"])
        for index in range(1, len(sentence))
    )
    found = perplexity(model, text)
    assert (found.tokens, found.unknown) == (7, 1)
    assert found.value == pytest.approx(10 ** (-expected / 7), rel=1e-4)


def test_gzip_is_read_too(model, tmp_path):
    packed = tmp_path / "lm.arpa.gz"
    packed.write_bytes(gzip.compress(model.read_bytes()))
    assert read_arpa(packed) == read_arpa(model)


def test_damaged_files_are_named(model, tmp_path):
    lines = model.read_text(encoding="utf-8").splitlines(keepends=True)
    broken = tmp_path / "broken.arpa"
    broken.write_text("".join(lines[:-20]))
    with pytest.raises(SpeechkitError, match="broken.arpa: not a whole ARPA file"):
        read_arpa(broken)
    broken.write_text("".join([*lines[:8], "-1.5 a b c d e\n", *lines[8:]]))
    with pytest.raises(SpeechkitError, match=r"broken.arpa:9: not a line"):
        read_arpa(broken)
    with pytest.raises(SpeechkitError, match="does not exist"):
        read_arpa(tmp_path / "none.arpa")
