"""Rates, confidence intervals and confusions."""

import random

import pytest

from speechkit.metrics.edit import alignments
from speechkit.metrics.error_rate import (
    ErrorCounts,
    bootstrap_interval,
    confusions,
    count_corpus,
    count_each,
    count_errors,
)


def test_rate_of_one_pair_and_of_a_sum():
    first = count_errors(["the", "cat", "sat"], ["the", "bat", "sat", "on"])
    assert first == ErrorCounts(reference=3, insertions=1, deletions=0, substitutions=1)
    assert first.rate == pytest.approx(200 / 3)
    total = first + count_errors(["a", "b"], ["b"])
    assert (total.errors, total.reference) == (3, 5)
    assert total.rate == pytest.approx(60)
    assert count_corpus([["the", "cat", "sat"], ["a", "b"]], [["the", "bat", "sat", "on"], ["b"]]) == total


def test_rate_of_nothing_said():
    assert ErrorCounts().rate == 0
    assert count_errors([], ["a"]).rate == float("inf")


def test_interval_covers_the_true_rate_as_often_as_it_says():
    rng = random.Random(4)
    covered = 0
    for trial in range(100):
        counts = [ErrorCounts(10, 0, 0, sum(rng.random() < 0.2 for _ in range(10))) for _ in range(80)]
        low, high = bootstrap_interval(counts, num_samples=300, seed=trial)
        covered += low <= 20 <= high
    assert 88 <= covered <= 100


def test_interval_is_the_same_each_time_and_needs_a_reference():
    counts = count_each(["abcd", "ab", "abc"], ["abd", "ab", "xbcd"])
    assert bootstrap_interval(counts) == bootstrap_interval(counts)
    assert bootstrap_interval([ErrorCounts(10, 0, 0, 1)] * 5) == (10, 10)
    with pytest.raises(ValueError, match="at least one word"):
        bootstrap_interval([ErrorCounts()])


def test_confusions_are_counted_by_kind():
    found = confusions(alignments(["abc", "abd", "a"], ["axc", "axd", ""]) + alignments(["b"], ["bz"]))
    assert found.substitutions == {("b", "x"): 2}
    assert found.deletions == {"a": 1}
    assert found.insertions == {"z": 1}
