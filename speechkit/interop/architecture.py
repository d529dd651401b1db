"""What a speech encoder looks like, from its tensors and from what its configuration adds to them."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from speechkit.common.errors import SpeechkitError
from speechkit.nn.transformer import TransformerConfig
from speechkit.nn.waveform import ExtractorConfig

log = logging.getLogger(__name__)
Method = Literal["wav2vec2", "hubert"]
# Heads of the published sizes, by dimension; other models have 64 dimensions a head.
_HEADS = {768: 12, 1024: 16, 1280: 16, 1920: 16}


@dataclass(frozen=True)
class Hints:
    """What tensors do not show; None where a checkpoint does not say it either.

    Attributes:
        strides: of the convolutions.
        heads: of the attention.
        norm_first: whether norms stand before attention and feed-forward.
        normalise: whether waveforms get zero mean and unit variance.
    """

    strides: tuple[int, ...] | None = None
    heads: int | None = None
    norm_first: bool | None = None
    normalise: bool | None = None

    def over(self, other: "Hints") -> "Hints":
        """These hints, and the other's where these say nothing."""
        known = {name: value for name, value in vars(self).items() if value is not None}
        return replace(other, **known)


def infer(tensors: Mapping[str, Tensor], hints: Hints) -> tuple[ExtractorConfig, TransformerConfig]:
    """The sizes of a `SpeechEncoder` with these tensors (by its own names).

    Published models with a norm after each convolution have norms before attention and feed-forward, and normalise
    waveforms; the others do neither. That is assumed, and logged, where the hints do not say it.

    Raises:
        SpeechkitError: tensors are missing, or the strides of unusual kernels are not known.
    """
    kernels = tuple(_shape(tensors, f"extractor.weights.{i}")[2] for i in range(_count(tensors, "extractor.weights")))
    if not kernels:
        raise SpeechkitError("the checkpoint holds no convolutions of wav2vec 2.0 or HuBERT")
    usual = ExtractorConfig()
    strides = hints.strides or (usual.strides if kernels == usual.kernels else None)
    if strides is None:
        raise SpeechkitError(f"the strides of convolutions with kernels {kernels} are not known; give --strides")
    layered, bias = "extractor.norms.0.weight" in tensors, "extractor.biases.0" in tensors
    if bias and not layered:
        raise SpeechkitError("convolutions with biases and a norm after the first one alone do not exist here")
    normalise = _assumed("normalisation of waveforms", hints.normalise, layered)
    extractor = ExtractorConfig(
        dim=_shape(tensors, "extractor.weights.0")[0],
        kernels=kernels,
        strides=strides,
        norm="layer" if layered else "first",
        bias=bias,
        normalise=normalise,
    )
    feed_forward, dim = _shape(tensors, "transformer.blocks.0.feed_forward_in.weight")
    _, width, kernel = _shape(tensors, "transformer.position.direction")
    heads = hints.heads or _HEADS.get(dim) or max(1, dim // 64)
    if hints.heads is None:
        log.info("assumed: %d attention heads, as tensors do not show it (--heads)", heads)
    transformer = TransformerConfig(
        dim=dim,
        layers=_count(tensors, "transformer.blocks"),
        heads=heads,
        feed_forward=feed_forward,
        position_kernel=kernel,
        position_groups=dim // width,
        norm_first=_assumed("norms before attention and feed-forward", hints.norm_first, layered),
    )
    return extractor, transformer


def _assumed(what: str, hint: bool | None, otherwise: bool) -> bool:
    if hint is None:
        log.info("assumed: %s %s, as in published models of this kind", "with" if otherwise else "without", what)
    return otherwise if hint is None else hint


def _shape(tensors: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
    if name not in tensors:
        raise SpeechkitError(f"the checkpoint lacks what is {name} here; it is not complete, or of another kind")
    return tuple(tensors[name].shape)


def _count(tensors: Mapping[str, Tensor], list_name: str) -> int:
    """How many layers there are under a name."""
    depth = list_name.count(".") + 1
    return len({name.split(".")[depth] for name in tensors if name.startswith(f"{list_name}.")})
