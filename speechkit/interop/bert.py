"""Folders of Hugging Face with a BERT over text, such as bert-base-chinese."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import read_json
from speechkit.interop.huggingface import read_weights
from speechkit.interop.huggingface_folder import CONFIG
from speechkit.interop.names import BERT, joined, renamed
from speechkit.interop.reference import Outputs, quiet, require
from speechkit.nn.transformer import StackConfig

ASSUMED = {  # of BERT alone, and what config.json says of others
    "model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute", "is_decoder": False,
    "tie_word_embeddings": True,
}  # fmt: skip
UNUSED = ("pooler.", "cls.seq_relationship.", "embeddings.position_ids")
TOKENS, MATRIX, BIAS = "embeddings.word_embeddings.weight", "cls.predictions.decoder.weight", "cls.predictions.bias"


@dataclass(frozen=True)
class Bert:
    """Sizes of the blocks and tensors of a `TextBert`, in single precision."""

    sizes: StackConfig
    weights: dict[str, Tensor]


def read_bert(folder: Path) -> Bert:
    """A model as transformers' `BertForMaskedLM` and `BertForPreTraining` are saved.

    What only the prediction of the next sentence needs is left out.

    Raises:
        SpeechkitError: it is no folder of Hugging Face, holds a model of another kind, or one without the head for
            masked tokens.
    """
    if not (folder / CONFIG).is_file():
        raise SpeechkitError(f"{folder} has no {CONFIG}; --in is a folder as transformers' save_pretrained writes it")
    settings = read_json(folder / CONFIG)
    for name, expected in ASSUMED.items():
        if settings.get(name, expected) != expected:
            raise SpeechkitError(f"{folder / CONFIG} has {name} {settings[name]!r}; a BERT has {expected!r}")
    state = {_of_today(name): each.float() for name, each in read_weights(folder).items()}
    state = {name: each for name, each in state.items() if not name.startswith(UNUSED)}
    _check(state, folder)
    weights = joined(renamed(state, BERT))
    return Bert(_sizes(settings, weights, folder), weights)


def reference_outputs(folder: Path, tokens: Tensor, lengths: Tensor) -> Outputs:
    """What transformers makes of the folder's model and some sequences `tokens (N, T)`, in double precision.

    Returns:
        Its last hidden states and the logits of masked tokens, both of the valid places end to end.
    """
    require("transformers")
    import transformers

    with quiet(transformers):
        model: nn.Module = transformers.BertForMaskedLM.from_pretrained(folder, local_files_only=True)
    mask = torch.arange(tokens.shape[1]) < lengths[:, None]
    with torch.inference_mode():
        found = model.double().eval()(tokens, attention_mask=mask.long(), output_hidden_states=True)
    layers = [each[mask] for each in found.hidden_states[1:]]
    return Outputs(layers[:-1], layers[-1], found.logits[mask])


def _of_today(name: str) -> str:
    """The name of a tensor in transformers now; those converted from TensorFlow have gains "gamma", biases "beta"."""
    name = name.removeprefix("bert.")
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def _check(state: dict[str, Tensor], folder: Path) -> None:
    """Take out copies of tied tensors, and see that no other is strange or missing."""
    if TOKENS not in state:
        raise SpeechkitError(f"{folder} holds no tensor {TOKENS}: it is no BERT")
    if not any(name.startswith("cls.predictions.transform.") for name in state):
        raise SpeechkitError(
            f"{folder} lacks the head for masked tokens (cls.predictions): fetch a BERT that was saved with it"
        )
    if not torch.equal(state.pop(MATRIX, state[TOKENS]), state[TOKENS]):
        raise SpeechkitError(f"{folder}: {MATRIX} is not {TOKENS}; in a BERT they are one matrix")
    copy = state.pop("cls.predictions.decoder.bias", None)
    if copy is not None:
        state.setdefault(BIAS, copy)
    known = renamed(state, [(there, there) for _, there in BERT])
    if strange := sorted(set(state) - set(known)):
        raise SpeechkitError(
            f"{folder} has tensors that a BERT lacks: {', '.join(strange[:3])} ({len(strange)} in all)"
        )


def _sizes(settings: Mapping[str, Any], weights: Mapping[str, Tensor], folder: Path) -> StackConfig:
    """Of the tensors, and where they do not tell, of config.json."""
    positions, inner = weights.get("positions.weight"), weights.get("blocks.0.feed_forward_in.bias")
    if positions is None or inner is None or "num_attention_heads" not in settings:
        raise SpeechkitError(f"{folder} lacks positions, layers or, in {CONFIG}, num_attention_heads; fetch it again")
    rows, dim = weights["tokens.weight"].shape
    layers = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks."))
    found = {
        "vocab_size": rows, "hidden_size": dim, "num_hidden_layers": layers, "intermediate_size": len(inner),
        "max_position_embeddings": len(positions),
    }  # fmt: skip
    for name, number in found.items():
        if settings.get(name, number) != number:
            raise SpeechkitError(f"{folder / CONFIG} says {name} {settings[name]}, but the weights have {number}")
    try:
        return StackConfig(
            dim=dim,
            layers=layers,
            heads=settings["num_attention_heads"],
            feed_forward=len(inner),
            dropout=settings.get("hidden_dropout_prob", 0.1),
            attention_dropout=settings.get("attention_probs_dropout_prob", 0.1),
            norm_eps=settings.get("layer_norm_eps", 1e-12),
        )
    except ValueError as error:
        raise SpeechkitError(f"{folder / CONFIG}: {error}") from error
