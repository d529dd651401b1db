"""InfoNCE against its formula written out, and the draws of its negatives against their stated distribution."""

import math
from collections import Counter

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor, nn

from speechkit.common.errors import SpeechkitError
from speechkit.losses.infonce import NegativesConfig, Pool, info_nce, pools

POLICIES = [
    NegativesConfig(count=5, source="mixed"),
    NegativesConfig(count=5, source="mixed", current=False),
    NegativesConfig(count=5, source="speaker"),
    NegativesConfig(count=5, source="speaker", current=False),
    NegativesConfig(count=5, source="sequence"),
]
LENGTHS = torch.tensor([9, 4, 7, 6])
SPEAKERS = torch.tensor([1, 0, 1, 0])
Place = tuple[int, int]


def policy_name(config: NegativesConfig) -> str:
    return config.source + ("" if config.current else " without current")


def drawing(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[int, Place], list[Place]]:
    """Negatives by step and anchor, as sequence and frame, filled by every call of `info_nce` from now on."""
    drawn: dict[tuple[int, Place], list[Place]] = {}
    negatives, anchors, steps = Pool.negatives, Pool.anchors, []

    def noted_step(pool: Pool, step: int) -> tuple[Tensor, Tensor]:
        steps.append(step)
        return anchors(pool, step)

    def noted(pool: Pool, positives: Tensor, owners: Tensor, config: NegativesConfig) -> Tensor:
        found = negatives(pool, positives, owners, config)
        where = [(int(n), t) for n, size in zip(pool.members, pool.lengths.tolist(), strict=True) for t in range(size)]
        for positive, row in zip(positives.tolist(), found.tolist(), strict=True):
            sequence, frame = where[positive]
            drawn.setdefault((steps[-1], (sequence, frame - steps[-1])), []).extend(where[place] for place in row)
        return found

    monkeypatch.setattr(Pool, "anchors", noted_step)
    monkeypatch.setattr(Pool, "negatives", noted)
    return drawn


def candidates(config: NegativesConfig, positive: Place) -> set[Place]:
    """What a policy may draw, from its words."""
    sequence = positive[0]
    every = {(n, t) for n, size in enumerate(LENGTHS.tolist()) for t in range(size)} - {positive}
    if config.source == "sequence":
        return {place for place in every if place[0] == sequence}
    if config.source == "speaker":
        every = {place for place in every if SPEAKERS[place[0]] == SPEAKERS[sequence]}
    return every if config.current else {place for place in every if place[0] != sequence}


def parts(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, nn.ModuleList]:
    torch.manual_seed(0)
    predictors = nn.ModuleList(nn.Linear(3, 4, bias=False) for _ in range(5)).to(dtype)
    return torch.randn(4, 9, 3, dtype=dtype), torch.randn(4, 9, 4, dtype=dtype), predictors


@pytest.mark.parametrize("config", POLICIES, ids=policy_name)
def test_it_is_the_formula(monkeypatch: pytest.MonkeyPatch, config: NegativesConfig) -> None:
    """-log f(positive) / sum of f over it and the negatives, f = exp(z W c), for every frame that has one k later."""
    context, latents, predictors = parts()
    drawn = drawing(monkeypatch)
    found = info_nce(context, latents, LENGTHS, predictors, config, SPEAKERS)
    for step, predictor in enumerate(predictors, start=1):
        loss = right = count = 0.0
        for n, size in enumerate(LENGTHS.tolist()):
            for t in range(size - step):
                prediction = predictor.weight.detach() @ context[n, t]
                scores = [float(prediction @ latents[n, t + step])]
                scores += [float(prediction @ latents[m, u]) for m, u in drawn[step, (n, t)]]
                assert len(scores) == 6
                loss -= math.log(math.exp(scores[0]) / sum(map(math.exp, scores)))
                right += scores[0] > max(scores[1:])
                count += 1
        assert float(found.loss[step - 1].detach()) == pytest.approx(loss, rel=1e-12)
        assert (float(found.right[step - 1]), float(found.count[step - 1])) == (right, count)
    assert found.count.tolist() == [22, 18, 14, 10, 7]


@pytest.mark.parametrize("config", POLICIES, ids=policy_name)
def test_gradients_are_finite_differences(config: NegativesConfig) -> None:
    context, latents, predictors = parts()
    weights = [each.weight for each in predictors]

    def loss(c: Tensor, z: Tensor, *_: Tensor) -> Tensor:
        torch.manual_seed(1)
        return info_nce(c, z, LENGTHS, predictors, config, SPEAKERS).loss.sum()

    inputs = (context.requires_grad_(), latents.requires_grad_(), *weights)
    assert torch.autograd.gradcheck(loss, inputs, fast_mode=True)


def test_padding_changes_nothing() -> None:
    context, latents, predictors = parts()
    losses = []
    for padding in (0.0, 1e3):
        for n, size in enumerate(LENGTHS.tolist()):
            context[n, size:], latents[n, size:] = padding, -padding
        torch.manual_seed(1)
        losses.append(info_nce(context, latents, LENGTHS, predictors, POLICIES[0]).loss)
    assert torch.equal(*losses)


@pytest.mark.parametrize("config", POLICIES, ids=policy_name)
def test_negatives_are_uniform_over_what_the_policy_names(
    monkeypatch: pytest.MonkeyPatch, config: NegativesConfig
) -> None:
    """All its frames but the positive, each as often, for every anchor and step; drawn anew each time."""
    context, latents, predictors = parts(torch.float32)
    drawn = drawing(monkeypatch)
    many = NegativesConfig(count=2000, source=config.source, current=config.current)
    info_nce(context, latents, LENGTHS, predictors, many, SPEAKERS)
    assert len(drawn) == 22 + 18 + 14 + 10 + 7
    chances = []
    for (step, (sequence, frame)), places in drawn.items():
        expected, counts = candidates(config, (sequence, frame + step)), Counter(places)
        assert counts.keys() == expected
        chances.append(chisquare([counts[place] for place in sorted(expected)]).pvalue)
    assert min(chances) > 1e-4  # of 71 tests
    assert 0.35 < sum(chances) / len(chances) < 0.65  # p-values of a true hypothesis are uniform
    first = next(iter(drawn.values()))[:2000]
    info_nce(context, latents, LENGTHS, predictors, many, SPEAKERS)
    assert next(iter(drawn.values()))[2000:] != first


def test_sequences_without_candidates_count_for_nothing() -> None:
    """Of three speakers one has a single utterance: without the current sequence it finds no negative."""
    context, latents, predictors = parts()
    config = NegativesConfig(count=5, source="speaker", current=False)
    found = info_nce(context, latents, LENGTHS, predictors, config, torch.tensor([1, 0, 1, 2]))
    assert found.count.tolist() == [8 + 6, 7 + 5, 6 + 4, 5 + 3, 4 + 2]
    with pytest.raises(SpeechkitError, match="has another one to take negatives of"):
        info_nce(context, latents, LENGTHS, predictors, config, torch.arange(4))
    empty = list(pools(torch.tensor([3, 0]), None, NegativesConfig()))
    assert [pool.members.tolist() for pool in empty] == [[0]]


def test_impossible_policies_are_refused() -> None:
    with pytest.raises(ValueError, match="set current to true"):
        NegativesConfig(source="sequence", current=False)
    with pytest.raises(ValueError, match="at least 1, not 0"):
        NegativesConfig(count=0)
