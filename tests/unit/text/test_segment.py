"""Cutting tokens into words, against a search through all word sequences."""

import itertools
import random

import pytest

from speechkit.text.lexicon import Lexicon
from speechkit.text.segment import Segmenter

LEXICON = Lexicon([("ab", "ab"), ("abc", "abc"), ("c", "c"), ("ca", "ca"), ("bb", "bb"), ("see", "c"), ("bee", "dbb")])


def distance(first, second):
    row = list(range(len(second) + 1))
    for i, one in enumerate(first, start=1):
        previous, row[0] = row[0], i
        for j, two in enumerate(second, start=1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (one != two))
    return row[-1]


def best_cost(tokens):
    """Fewest edits, then fewest words, over all sequences of up to four words."""
    return min(
        (distance("".join("".join(spelling) for _, spelling in words), tokens), len(words))
        for length in range(5)
        for words in itertools.product(list(LEXICON.entries), repeat=length)
    )


def cost(words, tokens):
    """The least cost of `words` over their spellings."""
    spellings = itertools.product(*(LEXICON.spellings(word) for word in words))
    return min(distance("".join("".join(each) for each in choice), tokens) for choice in spellings), len(words)


@pytest.mark.parametrize("seed", range(12))
def test_segmentation_has_the_lowest_cost(seed):
    rng = random.Random(seed)
    tokens = "".join(rng.choices("abcd", k=rng.randint(1, 7)))
    assert cost(Segmenter(LEXICON).words(list(tokens)), tokens) == best_cost(tokens)


def test_exact_spellings_prefer_fewer_words_and_the_first_homophone():
    segmenter = Segmenter(LEXICON)
    assert segmenter.words(list("abc")) == ["abc"]
    assert segmenter.words(list("cabc")) == ["c", "abc"]
    assert segmenter.words([]) == []
