"""Boundary scores of cases worked by hand, and those without labels against a matching of graphs."""

import numpy as np
import pytest

from speechkit.metrics.boundaries import BoundaryScore, Detection, boundary_table, detect_boundaries, score_boundaries

TRUE = [("sil", 0.0, 0.1), ("a", 0.1, 0.2), ("b", 0.2, 0.3), ("c", 0.3, 0.4), ("sil", 0.4, 0.5)]


def milliseconds(score: BoundaryScore) -> list[float]:
    return [round(1000 * difference, 3) for difference in score.differences]


def test_boundaries_between_phones_only() -> None:
    found = [("sil", 0.0, 0.17), ("a", 0.17, 0.215), ("b", 0.215, 0.25), ("c", 0.25, 0.42), ("sil", 0.42, 0.5)]
    score = score_boundaries([TRUE], [found], ["sil"])
    assert milliseconds(score) == [15, -50]
    assert [score.within(tolerance) for tolerance in (10, 20, 50)] == [0, 50, 100]
    assert score.figures() == {
        "within_10_ms": 0, "within_20_ms": 50, "within_50_ms": 100, "boundaries": 2, "unpaired": 0,
        "mean_ms": -17.5, "median_absolute_ms": 32.5,
    }  # fmt: skip


def test_edges_beside_silence_where_asked() -> None:
    found = [("a", 0.13, 0.2), ("b", 0.2, 0.3), ("c", 0.3, 0.41)]
    score = score_boundaries([TRUE], [found], ["sil"], next_to_silence=True)
    assert milliseconds(score) == [0, 0, 30, 10]


def test_a_tolerance_includes_its_end() -> None:
    found = [("a", 0.1, 0.22), ("b", 0.22, 0.4)]
    score = score_boundaries([[("a", 0.1, 0.2), ("b", 0.2, 0.4)]], [found])
    assert score.within(20) == 100


def test_a_label_that_is_missing_leaves_boundaries_unpaired() -> None:
    score = score_boundaries([TRUE], [[("a", 0.1, 0.3), ("c", 0.3, 0.4)]], ["sil"])
    assert (milliseconds(score), score.unpaired, score.boundaries) == ([], 2, 2)
    assert score.within(50) == 0


def test_another_label_at_the_same_place_still_has_boundaries() -> None:
    found = [("a", 0.1, 0.2), ("x", 0.2, 0.31), ("c", 0.31, 0.4)]
    assert milliseconds(score_boundaries([TRUE], [found], ["sil"])) == [0, 10]


def test_silence_that_only_the_hypothesis_has_costs_its_further_edge() -> None:
    found = [("a", 0.1, 0.19), ("sil", 0.19, 0.24), ("b", 0.24, 0.3), ("c", 0.3, 0.4)]
    assert milliseconds(score_boundaries([TRUE], [found], ["sil"])) == [40, 0]


def test_a_gap_is_silence_and_so_is_what_a_deleted_label_leaves() -> None:
    true = [("a", 0.0, 0.1), ("b", 0.15, 0.2), ("c", 0.2, 0.3)]
    found = [("a", 0.0, 0.12), ("b", 0.12, 0.2), ("c", 0.2, 0.3)]
    assert milliseconds(score_boundaries([true], [found])) == [0]
    beside = milliseconds(score_boundaries([true], [found], next_to_silence=True))
    assert beside == [0, 20, -30, 0]


def test_several_utterances_add_up() -> None:
    score = score_boundaries([TRUE, TRUE, []], [TRUE, [], []], ["sil"])
    assert (len(score.differences), score.unpaired) == (2, 2)
    with pytest.raises(ValueError, match="one for one"):
        score_boundaries([TRUE], [])


def test_table() -> None:
    lines = boundary_table({"dev": BoundaryScore([0.005, -0.015, 0.1], 1)}).splitlines()
    assert lines[0].split() == ["boundaries", "within", "10", "ms", "20", "ms", "50", "ms", "mean", "count"]
    assert lines[1].split() == ["dev", "25.00%", "50.00%", "50.00%", "+30.0", "ms", "4"]


def test_boundaries_without_labels_are_paired_as_many_as_can_be() -> None:
    """The hits are those of a maximum matching of the graph of all pairs within the tolerance."""
    csgraph, sparse = pytest.importorskip("scipy.sparse.csgraph"), pytest.importorskip("scipy.sparse")
    rng = np.random.default_rng(0)
    total, hits = Detection(), 0
    for _ in range(60):
        reference, hypothesis = (np.sort(rng.uniform(0, 1, int(rng.integers(1, 30)))) for _ in range(2))
        near = sparse.csr_matrix(np.abs(reference[:, None] - hypothesis) <= 0.02)
        expected = int((csgraph.maximum_bipartite_matching(near, "column") >= 0).sum())
        found = detect_boundaries(reference.tolist(), hypothesis.tolist(), 0.02)
        assert found == Detection(expected, len(hypothesis), len(reference))
        total, hits = total + found, hits + expected
    assert total.hits == hits > 100
    assert total.f1 == pytest.approx(2 / (1 / total.precision + 1 / total.recall))


def test_detection_of_a_case_worked_by_hand() -> None:
    """A tolerance includes its end; one boundary is found by one other alone."""
    found = detect_boundaries([0.1, 0.2, 0.5], [0.12, 0.19, 0.21, 0.3, 0.4], 0.02)
    assert (found.hits, found.precision, found.recall) == (2, 0.4, pytest.approx(2 / 3))
    assert "precision 0.400, recall 0.667, F1 0.500 (5 boundaries, 3 true ones)" in str(found)
    nothing = detect_boundaries([], [], 0.02)
    assert (nothing.precision, nothing.recall, nothing.f1) == (0, 0, 0)
