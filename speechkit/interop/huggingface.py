"""Folders of Hugging Face: Wav2Vec2 and HuBERT, pre-trained or with an output layer for CTC."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import read_json
from speechkit.interop.architecture import Hints, Method
from speechkit.interop.checkpoint import Model, read_safetensors, sorted_model, without_prefix
from speechkit.interop.huggingface_folder import CONFIG, PROCESSOR, TOKENIZER, VOCABULARY, WEIGHTS
from speechkit.interop.names import HUGGINGFACE, HUGGINGFACE_HEADS
from speechkit.interop.reference import Reference, installed, of_either, of_transformers
from speechkit.interop.unpickle import load_torch
from speechkit.text.tokens import WORD_BOUNDARY

METHODS: dict[str, Method] = {"wav2vec2": "wav2vec2", "hubert": "hubert"}
SAMPLING_RATE = 16000
_FIRST = "feature_extractor.conv_layers.0.conv.weight"


def read_huggingface(folder: Path, hints: Hints) -> tuple[Model, Reference]:
    """A model and what transformers makes of the same folder.

    Raises:
        SpeechkitError: it is no folder of Hugging Face, or holds a model of another kind.
    """
    if not (folder / CONFIG).is_file():
        raise SpeechkitError(f"{folder} has no {CONFIG}; --in is a folder as transformers' save_pretrained writes it")
    config = read_json(folder / CONFIG)
    method = METHODS.get(config.get("model_type", ""))
    if method is None:
        raise SpeechkitError(f"{folder} holds a model of type '{config.get('model_type')}', not wav2vec2 or hubert")
    state = without_prefix(read_weights(folder), _FIRST, folder)
    model = sorted_model(state, HUGGINGFACE, HUGGINGFACE_HEADS, method, hints.over(_hints(folder, config)), folder)
    ctc = model.output is not None
    if installed("transformers"):
        return model, of_transformers(folder, model.extractor.normalise, ctc)
    return model, of_either(model)


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of a folder, from safetensors in one file or several, or from a file of torch.save."""
    if (folder / WEIGHTS).is_file():
        return read_safetensors(folder / WEIGHTS)
    parts = sorted(folder.glob("model-*-of-*.safetensors"))
    if parts:
        return {name: each for path in parts for name, each in read_safetensors(path).items()}
    if not (folder / "pytorch_model.bin").is_file():
        raise SpeechkitError(f"{folder} has neither {WEIGHTS} nor pytorch_model.bin; fetch one of them")
    found = load_torch(folder / "pytorch_model.bin")
    if not isinstance(found, Mapping) or not all(isinstance(each, Tensor) for each in found.values()):
        raise SpeechkitError(f"{folder / 'pytorch_model.bin'} is no state dict of a model; fetch it again")
    return dict(found)


def _hints(folder: Path, config: Mapping[str, Any]) -> Hints:
    processor = read_json(folder / PROCESSOR) if (folder / PROCESSOR).is_file() else {}
    if processor.get("sampling_rate", SAMPLING_RATE) != SAMPLING_RATE:
        raise SpeechkitError(f"{folder} is made for {processor['sampling_rate']} Hz, not {SAMPLING_RATE} Hz")
    return Hints(
        strides=tuple(config["conv_stride"]) if "conv_stride" in config else None,
        heads=config.get("num_attention_heads"),
        norm_first=config.get("do_stable_layer_norm", False),
        normalise=processor.get("do_normalize"),
    )


def read_symbols(folder: Path, rows: int) -> tuple[list[str], int]:
    """The symbols of the output layer in its order, the word boundary as `|`, and the number of the blank.

    Outputs without a symbol, which some models have, are called `<unused...>`.

    Raises:
        SpeechkitError: there is no vocabulary, it is one of several languages, or it has no blank.
    """
    vocabulary = read_json(folder / VOCABULARY)
    if any(isinstance(each, dict) for each in vocabulary.values()):
        raise SpeechkitError(f"{folder / VOCABULARY} holds several languages; import a model of one")
    settings = read_json(folder / TOKENIZER) if (folder / TOKENIZER).is_file() else {}
    added = {each["content"]: int(number) for number, each in settings.get("added_tokens_decoder", {}).items()}
    numbers = {number: symbol for symbol, number in (added | vocabulary).items()}
    symbols = [numbers.get(row, f"<unused{row}>") for row in range(rows)]
    delimiter = settings.get("word_delimiter_token", WORD_BOUNDARY)
    blank = _content(settings.get("pad_token"))
    if blank not in symbols:
        number = read_json(folder / CONFIG).get("pad_token_id")
        if number is None or not 0 <= number < rows:
            raise SpeechkitError(f"{folder / TOKENIZER} names no pad_token of the vocabulary, which is the blank")
        blank = symbols[number]
    return [WORD_BOUNDARY if each == delimiter else each for each in symbols], symbols.index(blank)


def _content(token: Any) -> Any:
    """The text of a token, which may have settings beside it."""
    return token.get("content") if isinstance(token, Mapping) else token
