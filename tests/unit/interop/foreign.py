"""Models of other toolkits, with random weights and small enough for tests: 800 frames a second."""

import argparse
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn

KERNELS, STRIDES = (10, 3, 2), (5, 2, 2)
SIZES = {
    "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96,
    "conv_dim": (32, 32, 32), "conv_kernel": KERNELS, "conv_stride": STRIDES, "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "num_codevectors_per_group": 7,
    "num_codevector_groups": 2, "codevector_dim": 12, "proj_codevector_dim": 10,
}  # fmt: skip


def random_weights(model: nn.Module, seed: int = 0) -> Any:
    """The model for evaluation, every parameter drawn anew: all of them count, norms too, and frames differ."""
    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=2 / parameter[0].numel() ** 0.5)
        else:
            nn.init.uniform_(parameter, *((-0.2, 0.2) if name.endswith("bias") else (0.5, 1.5)))
    return model.eval()


def of_transformers(kind: str, large: bool, **changes: object) -> Any:
    """A model of transformers such as "HubertForCTC"; a large one has norms everywhere, and before each part."""
    transformers = pytest.importorskip("transformers", reason="transformers is the reference")
    schema = transformers.HubertConfig if kind.startswith("Hubert") else transformers.Wav2Vec2Config
    norm = "layer" if large else "group"
    settings = {"do_stable_layer_norm": large, "feat_extract_norm": norm, "conv_bias": large}
    return random_weights(getattr(transformers, kind)(schema(**(SIZES | settings | changes))))


def of_torchaudio(large: bool, tokens: int | None = None) -> Any:
    """A model of torchaudio."""
    torchaudio = pytest.importorskip("torchaudio", reason="torchaudio is the reference", exc_type=ImportError)
    return random_weights(torchaudio.models.wav2vec2_model(**torchaudio_sizes(large), aux_num_out=tokens))


def torchaudio_sizes(large: bool) -> dict[str, Any]:
    """The sizes as torchaudio calls them."""
    return {
        "extractor_mode": "layer_norm" if large else "group_norm",
        "extractor_conv_layer_config": [(32, *each) for each in zip(KERNELS, STRIDES, strict=True)],
        "extractor_conv_bias": large, "encoder_embed_dim": 48, "encoder_projection_dropout": 0.0,
        "encoder_pos_conv_kernel": 16, "encoder_pos_conv_groups": 4, "encoder_num_layers": 2, "encoder_num_heads": 4,
        "encoder_attention_dropout": 0.0, "encoder_ff_interm_features": 96, "encoder_ff_interm_dropout": 0.0,
        "encoder_dropout": 0.0, "encoder_layer_norm_first": large, "encoder_layer_drop": 0.0,
    }  # fmt: skip


@contextmanager
def classes_elsewhere(*names: str) -> Iterator[list[type]]:
    """Classes of modules that exist while something is pickled, and not when it is read."""
    made, modules = [], []
    for name in names:
        module, _, short = name.rpartition(".")
        made.append(type(short, (), {"__module__": module}))
        parts = module.split(".")
        for path in (".".join(parts[: count + 1]) for count in range(len(parts))):
            if path not in sys.modules:
                sys.modules[path] = types.ModuleType(path)
                modules.append(path)
        setattr(sys.modules[module], short, made[-1])
    try:
        yield made
    finally:
        for path in modules:
            del sys.modules[path]


def holding(kind: type, **attributes: Any) -> Any:
    """An object of a class with these attributes."""
    made = kind()
    vars(made).update(attributes)
    return made


def save_fairseq_of_old(path: Path, model: dict[str, Tensor], **args: Any) -> None:
    """A checkpoint with settings as of the command line, in PyTorch's first format."""
    with classes_elsewhere("fairseq.optim.Scaler") as (scaler,):
        content = {"args": argparse.Namespace(**args), "model": model, "extra_state": holding(scaler, scale=128)}
        torch.save(content, path, _use_new_zipfile_serialization=False)


def save_fairseq(path: Path, model: dict[str, Tensor], cfg: dict[str, Any], symbols: list[str]) -> None:
    """A checkpoint with settings in nodes of OmegaConf, and with the dictionary of the targets."""
    names = "omegaconf.dictconfig.DictConfig", "omegaconf.nodes.AnyNode", "fairseq.data.dictionary.Dictionary"
    with classes_elsewhere(*names) as (mapping, node, dictionary):

        def wrapped(value: Any) -> Any:
            if not isinstance(value, dict):
                return holding(node, _metadata=None, _parent=None, _val=value)
            content = {name: wrapped(each) for name, each in value.items()}
            return holding(mapping, _metadata=None, _parent=None, _content=content)

        numbers = {symbol: number for number, symbol in enumerate(symbols)}
        target = holding(dictionary, symbols=symbols, indices=numbers, count=[1] * len(symbols))
        state = {"target_dictionary": target}
        torch.save({"args": None, "cfg": wrapped(cfg), "model": model, "task_state": state}, path)


def write_speech(path: Path, seconds: float = 0.4) -> Tensor:
    """A file with something like speech, of 16 kHz, and its samples `(1, S)`."""
    time = np.arange(int(16000 * seconds)) / 16000
    rng = np.random.default_rng(0)
    samples = 0.2 * np.sin(2 * np.pi * 130 * time) * np.sin(2 * np.pi * 3 * time) + 0.02 * rng.standard_normal(
        len(time)
    )
    soundfile.write(path, samples, 16000)
    found, _ = soundfile.read(path, dtype="float32")
    return torch.from_numpy(found).unsqueeze(0)
