"""Files of segments, and the frames in segments."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from speechkit.align.forced import Timing
from speechkit.common.errors import SpeechkitError
from speechkit.data.segments import read_segments, set_name, to_frames, write_segments
from speechkit.features.fbank import FbankConfig


def test_files_give_back_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "neu/segments_dev.jsonl.gz"
    write_segments(path, [("甲", [(0.1, 0.25), (0.25, 0.5)]), ("b", [(0.0, 1.0)])])
    found = read_segments(path)
    assert list(found) == ["甲", "b"]
    np.testing.assert_array_equal(found["甲"], [[0.1, 0.25], [0.25, 0.5]])
    assert found["b"].dtype == np.float64
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        assert stream.readline() == '{"id": "甲", "segments": [[0.1, 0.25], [0.25, 0.5]]}\n'


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "does not exist"),
        ("", "holds no segments"),
        ('{"id": "a"}\n', "without segments"),
        ('{"id": "a", "segments": [[0.1], [0.2, 0.3]]}\n', "without segments"),
        ('{"id": "a", "segm', "is damaged"),
    ],
)
def test_files_that_hold_no_segments(tmp_path: Path, content: str | None, problem: str) -> None:
    path = tmp_path / "segments_dev.jsonl.gz"
    if content is not None:
        path.write_bytes(gzip.compress(content.encode()))
    with pytest.raises(SpeechkitError, match=problem) as caught:
        read_segments(path)
    assert str(path) in str(caught.value)


def test_nothing_is_half_written(tmp_path: Path) -> None:
    def failing():  # type: ignore[no-untyped-def]
        yield "a", [(0.0, 1.0)]
        raise SpeechkitError("no")

    with pytest.raises(SpeechkitError):
        write_segments(tmp_path / "segments_dev.jsonl.gz", failing())
    assert not list(tmp_path.iterdir())


def test_names_of_sets() -> None:
    assert set_name(Path("data/fbank/cuts_train.jsonl.gz")) == "train"
    assert set_name(Path("exp/hmm/ali/cuts_dev_ali.jsonl.gz")) == "dev"


@pytest.mark.parametrize("subsampling", [1, 2, 4])
def test_frames_are_those_an_aligner_gave_the_times_of(subsampling: int) -> None:
    timing, num_frames = Timing.of(FbankConfig(), subsampling), 40
    duration = 0.015 + num_frames * timing.shift + 0.004
    edges = [0, 3, 4, 9, 22, 40]
    times = [timing.seconds(frame, num_frames, duration) for frame in edges]
    found = to_frames(list(zip(times[:-1], times[1:], strict=True)), timing.shift, num_frames)
    assert found.dtype == np.int64
    assert found.tolist() == [list(each) for each in zip(edges[:-1], edges[1:], strict=True)]


def test_frames_belong_to_a_segment_by_their_middles() -> None:
    """At 10 ms, 25 ms wide: the middles are at 12.5, 22.5, 32.5 ms and so on."""
    assert to_frames([(0.02, 0.04), (0.05, 0.06)], 0.01, 10).tolist() == [[1, 3], [4, 5]]
    assert to_frames([(0.0, 9.0)], 0.01, 10).tolist() == [[0, 10]]
    assert to_frames([(0.0, 0.5), (0.5, 1.0)], 0.1, 10, window=0.1).tolist() == [[0, 5], [5, 10]]


@pytest.mark.parametrize("seed", range(20))
def test_every_segment_has_a_frame_of_its_own(seed: int) -> None:
    rng = np.random.default_rng(seed)
    num_frames = int(rng.integers(5, 30))
    edges = np.sort(rng.uniform(-0.02, 0.01 * num_frames + 0.1, size=2 * int(rng.integers(1, 6)))).reshape(-1, 2)
    if seed % 2:
        edges[1:] = edges[:1] + 1e-4  # all but at one place
    found = to_frames(edges, 0.01, num_frames)
    assert found[0, 0] >= 0
    assert found[-1, 1] <= num_frames
    assert np.all(found[:, 1] > found[:, 0])
    assert np.all(found[1:, 0] >= found[:-1, 1])


def test_as_many_segments_as_frames_fit_and_more_do_not() -> None:
    tight = [(0.3, 0.3)] * 4
    assert to_frames(tight, 0.01, 4).tolist() == [[0, 1], [1, 2], [2, 3], [3, 4]]
    with pytest.raises(SpeechkitError, match="4 segments do not fit into 3 frames"):
        to_frames(tight, 0.01, 3)
