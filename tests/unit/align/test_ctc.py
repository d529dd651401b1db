"""CTC alignment against torchaudio's, and its tiers."""

import math

import pytest
import torch

from speechkit.align.ctc import CtcAligner, CtcUtterance
from speechkit.align.forced import Failure, Timing
from speechkit.align.segments import Alignment
from speechkit.features.fbank import FbankConfig

NAMES = ["<blk>", "|", "a", "b", "c"]
TIMING = Timing.of(FbankConfig(), 2)


def align(log_probs: torch.Tensor, words: list[str], show_words: bool = True, **options: int) -> Alignment | Failure:
    tokens = [[NAMES.index(letter) for letter in word] + [1] for word in words]
    return CtcAligner(NAMES, TIMING, show_words, "torch")(
        CtcUtterance("u", log_probs, words, tokens, len(log_probs) * 0.02)
    )


def peaky(labels: list[int]) -> torch.Tensor:
    """A model that is sure of one label per frame."""
    return torch.nn.functional.one_hot(torch.tensor(labels), len(NAMES)).float().mul(8).log_softmax(1)


def test_times_of_tokens_and_words() -> None:
    found = align(peaky([0, 0, 2, 2, 0, 3, 1, 0, 4, 4, 1, 0]), ["ab", "c"])
    assert isinstance(found, Alignment)
    # middles of frames at 12.5 ms, 32.5 ms ...: frame 2 begins at 42.5 ms
    assert [(item.label, item.start, item.end) for item in found.tiers["token"]] == [
        ("a", 0.0425, 0.0825), ("b", 0.1025, 0.1225), ("|", 0.1225, 0.1425), ("c", 0.1625, 0.2025),
        ("|", 0.2025, 0.2225),
    ]  # fmt: skip
    assert [(item.label, item.start, item.end) for item in found.tiers["word"]] == [
        ("ab", 0.0425, 0.1225), ("c", 0.1625, 0.2025),
    ]  # fmt: skip
    assert found.frame_labels.tolist() == [0, 0, 2, 2, 0, 3, 1, 0, 4, 4, 1, 0]
    assert 0.99 < found.confidence <= 1


def test_as_torchaudio() -> None:
    functional = pytest.importorskip("torchaudio.functional")
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        log_probs = torch.randn(40, 5, generator=generator).mul(3).log_softmax(1)
        found = align(log_probs, ["abba", "cc", "a"])
        assert isinstance(found, Alignment)
        targets = torch.tensor([[2, 3, 3, 2, 1, 4, 4, 1, 2, 1]])
        expected, scores = functional.forced_align(log_probs[None], targets)
        assert found.frame_labels.tolist() == expected[0].tolist()
        assert found.score * 40 == pytest.approx(float(scores.sum()), rel=1e-5)


def test_equal_neighbours_are_two_tokens() -> None:
    found = align(peaky([2, 2, 0, 2, 1]), ["aa"], show_words=False)
    assert isinstance(found, Alignment)
    assert [item.label for item in found.tiers["token"]] == ["a", "a", "|"]
    assert "word" not in found.tiers


def test_too_short_and_impossible() -> None:
    assert align(peaky([2, 0, 2]), ["aa"]) == Failure("u", "too short: 3 frames, its tokens take at least 4")
    impossible = torch.full((6, 5), -math.inf)
    impossible[:, 0] = 0
    assert align(impossible, ["a"]) == Failure("u", "no path: the model gives its transcript no likelihood above zero")
