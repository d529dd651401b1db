"""The search over known numbers of tokens: exact where the beam is wide enough, greedy where it is one."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from speechkit.decode.segment_beam import segment_beam

VOCABULARY = 4


class Model:
    """Log-probabilities that depend on the utterance and all tokens so far; one token is never allowed."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.known: dict[tuple[int, ...], Tensor] = {}

    def of(self, utterance: int, tokens: tuple[int, ...]) -> Tensor:
        key = (utterance, *tokens)
        if key not in self.known:
            generator = torch.Generator().manual_seed(hash(key) % 2**31)
            scores = torch.randn(VOCABULARY, generator=generator) * 2
            scores[0] = -math.inf
            self.known[key] = scores.log_softmax(0)
        return self.known[key]

    def __call__(self, utterances: Tensor, tokens: Tensor) -> Tensor:
        self.rows.append(len(utterances))
        return torch.stack([self.of(u, tuple(t)) for u, t in zip(utterances.tolist(), tokens.tolist(), strict=True)])

    def total(self, utterance: int, tokens: tuple[int, ...]) -> float:
        return sum(float(self.of(utterance, tokens[:i])[token]) for i, token in enumerate(tokens))


def test_a_beam_of_all_hypotheses_finds_the_best_of_all() -> None:
    model, counts = Model(), torch.tensor([3, 0, 4, 1])
    found = segment_beam(model, counts, beam=VOCABULARY**4)
    for utterance, count in enumerate(counts.tolist()):
        every = itertools.product(range(VOCABULARY), repeat=count)
        assert tuple(found[utterance]) == max(every, key=lambda tokens: model.total(utterance, tokens))


def test_a_beam_of_one_is_greedy() -> None:
    model, counts = Model(), torch.tensor([5, 2])
    found = segment_beam(model, counts, beam=1)
    for utterance, count in enumerate(counts.tolist()):
        tokens: tuple[int, ...] = ()
        for _ in range(count):
            tokens += (int(model.of(utterance, tokens).argmax()),)
        assert tuple(found[utterance]) == tokens


@pytest.mark.parametrize("beam", [2, 3, 5])
def test_utterances_do_not_see_each_other(beam: int) -> None:
    model, counts = Model(), torch.tensor([4, 2, 6])
    together = segment_beam(model, counts, beam)

    def alone(utterance: int) -> list[int]:
        step = lambda utterances, tokens: model(utterances + utterance, tokens)  # noqa: E731
        return segment_beam(step, counts[utterance : utterance + 1], beam)[0]

    assert together == [alone(utterance) for utterance in range(3)]


def test_utterances_leave_with_their_last_segment() -> None:
    model = Model()
    segment_beam(model, torch.tensor([1, 3]), beam=2)
    assert model.rows == [2, 2, 2]  # both, then two hypotheses of the longer one


def test_hypotheses_far_behind_are_dropped() -> None:
    def step(utterances: Tensor, tokens: Tensor) -> Tensor:
        rows.append(len(utterances))
        return torch.tensor([[0.9, 0.09, 0.01]]).log().repeat(len(utterances), 1)

    rows: list[int] = []
    assert segment_beam(step, torch.tensor([3]), beam=3, margin=1.0) == [[0, 0, 0]]
    assert rows == [1, 1, 1]
    rows.clear()
    segment_beam(step, torch.tensor([3]), beam=3, margin=3.0)
    assert rows == [1, 2, 3]
