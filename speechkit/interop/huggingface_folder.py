"""A folder as transformers reads it: configuration, weights and, for CTC, what turns audio in and tokens out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from speechkit.common.files import write_json
from speechkit.interop.architecture import Method
from speechkit.interop.names import HUGGINGFACE, HUGGINGFACE_HEADS, renamed, to_names
from speechkit.nn.masking import SpanMaskConfig
from speechkit.nn.quantise import QuantiserConfig
from speechkit.nn.transformer import TransformerConfig
from speechkit.nn.waveform import ExtractorConfig
from speechkit.text.tokens import BLANK, WORD_BOUNDARY

CONFIG, WEIGHTS, VOCABULARY = "config.json", "model.safetensors", "vocab.json"
PROCESSOR, TOKENIZER = "preprocessor_config.json", "tokenizer_config.json"
_CLASSES = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert"}


def model_config(
    method: Method, kind: str, extractor: ExtractorConfig, transformer: TransformerConfig
) -> dict[str, Any]:
    """The configuration of a model of `kind` "Model", "ForPreTraining" or "ForCTC"."""
    layers = len(extractor.kernels)
    return {
        "model_type": method,
        "architectures": [f"{_CLASSES[method]}{kind}"],
        "dtype": "float32",
        "hidden_size": transformer.dim,
        "num_hidden_layers": transformer.layers,
        "num_attention_heads": transformer.heads,
        "intermediate_size": transformer.feed_forward,
        "hidden_act": "gelu",
        "hidden_dropout": transformer.dropout,
        "attention_dropout": transformer.attention_dropout,
        "activation_dropout": transformer.activation_dropout,
        "final_dropout": transformer.dropout,
        "layerdrop": transformer.layer_drop,
        "layer_norm_eps": 1e-5,
        "do_stable_layer_norm": transformer.norm_first,
        "num_conv_pos_embeddings": transformer.position_kernel,
        "num_conv_pos_embedding_groups": transformer.position_groups,
        "feat_extract_norm": "layer" if extractor.norm == "layer" else "group",
        "feat_extract_activation": "gelu",
        "num_feat_extract_layers": layers,
        "conv_dim": [extractor.dim] * layers,
        "conv_kernel": list(extractor.kernels),
        "conv_stride": list(extractor.strides),
        "conv_bias": extractor.bias,
    }


def masking_config(time_mask: SpanMaskConfig, channel_mask: SpanMaskConfig) -> dict[str, Any]:
    """How training masks: probabilities elsewhere are those of a frame to be masked, if no spans overlapped."""
    return {
        "apply_spec_augment": True,
        "mask_time_prob": time_mask.probability * time_mask.length,
        "mask_time_length": time_mask.length,
        "mask_time_min_masks": time_mask.least,
        "mask_feature_prob": channel_mask.probability * channel_mask.length,
        "mask_feature_length": channel_mask.length,
        "mask_feature_min_masks": channel_mask.least,
    }


def quantiser_config(quantiser: QuantiserConfig) -> dict[str, Any]:
    """The codebooks of a wav2vec 2.0 that goes on with pre-training."""
    return {
        "num_codevector_groups": quantiser.groups,
        "num_codevectors_per_group": quantiser.entries,
        "codevector_dim": quantiser.groups * quantiser.entry_dim,
        "proj_codevector_dim": quantiser.out_dim,
        "feat_quantizer_dropout": quantiser.dropout,
    }


def write_model(
    folder: Path, config: Mapping[str, Any], encoder: Mapping[str, Tensor], heads: Mapping[str, Tensor]
) -> None:
    """Write `config.json` and the weights.

    Args:
        folder: to write to.
        config: of `model_config` and its companions.
        encoder: tensors of a `SpeechEncoder`.
        heads: what stands on it, by names of this toolkit; the heads of HuBERT have no place in transformers.
    """
    bare = config["architectures"][0].endswith("Model")
    prefix = "" if bare else f"{config['model_type']}."
    tensors = {f"{prefix}{name}": each for name, each in to_names(encoder, HUGGINGFACE).items()}
    tensors |= renamed(heads, [(there, here) for here, there in HUGGINGFACE_HEADS])
    if "quantizer.codevectors" in tensors:
        tensors["quantizer.codevectors"] = tensors["quantizer.codevectors"].flatten(0, 1).unsqueeze(0)
    write_json(folder / CONFIG, dict(config))
    plain = {name: each.detach().cpu().contiguous() for name, each in tensors.items()}
    save_file(plain, folder / WEIGHTS, metadata={"format": "pt"})


def write_feature_extractor(folder: Path, extractor: ExtractorConfig, sampling_rate: int, ctc: bool) -> None:
    """Write what prepares waveforms; models with a norm over time were not made to see a mask of padding."""
    content: dict[str, Any] = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "sampling_rate": sampling_rate,
        "do_normalize": extractor.normalise,
        "return_attention_mask": extractor.norm == "layer",
        "padding_side": "right",
        "padding_value": 0.0,
    }
    write_json(folder / PROCESSOR, content | ({"processor_class": "Wav2Vec2Processor"} if ctc else {}))


def write_tokenizer(folder: Path, tokens: list[str], *, spelled: bool) -> None:
    """Write the token table.

    Args:
        folder: to write to.
        tokens: in order, the blank first.
        spelled: whether tokens are characters, which make words without anything between; else they are put side by
            side with spaces, as phones are.
    """
    unknown = "<unk>" if "<unk>" in tokens else None
    content: dict[str, Any] = {
        "tokenizer_class": "Wav2Vec2CTCTokenizer" if spelled else "Wav2Vec2PhonemeCTCTokenizer",
        "processor_class": "Wav2Vec2Processor",
        "pad_token": BLANK,
        "unk_token": unknown,
        "bos_token": None,
        "eos_token": None,
        "word_delimiter_token": WORD_BOUNDARY if WORD_BOUNDARY in tokens else None,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 10**9,
    }
    content |= {"do_lower_case": False} if spelled else {"do_phonemize": False, "phone_delimiter_token": " "}
    write_json(folder / TOKENIZER, content)
    write_json(folder / "special_tokens_map.json", {"pad_token": BLANK} | ({"unk_token": unknown} if unknown else {}))
    write_json(folder / VOCABULARY, {token: index for index, token in enumerate(tokens)})
