"""What the tensors of a speech encoder are called elsewhere.

Each line pairs a name here with one there; `{i}` is the number of a layer, `{n}` "weight" or "bias". Queries, keys and
values are three matrices elsewhere and one here.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from speechkit.common.errors import SpeechkitError

Names = tuple[tuple[str, str], ...]
_POSITION = "transformer.position"
_BLOCK = "transformer.blocks.{i}"

TORCHAUDIO: Names = (
    ("extractor.weights.{i}", "feature_extractor.conv_layers.{i}.conv.weight"),
    ("extractor.biases.{i}", "feature_extractor.conv_layers.{i}.conv.bias"),
    ("extractor.norms.{i}.{n}", "feature_extractor.conv_layers.{i}.layer_norm.{n}"),
    ("norm.{n}", "encoder.feature_projection.layer_norm.{n}"),
    ("projection.{n}", "encoder.feature_projection.projection.{n}"),
    ("time_mask.vector", "mask_generator.mask_embedding"),
    (f"{_POSITION}.bias", "encoder.transformer.pos_conv_embed.conv.bias"),
    (f"{_POSITION}.gain", "encoder.transformer.pos_conv_embed.conv.weight_g"),
    (f"{_POSITION}.direction", "encoder.transformer.pos_conv_embed.conv.weight_v"),
    (f"{_POSITION}.gain", "encoder.transformer.pos_conv_embed.conv.parametrizations.weight.original0"),
    (f"{_POSITION}.direction", "encoder.transformer.pos_conv_embed.conv.parametrizations.weight.original1"),
    ("transformer.norm.{n}", "encoder.transformer.layer_norm.{n}"),
    (f"{_BLOCK}.query.{{n}}", "encoder.transformer.layers.{i}.attention.q_proj.{n}"),
    (f"{_BLOCK}.key.{{n}}", "encoder.transformer.layers.{i}.attention.k_proj.{n}"),
    (f"{_BLOCK}.value.{{n}}", "encoder.transformer.layers.{i}.attention.v_proj.{n}"),
    (f"{_BLOCK}.attention_out.{{n}}", "encoder.transformer.layers.{i}.attention.out_proj.{n}"),
    (f"{_BLOCK}.attention_norm.{{n}}", "encoder.transformer.layers.{i}.layer_norm.{n}"),
    (f"{_BLOCK}.feed_forward_in.{{n}}", "encoder.transformer.layers.{i}.feed_forward.intermediate_dense.{n}"),
    (f"{_BLOCK}.feed_forward_out.{{n}}", "encoder.transformer.layers.{i}.feed_forward.output_dense.{n}"),
    (f"{_BLOCK}.feed_forward_norm.{{n}}", "encoder.transformer.layers.{i}.final_layer_norm.{n}"),
)

_POSITION_HF = "encoder.pos_conv_embed.conv"
HUGGINGFACE: Names = (
    ("extractor.weights.{i}", "feature_extractor.conv_layers.{i}.conv.weight"),
    ("extractor.biases.{i}", "feature_extractor.conv_layers.{i}.conv.bias"),
    ("extractor.norms.{i}.{n}", "feature_extractor.conv_layers.{i}.layer_norm.{n}"),
    ("norm.{n}", "feature_projection.layer_norm.{n}"),
    ("projection.{n}", "feature_projection.projection.{n}"),
    ("time_mask.vector", "masked_spec_embed"),
    (f"{_POSITION}.bias", f"{_POSITION_HF}.bias"),
    (f"{_POSITION}.gain", f"{_POSITION_HF}.weight_g"),
    (f"{_POSITION}.direction", f"{_POSITION_HF}.weight_v"),
    (f"{_POSITION}.gain", f"{_POSITION_HF}.parametrizations.weight.original0"),
    (f"{_POSITION}.direction", f"{_POSITION_HF}.parametrizations.weight.original1"),
    ("transformer.norm.{n}", "encoder.layer_norm.{n}"),
    (f"{_BLOCK}.query.{{n}}", "encoder.layers.{i}.attention.q_proj.{n}"),
    (f"{_BLOCK}.key.{{n}}", "encoder.layers.{i}.attention.k_proj.{n}"),
    (f"{_BLOCK}.value.{{n}}", "encoder.layers.{i}.attention.v_proj.{n}"),
    (f"{_BLOCK}.attention_out.{{n}}", "encoder.layers.{i}.attention.out_proj.{n}"),
    (f"{_BLOCK}.attention_norm.{{n}}", "encoder.layers.{i}.layer_norm.{n}"),
    (f"{_BLOCK}.feed_forward_in.{{n}}", "encoder.layers.{i}.feed_forward.intermediate_dense.{n}"),
    (f"{_BLOCK}.feed_forward_out.{{n}}", "encoder.layers.{i}.feed_forward.output_dense.{n}"),
    (f"{_BLOCK}.feed_forward_norm.{{n}}", "encoder.layers.{i}.final_layer_norm.{n}"),
)


def from_names(state: Mapping[str, Tensor], names: Names) -> dict[str, Tensor]:
    """The tensors of a `SpeechEncoder` from those of another toolkit; what is no part of it is left out.

    The norm after the first convolution, if there is one alone, becomes its gain and shift.

    Raises:
        SpeechkitError: a block lacks one of query, key and value.
    """
    patterns = [(re.compile(_pattern(there)), here) for here, there in names]
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        for pattern, here in patterns:
            if match := pattern.fullmatch(name):
                found[here.format(**match.groupdict())] = tensor.detach()
                break
    if "extractor.norms.1.weight" not in found:
        for kind, ours in (("weight", "gain"), ("bias", "shift")):
            found[f"extractor.{ours}"] = found.pop(f"extractor.norms.0.{kind}")
    return _joined(found)


def _pattern(template: str) -> str:
    escaped = re.escape(template).replace(r"\{i\}", r"(?P<i>\d+)")
    return escaped.replace(r"\{n\}", r"(?P<n>weight|bias)")


def _joined(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Queries, keys and values as one."""
    result = {}
    for name, tensor in found.items():
        block, _, rest = name.rpartition(".query.")
        if block:
            parts = [found.get(f"{block}.{each}.{rest}") for each in ("query", "key", "value")]
            present = [part for part in parts if part is not None]
            if len(present) < len(parts):
                raise SpeechkitError(f"the checkpoint lacks keys or values beside {name}; it is not complete")
            result[f"{block}.qkv.{rest}"] = torch.cat(present)
        elif ".key." not in name and ".value." not in name:
            result[name] = tensor
    return result
