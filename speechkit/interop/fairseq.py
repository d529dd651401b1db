"""Checkpoints of fairseq, read without fairseq: wav2vec 2.0 and HuBERT, pre-trained or fine-tuned by CTC."""

import ast
import contextlib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from speechkit.common.errors import SpeechkitError
from speechkit.interop.architecture import Hints, Method
from speechkit.interop.checkpoint import Model, sorted_model, without_prefix
from speechkit.interop.names import FAIRSEQ, FAIRSEQ_HUBERT_HEADS, FAIRSEQ_WAV2VEC2_HEADS
from speechkit.interop.reference import Reference, installed, of_either
from speechkit.interop.unpickle import fields, load_torch

_FIRST = "feature_extractor.conv_layers.0.0.weight"
_CTC = "w2v_encoder."


def read_fairseq(path: Path, hints: Hints) -> tuple[Model, Reference, list[str] | None]:
    """A model, what torchaudio or transformers make of its tensors, and the symbols of its outputs where it has them.

    Symbol 0 is the blank.

    Raises:
        SpeechkitError: the file holds something else, or a model of another kind.
    """
    checkpoint = load_torch(path)
    raw = checkpoint.get("model") if isinstance(checkpoint, Mapping) else None
    if not isinstance(raw, Mapping):
        raise SpeechkitError(f"{path} is no checkpoint of fairseq: it holds no 'model'")
    tensors = {name.removeprefix(_CTC): each for name, each in raw.items() if isinstance(each, Tensor)}
    state = without_prefix(tensors, _FIRST, path)
    settings, normalise = _settings(checkpoint)
    method = _method(state, settings)
    heads = FAIRSEQ_HUBERT_HEADS if method == "hubert" else FAIRSEQ_WAV2VEC2_HEADS
    model = sorted_model(state, FAIRSEQ, heads, method, hints.over(_hints(settings, normalise)), path)
    return model, of_either(model, _by_torchaudio(tensors)), _symbols(checkpoint)


def _settings(checkpoint: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool | None]:
    """What the pre-trained model was built with, and whether waveforms are normalised."""
    cfg = fields(checkpoint.get("cfg"))
    model, task = fields(cfg.get("model")), fields(cfg.get("task"))
    if not model:  # written before fairseq had structured settings
        model = task = fields(checkpoint.get("args"))
    normalise = task.get("normalize")
    if inner := fields(model.get("w2v_args")):  # of the model that was fine-tuned
        model = fields(inner.get("model")) or inner
    return model, normalise if isinstance(normalise, bool) else None


def _method(state: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Method:
    name = str(settings.get("_name", settings.get("arch", "")))
    return "hubert" if "hubert" in name or "label_embs_concat" in state else "wav2vec2"


def _hints(settings: Mapping[str, Any], normalise: bool | None) -> Hints:
    heads, norm_first = settings.get("encoder_attention_heads"), settings.get("layer_norm_first")
    return Hints(
        strides=_strides(settings.get("conv_feature_layers")),
        heads=heads if isinstance(heads, int) else None,
        norm_first=norm_first if isinstance(norm_first, bool) else None,
        normalise=normalise,
    )


def _strides(text: Any) -> tuple[int, ...] | None:
    """The last numbers of a list such as "[(512, 10, 5)] + [(512, 3, 2)] * 4", None where it is not understood."""
    if not isinstance(text, str):
        return None
    with contextlib.suppress(ValueError, SyntaxError, TypeError, IndexError):
        return tuple(layer[2] for layer in _sum(ast.parse(text.strip(), mode="eval").body))
    return None


def _sum(node: ast.expr) -> list[Any]:
    """A list written with + and *, without running it."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _sum(node.left) + _sum(node.right)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        times = int(ast.literal_eval(node.right))
        return _sum(node.left) * min(times, 100)
    return list(ast.literal_eval(node))


def _symbols(checkpoint: Mapping[str, Any]) -> list[str] | None:
    """The dictionary of the targets, which newer checkpoints carry."""
    symbols = fields(fields(checkpoint.get("task_state")).get("target_dictionary")).get("symbols")
    return [str(each) for each in symbols] if isinstance(symbols, list) else None


def _by_torchaudio(tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """The tensors as torchaudio's own importer of fairseq's models names them, where it is installed."""
    if not installed("torchaudio"):
        return None
    importer = importlib.import_module("torchaudio.models.wav2vec2.utils.import_fairseq")
    try:
        converted: dict[str, Tensor] = importer._convert_state_dict(tensors)
    except ValueError as error:
        raise SpeechkitError(f"torchaudio's importer of fairseq's models says: {error}") from error
    return {name: each.float() for name, each in converted.items()}
