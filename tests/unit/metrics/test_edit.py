"""Edit counts and alignments against jiwer, kaldialign and all alignments by brute force."""

import random

import numpy as np
import pytest

from speechkit.metrics.edit import alignments, edit_counts


def pairs(seed, number, longest, symbols):
    rng = random.Random(seed)
    sides = [[rng.choices(symbols, k=rng.randint(0, longest)) for _ in range(number)] for _ in range(2)]
    return sides[0], sides[1]


def every_alignment(reference, hypothesis):
    """(insertions, deletions, substitutions) of all alignments, by plain recursion."""
    if not reference:
        return {(len(hypothesis), 0, 0)}
    if not hypothesis:
        return {(0, len(reference), 0)}
    differ = int(reference[0] != hypothesis[0])
    through = {(i, d, s + differ) for i, d, s in every_alignment(reference[1:], hypothesis[1:])}
    deleted = {(i, d + 1, s) for i, d, s in every_alignment(reference[1:], hypothesis)}
    inserted = {(i + 1, d, s) for i, d, s in every_alignment(reference, hypothesis[1:])}
    return through | deleted | inserted


def counts_of(alignment):
    return (
        sum(reference is None for reference, _ in alignment),
        sum(hypothesis is None for _, hypothesis in alignment),
        sum(None not in pair and pair[0] != pair[1] for pair in alignment),
    )


def test_counts_have_fewest_errors_and_then_fewest_substitutions():
    references, hypotheses = pairs(0, 300, 6, "abc")
    expected = [
        min(every_alignment(*pair), key=lambda counts: (sum(counts), counts[2]))
        for pair in zip(references, hypotheses, strict=True)
    ]
    assert edit_counts(references, hypotheses).tolist() == [list(counts) for counts in expected]


@pytest.mark.parametrize(("longest", "symbols"), [(5, "ab"), (30, "abcdefgh"), (200, "abcdefghijklmnop")])
def test_alignments_read_as_the_pair_and_count_the_same(longest, symbols):
    references, hypotheses = pairs(longest, 120, longest, symbols)
    aligned = alignments(references, hypotheses)
    for alignment, reference, hypothesis in zip(aligned, references, hypotheses, strict=True):
        assert [item for item, _ in alignment if item is not None] == reference
        assert [item for _, item in alignment if item is not None] == hypothesis
        assert (None, None) not in alignment
    assert [list(counts_of(alignment)) for alignment in aligned] == edit_counts(references, hypotheses).tolist()


@pytest.mark.parametrize("longest", [40, 400])
def test_number_of_errors_is_that_of_other_tools(longest):
    jiwer = pytest.importorskip("jiwer", reason="pip install jiwer to compare with it")
    kaldialign = pytest.importorskip("kaldialign", reason="pip install kaldialign to compare with it")
    references, hypotheses = pairs(longest, 100, longest, [f"w{index}" for index in range(20)])
    errors = edit_counts(references, hypotheses).sum(axis=1).tolist()
    both = list(zip(references, hypotheses, strict=True))
    assert errors == [kaldialign.edit_distance(*pair)["total"] for pair in both]
    for (reference, hypothesis), count in zip(both, errors, strict=True):
        if reference and hypothesis:
            found = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
            assert found.insertions + found.deletions + found.substitutions == count


def test_a_correct_word_between_errors_is_kept():
    assert edit_counts([["a", "b", "c"]], [["b", "c", "d"]]).tolist() == [[1, 1, 0]]
    assert alignments(["abc"], ["bcd"]) == [[("a", None), ("b", "b"), ("c", "c"), (None, "d")]]
    assert alignments(["ab"], ["axb"]) == [[("a", "a"), (None, "x"), ("b", "b")]]


def test_long_and_short_pairs_in_one_call_do_not_touch_each_other():
    rng = np.random.default_rng(0)
    long = rng.integers(0, 50, 3000).tolist()
    changed = [item for item in long if item != 7]
    found = edit_counts([[1], long, [], [2, 3]], [[1], changed, [4], []])
    assert found.tolist() == [[0, 0, 0], [0, len(long) - len(changed), 0], [1, 0, 0], [0, 2, 0]]


def test_nothing_to_compare():
    assert edit_counts([], []).shape == (0, 3)
    assert edit_counts([[]], [[]]).tolist() == [[0, 0, 0]]
    assert alignments([[], ["a"]], [[], []]) == [[], [("a", None)]]
    with pytest.raises(ValueError, match="2 references and 1 hypotheses"):
        edit_counts([["a"], []], [["a"]])
