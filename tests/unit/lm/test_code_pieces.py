"""Codes of utterances as sequences: even pieces, batches of them, counts."""

from pathlib import Path

import numpy as np
import pytest

from speechkit.common.errors import SpeechkitError
from speechkit.data.labels import LabelFile, LabelWriter
from speechkit.lm.code_pieces import CodePieces, count_codes, even_parts
from speechkit.lm.token_file import SentenceBatches

LENGTHS = {"a": 3, "b": 25, "none": 0, "c": 11, "d": 10}


@pytest.fixture
def labels(tmp_path: Path) -> LabelFile:
    """Utterances of distinct codes, so that each code tells its place."""
    with LabelWriter(tmp_path, "train", 100.0, [str(number) for number in range(60)]) as writer:
        start = 0
        for name, length in LENGTHS.items():
            writer.add(name, np.arange(start, start + length))
            start += length
    return LabelFile(tmp_path, "train")


@pytest.mark.parametrize("longest", [1, 2, 7, 10, 100])
def test_parts_are_even_and_as_few_as_can_be(longest: int) -> None:
    """Checklist 3.5."""
    for length in range(45):
        parts = even_parts(length, longest)
        sizes = [part.stop - part.start for part in parts]
        assert [place for part in parts for place in range(length)[part]] == list(range(length))
        assert len(parts) == int(np.ceil(length / longest))
        assert max(sizes, default=0) <= longest
        assert max(sizes, default=0) - min(sizes, default=0) <= 1


def test_every_code_is_once_in_an_epoch_and_batches_keep_their_limit(labels: LabelFile) -> None:
    """Checklist 3.5: no code of a long utterance is lost, no batch has more tokens than it may, padding included."""
    pieces = CodePieces(labels, 10)
    assert pieces.lengths().tolist() == [3, 8, 8, 9, 5, 6, 10]
    batches = SentenceBatches(pieces, max_tokens=20, longest=10, seed=1)
    orders = []
    for epoch in range(2):
        found: list[int] = []
        for batch in batches.epoch(epoch, 0):
            assert batch.tokens.numel() <= 20
            for row, length, name in zip(batch.tokens, batch.lengths.tolist(), pieces.utterances(batch), strict=True):
                codes = row[:length].tolist()
                assert set(codes) <= set(labels[name].tolist())
                found += codes
        assert sorted(found) == list(range(49))
        orders.append(found)
    assert orders[0] != orders[1]


def test_codes_are_counted_and_each_needs_a_name(labels: LabelFile, tmp_path: Path) -> None:
    assert count_codes(labels).tolist() == [1] * 49 + [0] * 11
    with LabelWriter(tmp_path, "bad", 100.0, ["x", "y"]) as writer:
        writer.add("u", np.array([0, 1, 2]))
    with pytest.raises(SpeechkitError, match="u has label 2, but there are 2 names"):
        count_codes(LabelFile(tmp_path, "bad"))
