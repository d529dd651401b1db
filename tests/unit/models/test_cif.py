"""Integrate-and-fire: firing against a plain loop, and weights that padding does not change."""

import itertools

import numpy as np
import pytest
import torch

from speechkit.models.cif import MARGIN, PAUSE, Cif, CifConfig, fire

SMALL = CifConfig(in_dim=5, dim=8, strides=(2,), dilations=(1, 2), kernel=3, dropout=0.0)


def time_of(total: float, weights: np.ndarray, edges: np.ndarray) -> float:
    """When the running sum reaches `total`, frame by frame."""
    done = 0.0
    for place, weight in enumerate(weights):
        if done + weight >= total:
            return float(edges[place] + (total - done) / weight * (edges[place + 1] - edges[place]))
        done += weight
    raise AssertionError


def with_pauses(rng: np.random.Generator) -> np.ndarray:
    """Random weights; after every third whole sum there are six that are small."""
    weights: list[float] = []
    while sum(weights) < 10:
        done, weight = sum(weights), float(rng.uniform(0.05, 0.5))
        number = int(done + weight)
        if number > int(done) and number % 3 == 0:
            weights += [number - done, *(0.001 for _ in range(6))]
        else:
            weights.append(weight)
    return np.array(weights)


@pytest.mark.parametrize("seed", range(8))
def test_firing_is_that_of_a_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = with_pauses(rng)
    edges = np.append(0.0, np.arange(1, len(weights) + 1) * 0.02 + 0.0025)
    total, expected = weights.sum(dtype=np.float64), []
    while total - len(expected) >= 0.5:
        number = len(expected)
        start, end = number + MARGIN, min(number + 1, total) - MARGIN
        expected.append([time_of(start, weights, edges), time_of(end, weights, edges)])
    pauses = 0
    for left, right in itertools.pairwise(expected):
        if right[0] - left[1] >= PAUSE:
            pauses += 1
            continue
        left[1] = right[0] = time_of(expected.index(right), weights, edges)
    assert pauses == 3
    np.testing.assert_allclose(fire(weights, edges), expected, atol=2e-6)


def test_silence_around_a_character_is_no_part_of_it() -> None:
    """A tenth of a second of silence, then two characters with a pause between them."""
    weights = np.array([0.001] * 10 + [0.25] * 4 + [0.001] * 10 + [0.2] * 5 + [0.001] * 10)
    first, second = fire(weights, np.arange(len(weights) + 1) / 100)
    assert first == pytest.approx((0.10 + 0.04 / 25, 0.14 - 0.06 / 25), abs=1e-3)
    assert second == pytest.approx((0.24 + 0.03 / 20, 0.29 - 0.07 / 20), abs=1e-3)


def test_characters_without_a_pause_between_them_meet() -> None:
    weights = np.array([0.1] * 10 + [0.25] * 4 + [0.05] * 20)
    spans = fire(weights, np.arange(len(weights) + 1) / 100)
    assert [end for _, end in spans[:-1]] == [start for start, _ in spans[1:]] == pytest.approx([0.1, 0.14])


@pytest.mark.parametrize(("total", "count"), [(0.4, 1), (0.6, 1), (2.49, 2), (2.5, 3)])
def test_what_remains_counts_from_a_half_on(total: float, count: int) -> None:
    spans = fire(np.full(8, total / 8), np.arange(9.0))
    assert len(spans) == count
    if total < 0.5:
        assert spans == [(0, 8)]


def test_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    model = Cif(SMALL).eval()
    lengths = [23, 40, 1]
    batch = torch.full((3, 40, 5), 7.7)
    sequences = [torch.randn(length, 5) for length in lengths]
    for row, sequence in zip(batch, sequences, strict=True):
        row[: len(sequence)] = sequence
    weights, found = model(batch, torch.tensor(lengths))
    assert found.tolist() == model.output_lengths(torch.tensor(lengths)).tolist() == [12, 20, 1]
    for row, length, sequence in zip(weights, found.tolist(), sequences, strict=True):
        alone, _ = model(sequence[None], torch.tensor([len(sequence)]))
        torch.testing.assert_close(row[:length], alone[0], atol=1e-6, rtol=1e-5)
        assert not row[length:].any()
        assert bool((alone > 0).all() & (alone < 1).all())


def test_every_parameter_learns() -> None:
    torch.manual_seed(0)
    model = Cif(SMALL)
    model(torch.randn(2, 20, 5), torch.tensor([20, 13]))[0].sum().backward()
    assert all(each.grad is not None and bool(each.grad.any()) for each in model.parameters())


@pytest.mark.parametrize("changes", [{"kernel": 4}, {"dim": 0}, {"strides": (0,)}])
def test_impossible_sizes_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"odd|at least 1"):
        CifConfig(**changes)  # type: ignore[arg-type]
