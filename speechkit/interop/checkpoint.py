"""A model of another toolkit, sorted into names and sizes of this one."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from speechkit.common.errors import SpeechkitError
from speechkit.interop.architecture import Hints, Method, infer
from speechkit.interop.names import Names, from_names, renamed
from speechkit.nn.transformer import TransformerConfig
from speechkit.nn.waveform import ExtractorConfig


@dataclass(frozen=True)
class Model:
    """A speech encoder and what stands on it, in single precision.

    Attributes:
        method: how it was pre-trained.
        extractor, transformer: its sizes.
        encoder: tensors of a `SpeechEncoder`; that of the time mask may be missing.
        heads: tensors of the parts of a `Wav2Vec2` or `Hubert` that only pre-training needs.
        output: `weight (V, dim)` and `bias (V,)` of the layer that scores tokens, None in a pre-trained model.
    """

    method: Method
    extractor: ExtractorConfig
    transformer: TransformerConfig
    encoder: dict[str, Tensor]
    heads: dict[str, Tensor]
    output: dict[str, Tensor] | None = None


def sorted_model(
    state: Mapping[str, Tensor], names: Names, heads: Names, method: Method, hints: Hints, source: Path
) -> Model:
    """A model from the tensors of another toolkit.

    Raises:
        SpeechkitError: tensors are missing, or have no counterpart here: then this is a model of another kind.
    """
    known = [(there, there) for _, there in (*names, *heads)]
    unknown = sorted(set(state) - set(renamed(state, known)))
    if unknown:
        raise SpeechkitError(
            f"{source} has tensors that wav2vec 2.0 and HuBERT lack: {', '.join(unknown[:3])} ({len(unknown)} in all)"
        )
    floats = {name: each.float() for name, each in state.items()}
    encoder, others = from_names(floats, names), renamed(floats, heads)
    output = {name.removeprefix("output."): others.pop(name) for name in list(others) if name.startswith("output.")}
    if "quantiser.codebooks" in others:
        entries, size = others["quantiser.codebooks"].shape[-2:]
        groups = others["quantiser.output.weight"].shape[1] // size
        others["quantiser.codebooks"] = others["quantiser.codebooks"].reshape(groups, entries // groups, size)
    extractor, transformer = infer(encoder, hints)
    return Model(method, extractor, transformer, encoder, others, output or None)


def without_prefix(state: Mapping[str, Tensor], end: str, source: Path) -> dict[str, Tensor]:
    """The tensors by names without the beginning that the one which ends in `end` tells."""
    found = next((name for name in state if name.endswith(end)), None)
    if found is None:
        raise SpeechkitError(f"{source} holds no tensor {end}: it is no wav2vec 2.0 or HuBERT of this format")
    prefix = found.removesuffix(end)
    return {name.removeprefix(prefix): each for name, each in state.items()}


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file to the CPU."""
    try:
        return load_file(path)
    except SafetensorError as error:
        raise SpeechkitError(f"{path} is damaged ({error}); fetch it again") from error


def with_blank_first(output: Mapping[str, Tensor], blank: int) -> dict[str, Tensor]:
    """An output layer whose row `blank` comes first."""
    order = [blank, *(row for row in range(len(output["weight"])) if row != blank)]
    return {name: each[torch.tensor(order)] for name, each in output.items()}
