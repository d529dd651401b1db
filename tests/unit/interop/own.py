"""Checkpoints of this toolkit, with random weights and as small as those of `foreign`."""

from pathlib import Path
from typing import Any

from foreign import KERNELS, STRIDES, random_weights

from speechkit.features.cmvn import Cmvn
from speechkit.models.speech_encoder import SpeechEncoderConfig
from speechkit.nn.transformer import TransformerConfig
from speechkit.nn.waveform import ExtractorConfig
from speechkit.tasks.recognizer import CtcConfig, Recognizer
from speechkit.text.lang import Lang

TEXTS = ["it's a tea", "eat é"]


def encoder(large: bool, layers: int = 2) -> SpeechEncoderConfig:
    norm = "layer" if large else "first"
    extractor = ExtractorConfig(
        dim=32, kernels=KERNELS, strides=STRIDES, norm=norm, bias=large, normalise=large,  # type: ignore[arg-type]
    )  # fmt: skip
    transformer = TransformerConfig(
        dim=48, layers=layers, heads=4, feed_forward=96, position_kernel=16, position_groups=4, norm_first=large
    )
    return SpeechEncoderConfig(extractor=extractor, transformer=transformer)


def finetuned(folder: Path, large: bool, lang: Lang, layers: int = 2, **changes: Any) -> Recognizer:
    """A checkpoint of a model with random weights."""
    config = CtcConfig(encoder=encoder(large, layers), **changes)
    recognizer = Recognizer(config, lang, Cmvn())
    random_weights(recognizer.module)
    recognizer.save(folder, recognizer.module.state_dict())
    return recognizer
