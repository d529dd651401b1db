"""Sentences and their prefixes, on sentences worked by hand."""

import numpy as np
import pytest
import torch

from speechkit.lm.character_text import CharacterText, Prefixes, last_places
from speechkit.lm.token_file import SentenceBatches

CLS = 2
TEXT = CharacterText([[11, 12, 13], [21], [31, 32]], CLS)


def test_sentences_begin_with_cls() -> None:
    batch = TEXT.batch([0, 2])
    assert batch.tokens.tolist() == [[CLS, 11, 12, 13], [CLS, 31, 32, 0]]
    assert (batch.lengths.tolist(), batch.lines) == ([4, 3], [1, 3])
    assert TEXT.lengths().tolist() == [4, 2, 3]
    assert TEXT.lengths(1, 3).tolist() == [2, 3]
    assert TEXT.batch([0], longest=2).tokens.tolist() == [[CLS, 11]]


def test_all_prefixes_in_order() -> None:
    prefixes = Prefixes(TEXT)
    samples = [[CLS, 11], [CLS, 11, 12], [CLS, 11, 12, 13], [CLS, 21], [CLS, 31], [CLS, 31, 32]]
    assert len(prefixes) == len(samples)
    assert prefixes.lengths().tolist() == [len(each) for each in samples]
    assert prefixes.lengths(2, 5).tolist() == [4, 2, 2]
    assert prefixes.lengths(4, 100).tolist() == [2, 3]
    batch = prefixes.batch(range(6))
    for row, length, sample in zip(batch.tokens, batch.lengths, samples, strict=True):
        assert row[:length].tolist() == sample
    assert batch.lines == [1, 1, 1, 2, 3, 3]
    chosen = last_places(batch.lengths, batch.tokens.shape[1])
    assert batch.tokens[chosen].tolist() == [each[-1] for each in samples]
    assert chosen.sum() == 6


def test_a_prefix_is_not_cut() -> None:
    assert Prefixes(TEXT).batch([2], longest=4).lengths.tolist() == [4]
    with pytest.raises(ValueError, match="longer than 3"):
        Prefixes(TEXT).batch([2], longest=3)


def test_an_epoch_has_each_prefix_once() -> None:
    """Also where there are more of them than in a block of the sampler; whatever they end in, targets are all."""
    rng = np.random.default_rng(0)
    text = CharacterText([rng.integers(5, 50, size).tolist() for size in rng.integers(1, 30, 6000)], CLS)
    prefixes = Prefixes(text)
    assert len(prefixes) > 1 << 16
    batches = SentenceBatches(prefixes, max_tokens=50_000, longest=31, seed=0)
    planned = [number for start in (0, 1 << 16) for numbers in batches._planned(start, 0) for number in numbers]
    assert sorted(planned) == list(range(len(prefixes)))
    batch = next(iter(batches.epoch(0, 0)))
    assert batch.tokens.numel() <= 50_000
    targets = batch.tokens[last_places(batch.lengths, batch.tokens.shape[1])]
    for row, length, line, target in zip(batch.tokens, batch.lengths.tolist(), batch.lines, targets, strict=True):
        assert torch.equal(row[:length], text.batch([line - 1]).tokens[0, :length])
        assert row[length - 1] == target
