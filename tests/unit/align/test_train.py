"""Training from a flat start, on speech of which the truth is known."""

import logging
import re
from dataclasses import replace

import pytest
import torch
from known_speech import QUICK, Speech, make_speech, training_set

from speechkit.align.hmm import HmmConfig, equal_alignment, least_frames, transcript_graph
from speechkit.align.train import NOT_ALIGNED, GmmConfig, log_priors, train_gmms
from speechkit.common.errors import SpeechkitError


def test_equal_alignment_gives_every_state_its_share(speech: Speech) -> None:
    units = speech.units
    transcript = units.transcript({"text": "ab"})  # sil a b sil, twelve states
    found = equal_alignment(transcript, units, HmmConfig(), 24)
    assert found is not None
    a, b, sil = (units.ids[name] * 3 for name in ("a", "b", "sil"))
    assert found.tolist() == [pdf + state for pdf in (sil, a, b, sil) for state in (0, 0, 1, 1, 2, 2)]
    assert equal_alignment(transcript, units, HmmConfig(), 11) is None
    assert least_frames(transcript, HmmConfig()) == 6
    assert least_frames(units.transcript({"text": "or"}), HmmConfig(states=1)) == 2


def test_scales_reach_the_graph(speech: Speech) -> None:
    units, transcript = speech.units, speech.units.transcript({"text": "or"})
    plain = transcript_graph(transcript, units, HmmConfig(self_loop_scale=1.0))
    scaled = transcript_graph(
        transcript, units, HmmConfig(self_loop_scale=1.0, transition_scale=1.0, acoustic_scale=0.5)
    )
    assert scaled.score.tolist() == plain.score.tolist()
    loops = plain.source == plain.destination
    quick = transcript_graph(transcript, units, HmmConfig(self_loop_scale=0.1))
    assert quick.score[loops].tolist() == pytest.approx((plain.score[loops] * 0.1).tolist())
    doubled = transcript_graph(transcript, units, HmmConfig(self_loop_scale=2.0, transition_scale=2.0))
    assert doubled.score.tolist() == pytest.approx((plain.score * 2).tolist())


def test_viterbi_training_raises_the_likelihood(speech: Speech, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "speechkit.align.train"):
        train_gmms(training_set(speech, QUICK), QUICK, seed=0, engine="torch")
    found = [float(match[1]) for line in caplog.messages if (match := re.search(r"log-likelihood (-?[\d.]+)", line))]
    assert len(found) == 13
    assert all(later > earlier - 0.02 for earlier, later in zip(found, found[1:], strict=False))
    assert found[-1] > found[0] + 5


def test_the_same_seed_gives_the_same_mixtures(speech: Speech) -> None:
    config = replace(QUICK, iterations=4)
    found = [train_gmms(training_set(speech, config), config, seed, "torch").gmms for seed in (0, 0, 1)]
    assert found[0].means.equal(found[1].means)
    assert found[0].weights.equal(found[1].weights)
    assert not found[0].means.equal(found[2].means)


def test_too_short_utterances_are_left_out_and_counted(speech: Speech, caplog: pytest.LogCaptureFixture) -> None:
    short = replace(speech.utterances[0], log_mel=speech.utterances[0].log_mel[:5])
    some = Speech(speech.units, [short, *speech.utterances[1:10]], [], [])
    data = training_set(some, QUICK)
    assert (data.equal_alignment()[:5] == NOT_ALIGNED).all()
    with caplog.at_level(logging.INFO, "speechkit.align.train"):
        train_gmms(data, replace(QUICK, iterations=1), seed=0, engine="torch")
    assert "1 utterances without a path" in caplog.messages[-1]
    only = Speech(speech.units, [short], [], [])
    with pytest.raises(SpeechkitError, match="every utterance is too short"):
        train_gmms(training_set(only, QUICK), QUICK, seed=0, engine="torch")


def test_batches_do_not_matter(speech: Speech) -> None:
    data = training_set(make_speech(12, seed=3), QUICK)
    gmms = train_gmms(training_set(speech, QUICK), QUICK, seed=0, engine="torch").gmms
    together = data.align(data.gmm_likelihoods(gmms), "torch")
    assert len(data.batches) < 12
    for row in range(12):
        (alone,) = [replace_batches(data, row).align(data.gmm_likelihoods(gmms), "torch")]
        assert alone[data.frames(row)].equal(together[data.frames(row)])


def replace_batches(data, row: int):  # type: ignore[no-untyped-def]
    """The same set with one utterance to align."""
    import copy

    single = copy.copy(data)
    single.batches = [type(data.batches[0])([row], data.lengths[[row]], data._graphs([row]))]
    return single


def test_priors() -> None:
    assert log_priors(torch.tensor([0, 0, 2, NOT_ALIGNED]), 3).exp().tolist() == pytest.approx([0.5, 0.25, 0.25])


@pytest.mark.parametrize("change", [{"iterations": 0}, {"gaussians": 0}, {"variance_floor": 1.0}])
def test_impossible_settings(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="at least 1|between 0 and 1"):
        GmmConfig(**change)
