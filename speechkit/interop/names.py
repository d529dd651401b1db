"""What the tensors of a speech encoder are called elsewhere.

Each line pairs a name here with one there; `{i}` is the number of a layer, `{n}` "weight" or "bias". Where two lines
have one name here, the first is what is written. Queries, keys and values are three matrices elsewhere and one here.
"""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from speechkit.common.errors import SpeechkitError

Names = tuple[tuple[str, str], ...]
_FIRST_NORM = {"extractor.gain": "extractor.norms.0.weight", "extractor.shift": "extractor.norms.0.bias"}
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


FAIRSEQ: Names = (
    ("extractor.weights.{i}", "feature_extractor.conv_layers.{i}.0.weight"),
    ("extractor.biases.{i}", "feature_extractor.conv_layers.{i}.0.bias"),
    ("extractor.norms.{i}.{n}", "feature_extractor.conv_layers.{i}.2.1.{n}"),
    ("extractor.gain", "feature_extractor.conv_layers.0.2.weight"),
    ("extractor.shift", "feature_extractor.conv_layers.0.2.bias"),
    ("norm.{n}", "layer_norm.{n}"),
    ("projection.{n}", "post_extract_proj.{n}"),
    ("time_mask.vector", "mask_emb"),
    (f"{_POSITION}.bias", "encoder.pos_conv.0.bias"),
    (f"{_POSITION}.gain", "encoder.pos_conv.0.weight_g"),
    (f"{_POSITION}.direction", "encoder.pos_conv.0.weight_v"),
    (f"{_POSITION}.gain", "encoder.pos_conv.0.parametrizations.weight.original0"),
    (f"{_POSITION}.direction", "encoder.pos_conv.0.parametrizations.weight.original1"),
    ("transformer.norm.{n}", "encoder.layer_norm.{n}"),
    (f"{_BLOCK}.query.{{n}}", "encoder.layers.{i}.self_attn.q_proj.{n}"),
    (f"{_BLOCK}.key.{{n}}", "encoder.layers.{i}.self_attn.k_proj.{n}"),
    (f"{_BLOCK}.value.{{n}}", "encoder.layers.{i}.self_attn.v_proj.{n}"),
    (f"{_BLOCK}.attention_out.{{n}}", "encoder.layers.{i}.self_attn.out_proj.{n}"),
    (f"{_BLOCK}.attention_norm.{{n}}", "encoder.layers.{i}.self_attn_layer_norm.{n}"),
    (f"{_BLOCK}.feed_forward_in.{{n}}", "encoder.layers.{i}.fc1.{n}"),
    (f"{_BLOCK}.feed_forward_out.{{n}}", "encoder.layers.{i}.fc2.{n}"),
    (f"{_BLOCK}.feed_forward_norm.{{n}}", "encoder.layers.{i}.final_layer_norm.{n}"),
)

# What stands on the encoder: the parts of `Wav2Vec2` and `Hubert` that only pre-training needs, and the output layer.
HUGGINGFACE_HEADS: Names = (
    ("quantiser.logits.{n}", "quantizer.weight_proj.{n}"),
    ("quantiser.codebooks", "quantizer.codevectors"),
    ("quantiser.output.{n}", "project_q.{n}"),
    ("context.{n}", "project_hid.{n}"),
    ("output.{n}", "lm_head.{n}"),
)
TORCHAUDIO_HEADS: Names = (
    ("heads.0.projection.{n}", "logit_generator.final_proj.{n}"),
    ("heads.0.classes", "logit_generator.label_embeddings"),
    ("output.{n}", "aux.{n}"),
)
FAIRSEQ_WAV2VEC2_HEADS: Names = (
    ("quantiser.logits.{n}", "quantizer.weight_proj.{n}"),
    ("quantiser.codebooks", "quantizer.vars"),
    ("quantiser.output.{n}", "project_q.{n}"),
    ("context.{n}", "final_proj.{n}"),
    ("output.{n}", "proj.{n}"),
)
FAIRSEQ_HUBERT_HEADS: Names = (
    ("heads.0.projection.{n}", "final_proj.{n}"),
    ("heads.0.classes", "label_embs_concat"),
    ("output.{n}", "proj.{n}"),
)

# A BERT over text and its head for masked tokens, the names of transformers without "bert.".
_BERT_LAYER = "encoder.layer.{i}"
BERT: Names = (
    ("tokens.weight", "embeddings.word_embeddings.weight"),
    ("positions.weight", "embeddings.position_embeddings.weight"),
    ("segments.weight", "embeddings.token_type_embeddings.weight"),
    ("norm.{n}", "embeddings.LayerNorm.{n}"),
    ("blocks.{i}.query.{n}", f"{_BERT_LAYER}.attention.self.query.{{n}}"),
    ("blocks.{i}.key.{n}", f"{_BERT_LAYER}.attention.self.key.{{n}}"),
    ("blocks.{i}.value.{n}", f"{_BERT_LAYER}.attention.self.value.{{n}}"),
    ("blocks.{i}.attention_out.{n}", f"{_BERT_LAYER}.attention.output.dense.{{n}}"),
    ("blocks.{i}.attention_norm.{n}", f"{_BERT_LAYER}.attention.output.LayerNorm.{{n}}"),
    ("blocks.{i}.feed_forward_in.{n}", f"{_BERT_LAYER}.intermediate.dense.{{n}}"),
    ("blocks.{i}.feed_forward_out.{n}", f"{_BERT_LAYER}.output.dense.{{n}}"),
    ("blocks.{i}.feed_forward_norm.{n}", f"{_BERT_LAYER}.output.LayerNorm.{{n}}"),
    ("head.0.{n}", "cls.predictions.transform.dense.{n}"),
    ("head.2.{n}", "cls.predictions.transform.LayerNorm.{n}"),
    ("bias", "cls.predictions.bias"),
)


def from_names(state: Mapping[str, Tensor], names: Names) -> dict[str, Tensor]:
    """The tensors of a `SpeechEncoder` from those of another toolkit; what is no part of it is left out.

    The norm after the first convolution, if there is one alone, becomes its gain and shift.

    Raises:
        SpeechkitError: a block lacks one of query, key and value, or there is no norm after the first convolution.
    """
    found = renamed(state, names)
    if "extractor.norms.1.weight" not in found and "extractor.gain" not in found:
        for ours, there in _FIRST_NORM.items():
            if there not in found:
                raise SpeechkitError("the checkpoint lacks the norm after the first convolution; it is not complete")
            found[ours] = found.pop(there)
    return joined(found)


def to_names(state: Mapping[str, Tensor], names: Names) -> dict[str, Tensor]:
    """The inverse of `from_names`: the tensors of a `SpeechEncoder` as another toolkit calls them."""
    own = {here for here, _ in names}
    parted = {}
    for name, tensor in state.items():
        block, _, rest = name.rpartition(".qkv.")
        if block:
            for kind, part in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                parted[f"{block}.{kind}.{rest}"] = part
        else:
            parted[name if name in own else _FIRST_NORM.get(name, name)] = tensor
    return renamed(parted, [(there, here) for here, there in names])


def renamed(state: Mapping[str, Tensor], names: Iterable[tuple[str, str]]) -> dict[str, Tensor]:
    """The tensors that stand on the right of `names`, by what stands on the left; others are left out."""
    patterns = [(re.compile(_pattern(there)), here) for here, there in names]
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        for pattern, here in patterns:
            if match := pattern.fullmatch(name):
                found[here.format(**match.groupdict())] = tensor.detach()
                break
    return found


def _pattern(template: str) -> str:
    escaped = re.escape(template).replace(r"\{i\}", r"(?P<i>\d+)")
    return escaped.replace(r"\{n\}", r"(?P<n>weight|bias)")


def joined(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with queries, keys and values of each block as one.

    Raises:
        SpeechkitError: a block lacks one of them.
    """
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
