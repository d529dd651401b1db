"""Segments of characters from their number or their cores, worked by hand."""

import numpy as np
import pytest

from speechkit.align.characters import CharacterRate, around_cores, equal_division, token_cores


def test_equal_parts() -> None:
    assert equal_division(4, 1.0) == [(0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1)]
    assert equal_division(1, 0.7) == [(0, 0.7)]


def test_the_rate_is_that_of_least_squares() -> None:
    rng = np.random.default_rng(0)
    durations = rng.uniform(1, 9, size=50)
    counts = np.round(4.2 * durations + 1 + rng.normal(size=50)).astype(int)
    rate = CharacterRate.fit(durations.tolist(), counts.tolist())
    assert [rate.per_second, rate.offset] == pytest.approx(np.polyfit(durations, counts, 1).tolist())
    assert rate.count(5.0) == round(5 * rate.per_second + rate.offset)
    assert CharacterRate(4.0, -3.0).count(0.1) == 1


def test_a_rate_from_equal_lengths_is_their_mean() -> None:
    rate = CharacterRate.fit([2.0, 2.0], [5, 8])
    assert (rate.per_second, rate.offset) == (0, 6.5)


def test_cores_are_runs_of_a_token() -> None:
    path = np.array([0, 3, 3, 0, 3, 5, 5, 5, 0, 0, 2])
    assert token_cores(path).tolist() == [[1, 3], [4, 5], [5, 8], [10, 11]]
    assert token_cores(np.array([4, 0])).tolist() == [[0, 1]]
    assert token_cores(np.zeros(5, int)).shape == (0, 2)


def test_neighbours_meet_between_their_cores() -> None:
    """The middles are at 0.25, 0.55 and 1.05: 0.4 apart in the mean, so that edges go out by 0.2 at most."""
    cores = [(0.2, 0.3), (0.5, 0.6), (1.0, 1.1)]
    assert around_cores(cores, 2.0) == [(0, 0.4), (0.4, 0.8), (0.8, 1.3)]
    assert around_cores([(start + 0.1, end + 0.1) for start, end in cores], 1.25) == [
        (0.1, 0.5),
        (0.5, 0.9),
        (0.9, 1.25),
    ]


def test_one_core_or_none_is_all_of_the_audio() -> None:
    assert around_cores([], 0.7) == around_cores([(0.2, 0.3)], 0.7) == [(0, 0.7)]
