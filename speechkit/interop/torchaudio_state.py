"""State dicts of torchaudio's wav2vec 2.0 and HuBERT models, as its bundles hold them."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from speechkit.common.errors import SpeechkitError
from speechkit.interop.architecture import Hints, Method
from speechkit.interop.checkpoint import Model, read_safetensors, sorted_model, without_prefix
from speechkit.interop.names import TORCHAUDIO, TORCHAUDIO_HEADS
from speechkit.interop.reference import Reference, of_either
from speechkit.interop.unpickle import load_torch

_FIRST = "feature_extractor.conv_layers.0.conv.weight"


def read_torchaudio(path: Path, method: Method | None, hints: Hints) -> tuple[Model, Reference]:
    """A model from a file of `torch.save(model.state_dict())` or safetensors, and what torchaudio makes of it.

    Raises:
        SpeechkitError: the file holds something else.
    """
    found = read_safetensors(path) if path.suffix == ".safetensors" else load_torch(path)
    if not isinstance(found, Mapping) or not all(isinstance(each, Tensor) for each in found.values()):
        raise SpeechkitError(f"{path} is no state dict; write one with torch.save(model.state_dict(), ...)")
    state = without_prefix(found, _FIRST, path)
    if method is None:
        method = "hubert" if "logit_generator.label_embeddings" in state else "wav2vec2"
    model = sorted_model(state, TORCHAUDIO, TORCHAUDIO_HEADS, method, hints, path)
    return model, of_either(model, state)
