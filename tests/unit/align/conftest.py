"""Lets the tests of this folder import `known_speech`, and trains one model for all of them."""

import sys
from pathlib import Path

import pytest

from speechkit.align.hmm import HmmConfig
from speechkit.align.models import AlignerModel
from speechkit.align.train import train_gmms

sys.path.append(str(Path(__file__).parent))
from known_speech import FBANK, QUICK, Speech, make_speech, training_set  # noqa: E402


@pytest.fixture(scope="session")
def speech() -> Speech:
    """Forty utterances."""
    return make_speech(40)


@pytest.fixture(scope="session")
def model(speech: Speech) -> AlignerModel:
    """Gaussians trained on the speech from a flat start."""
    emissions = train_gmms(training_set(speech, QUICK), QUICK, seed=0, engine="torch")
    return AlignerModel(speech.units, HmmConfig(), FBANK, emissions)
