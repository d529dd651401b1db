"""Silence with states of its own: columns, training and alignment against loops and the truth."""

import numpy as np
import pytest
import torch
from known_speech import FBANK, QUICK, make_speech, training_set

from speechkit.align.forced import ForcedAligner
from speechkit.align.hmm import HmmConfig, by_unit, num_pdfs, unit_pdfs, units_of
from speechkit.align.models import AlignerModel
from speechkit.align.segments import Alignment
from speechkit.align.train import train_gmms
from speechkit.align.units import Units
from speechkit.common.errors import SpeechkitError

ONE_AND_THREE = HmmConfig(states=1, silence_states=3)


@pytest.mark.parametrize(
    "config", [HmmConfig(), HmmConfig(states=1), ONE_AND_THREE, HmmConfig(states=2, silence_states=3)]
)
def test_columns_of_units(config: HmmConfig) -> None:
    units = make_speech(1).units
    sizes = [config.of_silence if name == "sil" else config.states for name in units.names]
    expected = [unit for unit, size in enumerate(sizes) for _ in range(size)]
    assert num_pdfs(units, config) == len(expected)
    assert units_of(torch.arange(len(expected)), units, config).tolist() == expected
    assert [pdf for unit in range(len(units)) for pdf in unit_pdfs(unit, units, config)] == list(range(len(expected)))
    scores = torch.randn(5, len(expected), generator=torch.Generator().manual_seed(0))
    for reduce in (torch.logsumexp, torch.amax):
        sums = by_unit(scores, units, config, reduce)
        for unit in range(len(units)):
            columns = [pdf for pdf, each in enumerate(expected) if each == unit]
            torch.testing.assert_close(sums[:, unit], reduce(scores[:, columns], 1))


def test_a_model_of_one_and_three_states_finds_what_was_said() -> None:
    speech = make_speech(40)
    emissions = train_gmms(training_set(speech, QUICK, ONE_AND_THREE), QUICK, seed=0, engine="torch")
    assert emissions.gmms.num_pdfs == len(speech.units) + 2
    aligner = ForcedAligner(AlignerModel(speech.units, ONE_AND_THREE, FBANK, emissions), "torch")
    found = aligner(speech.utterances[:10])
    right = total = 0
    for alignment, phones in zip(found, speech.phones, strict=False):
        assert isinstance(alignment, Alignment)
        truth = np.repeat(
            [speech.units.ids[unit] for unit, _, _ in phones], [last - first for _, first, last in phones]
        )
        right += int((alignment.frame_labels == truth).sum())
        total += len(truth)
        states = {segment.label for segment in alignment.tiers["state"]}
        assert {"sil_0", "sil_1", "sil_2"} <= states
        assert not {"a_1", "b_1", "c_1"} & states
    assert right / total > 0.9  # derivatives see over the edges: the frames there go to either side


def test_silence_has_to_be_one_unit_and_the_last() -> None:
    units = Units(("a", "sil", "z"), ("sil",), None)
    with pytest.raises(SpeechkitError, match="one unit of silence, the last"):
        num_pdfs(units, ONE_AND_THREE)
    assert units.silence_last().names == ("a", "z", "sil")
    assert num_pdfs(units.silence_last(), ONE_AND_THREE) == 5
    with pytest.raises(ValueError, match="silence_states must be 3 to 3"):
        HmmConfig(states=3, silence_states=2)
