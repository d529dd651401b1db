"""The network as emission model: pieces, batches, and what a checkpoint keeps."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from known_speech import BINS, FBANK, Speech

from speechkit.align import neural
from speechkit.align.forced import ForcedAligner
from speechkit.align.models import AlignerModel
from speechkit.align.neural import FrameNetwork, NetworkConfig, NeuralEmissions
from speechkit.align.segments import Alignment
from speechkit.common.errors import SpeechkitError


@pytest.fixture
def emissions(speech: Speech) -> NeuralEmissions:
    torch.manual_seed(0)
    config = NetworkConfig(in_dim=BINS, dim=16, dilations=(1, 2))
    prior = torch.rand(3 * len(speech.units)).log_softmax(0)
    return NeuralEmissions(FrameNetwork(config, len(prior)), prior)


def test_likelihoods_are_posteriors_over_priors(emissions: NeuralEmissions, speech: Speech) -> None:
    found = emissions.log_likelihoods(speech.utterances[:3])
    posteriors = emissions.log_posteriors(found[0])
    assert posteriors.shape == (len(speech.utterances[0].log_mel), 12)
    torch.testing.assert_close(posteriors.exp().sum(1), torch.ones(len(posteriors)))
    torch.testing.assert_close(found[0], posteriors - emissions.log_prior)


def test_company_does_not_matter(emissions: NeuralEmissions, speech: Speech) -> None:
    together = emissions.log_likelihoods(speech.utterances)
    for utterance, expected in zip(speech.utterances, together, strict=True):
        torch.testing.assert_close(emissions.log_likelihoods([utterance])[0], expected, atol=1e-5, rtol=1e-5)


def test_pieces_of_a_long_recording_fit_together(
    emissions: NeuralEmissions, speech: Speech, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = replace(speech.utterances[0], log_mel=torch.cat([each.log_mel for each in speech.utterances]))
    whole = emissions.log_likelihoods([long])[0]
    monkeypatch.setattr(neural, "FRAMES_PER_PASS", 100)
    assert len(long.log_mel) > 1000
    torch.testing.assert_close(emissions.log_likelihoods([long])[0], whole, atol=1e-5, rtol=1e-5)


def test_a_model_is_the_same_after_saving(
    emissions: NeuralEmissions, model: AlignerModel, speech: Speech, tmp_path: Path
) -> None:
    for number, each in enumerate((model, replace(model, emissions=emissions))):
        folder = tmp_path / f"ü {number}"
        each.save(folder, {"note": 1})
        loaded = AlignerModel.load(folder)
        assert (loaded.units, loaded.hmm, loaded.fbank) == (each.units, each.hmm, FBANK)
        for old, new in zip(
            each.emissions.log_likelihoods(speech.utterances[:2]),
            loaded.emissions.log_likelihoods(speech.utterances[:2]),
            strict=True,
        ):
            assert old.equal(new)
        first, second = (ForcedAligner(one, "torch")(speech.utterances[:2]) for one in (each, loaded))
        assert [one.tiers for one in first if isinstance(one, Alignment)] == [
            one.tiers for one in second if isinstance(one, Alignment)
        ]


def test_a_folder_that_is_no_aligner(tmp_path: Path) -> None:
    with pytest.raises(SpeechkitError, match="is not an aligner"):
        AlignerModel.load(tmp_path)
