"""The tables of names: both directions, and all tensors of the other toolkits' models."""

import pytest
import torch
from foreign import of_torchaudio, of_transformers
from torch import Tensor

from speechkit.common.errors import SpeechkitError
from speechkit.interop.names import FAIRSEQ, HUGGINGFACE, TORCHAUDIO, Names, from_names, to_names


def state_of(library: str, large: bool) -> dict[str, Tensor]:
    model = of_torchaudio(large) if library == "torchaudio" else of_transformers("Wav2Vec2Model", large)
    state: dict[str, Tensor] = model.state_dict()
    return state


def old_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weight norm as it was called before PyTorch had parametrisations."""
    short = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    for long, other in short.items():
        state = {name.replace(long, other): each for name, each in state.items()}
    return state


@pytest.mark.parametrize("large", [False, True], ids=["base", "large"])
@pytest.mark.parametrize(("library", "names"), [("torchaudio", TORCHAUDIO), ("transformers", HUGGINGFACE)])
def test_there_and_back(library: str, names: Names, large: bool) -> None:
    state = state_of(library, large)
    back = to_names(from_names(state, names), names)
    expected = old_names(state)
    assert set(back) == set(expected)
    assert all(torch.equal(back[name], each) for name, each in expected.items())
    assert set(from_names(expected, names)) == set(from_names(state, names))


@pytest.mark.parametrize("large", [False, True], ids=["base", "large"])
def test_names_of_fairseq_are_those_that_torchaudio_imports(large: bool) -> None:
    """Torchaudio has an importer of fairseq's models, with a table of its own."""
    pytest.importorskip("torchaudio", reason="torchaudio is the reference", exc_type=ImportError)
    from torchaudio.models.wav2vec2.utils.import_fairseq import _convert_state_dict

    state = old_names(state_of("torchaudio", large))
    ours = from_names(state, TORCHAUDIO)
    theirs = to_names(ours, FAIRSEQ)
    converted = _convert_state_dict(theirs)
    assert set(converted) == set(state)
    assert all(torch.equal(converted[name], each) for name, each in state.items())
    back = from_names(theirs, FAIRSEQ)
    assert set(back) == set(ours)
    assert all(torch.equal(back[name], each) for name, each in ours.items())


def test_what_is_not_complete_is_refused() -> None:
    state = state_of("torchaudio", False)
    for gone, message in (("k_proj", "lacks keys or values"), ("layer_norm", "lacks the norm after the first")):
        with pytest.raises(SpeechkitError, match=message):
            from_names({name: each for name, each in state.items() if gone not in name}, TORCHAUDIO)
