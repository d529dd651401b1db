"""Encoders small enough for tests: 800 frames a second, 99 of 2000 samples."""

import torch
from torch import Tensor

from speechkit.models.speech_encoder import SpeechEncoderConfig
from speechkit.nn.transformer import TransformerConfig
from speechkit.nn.waveform import ExtractorConfig

BLOCKS = {"dim": 48, "layers": 3, "heads": 4, "feed_forward": 96, "position_kernel": 16, "position_groups": 4}
NO_DROPOUT = {"dropout": 0.0, "attention_dropout": 0.0}


def small_encoder(large: bool = False, gradient_scale: float | None = None, **changes: object) -> SpeechEncoderConfig:
    """A base model (norm over time, norms after), or a large one (norm of each layer, norms before), without dropout.

    `changes` are of the transformer.
    """
    scale = gradient_scale if gradient_scale is not None else (1.0 if large else 0.1)
    norm = "layer" if large else "first"
    extractor = ExtractorConfig(
        dim=32, kernels=(10, 3, 2), strides=(5, 2, 2), norm=norm, bias=large, gradient_scale=scale,  # type: ignore[arg-type]
    )  # fmt: skip
    transformer = TransformerConfig(**{"norm_first": large, **BLOCKS, **NO_DROPOUT, **changes})  # type: ignore[arg-type]
    return SpeechEncoderConfig(extractor=extractor, transformer=transformer, input_dropout=0.0)


def spans(*starts: list[int]) -> Tensor:
    """A mask `(N, 99)` with ten frames from each start on."""
    mask = torch.zeros(len(starts), 99, dtype=torch.bool)
    for row, places in zip(mask, starts, strict=True):
        for place in places:
            row[place : place + 10] = True
    return mask
