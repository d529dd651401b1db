"""Scores of segments worked by hand."""

import itertools

import numpy as np
import pytest

from speechkit.metrics.segments import boundary_times, pairs_within, score_segments, segment_table

TRUE = [(0.1, 0.3), (0.3, 0.5), (0.7, 0.9)]


def test_the_figures_of_three_utterances() -> None:
    found = {
        "a": [(0.1, 0.3), (0.34, 0.56), (0.7, 0.9)],  # 0.3 to 0.34, the further of two; 0.5 to 0.56
        "b": np.array([(0.0, 0.48), (0.52, 0.9)]),
        "more": [(0.0, 1.0)],
    }
    score = score_segments({"a": TRUE, "b": TRUE, "c": TRUE}, found)
    assert (score.utterances, score.missing, score.right, score.miscounted) == (2, 1, 1, 1)
    assert sorted(round(1000 * each) for each in score.boundaries.differences) == [0, 0, 0, 40, 60]
    figures = score.figures()
    assert (figures["right_count"], figures["count_error"], figures["boundary_ms"]) == (50, 0.5, 20)
    # a: 0.1, 0.3 (beside 0.3), 0.7 and 0.9 of 5 and 6; b: 0.5 (beside 0.48) and 0.9 of 5 and 4.
    assert (score.near, score.true, score.found) == (6, 10, 10)
    assert figures["f1_50_ms"] == 60
    assert [line.split()[0] for line in segment_table({"dev": score}).splitlines()] == ["segments", "dev"]
    assert segment_table({"dev": score}).splitlines()[1].split() == [
        "dev",
        "2",
        "50.00%",
        "0.500",
        "20.0",
        "ms",
        "60.00%",
    ]


def test_without_agreeing_numbers_there_is_no_error_of_boundaries() -> None:
    score = score_segments({"a": TRUE}, {"a": [(0.0, 1.0)]})
    assert score.figures()["boundary_ms"] is None
    assert "-" in segment_table({"dev": score}).splitlines()[1].split()


def test_what_is_the_same_scores_full() -> None:
    score = score_segments({"a": TRUE}, {"a": TRUE})
    assert (score.boundary_ms, score.f1, score.figures()["right_count"]) == (0, 100, 100)


def test_where_segments_touch_there_is_one_boundary() -> None:
    assert boundary_times(TRUE) == [0.1, 0.3, 0.5, 0.7, 0.9]


@pytest.mark.parametrize("seed", range(10))
def test_pairs_are_as_many_as_can_be(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (sorted(rng.integers(0, 12, size=5).tolist()) for _ in range(2))
    most = max(sum(abs(x - y) <= 1 for x, y in zip(a, order, strict=True)) for order in itertools.permutations(b))
    assert pairs_within(a, b, 1) == most
