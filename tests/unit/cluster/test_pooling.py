"""Pooling against plain loops."""

import numpy as np
import pytest
import torch

from speechkit.cluster.pooling import pair_means, pair_spans, segment_means, segments

LABELS = [[0, 0, 3, 3, 3, 0, 7], [4], [1, 2, 1, 2], [5, 5, 5], []]


def spans_of(labels: list[int]) -> list[list[int]]:
    spans: list[list[int]] = []
    for frame, label in enumerate(labels):
        if frame and labels[frame - 1] == label:
            spans[-1][1] = frame + 1
        else:
            spans.append([frame, frame + 1])
    return spans


@pytest.mark.parametrize("labels", LABELS)
def test_segments_end_where_the_label_changes(labels: list[int]) -> None:
    assert segments(np.array(labels, np.int64)).tolist() == spans_of(labels)


@pytest.mark.parametrize("labels", LABELS)
def test_means_are_those_of_loops(labels: list[int]) -> None:
    """Order and counts are kept; the last of an odd number of segments stays alone, weighted as if it came twice."""
    frames = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(0))
    spans = spans_of(labels)
    found = segment_means(frames, segments(np.array(labels, np.int64)))
    expected = [frames[start:end].mean(0) for start, end in spans]
    assert found.shape == (len(spans), 3)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    paired, places = [], []
    for index in range(0, len(spans), 2):
        both = range(index, min(index + 2, len(spans)))
        paired.append(sum(expected[each] for each in both) / len(both))
        places.append([spans[index][0], spans[both[-1]][1]])
    result = pair_means(found)
    assert result.shape == ((len(spans) + 1) // 2, 3)
    for one, other in zip(result, paired, strict=True):
        torch.testing.assert_close(one, other)
    assert pair_spans(segments(np.array(labels, np.int64))).tolist() == places


def test_means_of_long_segments_are_exact() -> None:
    """Sums are in float64."""
    frames = torch.full((200_000, 1), 0.1)
    assert float(segment_means(frames, np.array([[0, 200_000]]))) == pytest.approx(0.1, rel=1e-7)
