"""From waveforms to frames: the convolutional feature extractor of all systems that hear waveforms."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from speechkit.nn.lengths import conv_length, valid_mask, zero_padding
from speechkit.nn.strided import strided_conv

EPS = 1e-5


@dataclass(frozen=True, kw_only=True)
class ExtractorConfig:
    """A `FeatureExtractor`, of waveforms or, with another `in_dim` than 1, of frames; the defaults are wav2vec 2.0's.

    With `norm` "first" the first layer alone is normalised, each channel over time; with "layer" every layer is, each
    frame over its channels; with "group" every layer over time and channels at once, as wav2vec's are. `dropout` comes
    before the norm, `activation` after it; `paddings` are zero frames on both sides of each layer's input. `normalise`
    gives waveforms zero mean and unit variance. Gradients to the extractor are scaled by `gradient_scale`; at 0 it is
    frozen, and nothing is kept for its backward pass.
    """

    in_dim: int = 1
    dim: int = 512
    kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    paddings: tuple[int, ...] = ()
    norm: Literal["first", "layer", "group", "none"] = "first"
    activation: Literal["gelu", "relu"] = "gelu"
    dropout: float = 0.0
    bias: bool = False
    normalise: bool = False
    gradient_scale: float = 0.1

    def __post_init__(self) -> None:
        if len(self.kernels) != len(self.strides) or not self.kernels:
            raise ValueError("kernels and strides must hold one number for each layer")
        if self.paddings and len(self.paddings) != len(self.kernels):
            raise ValueError("paddings must hold one number for each layer, or none")
        if self.norm == "first" and self.paddings:
            raise ValueError("the norm of the first layer is for one without padding; set norm to another")
        if self.norm == "first" and self.bias:
            raise ValueError("the norm of the first layer takes a bias away; set bias to false")
        if self.in_dim != 1 and (self.norm == "first" or self.normalise):
            raise ValueError("norm: first and normalise are for waveforms; set norm to layer, normalise to false")

    @property
    def hop(self) -> int:
        """Input samples, or frames, from one frame to the next."""
        return math.prod(self.strides)

    @property
    def window(self) -> int:
        """Input samples, or frames, that a frame sees: 400, or 25 ms, of wav2vec 2.0."""
        return 1 + sum((kernel - 1) * step for kernel, step in zip(self.kernels, self._steps, strict=True))

    @property
    def margin(self) -> int:
        """Input samples, or frames, by which the first frame's window begins before the input: of all paddings."""
        return sum(padding * step for padding, step in zip(self.paddings, self._steps, strict=False))

    @property
    def _steps(self) -> list[int]:
        """Input samples, or frames, from one frame that a layer reads to the next."""
        return [math.prod(self.strides[:layer]) for layer in range(len(self.strides))]

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Frames of inputs of `lengths` samples, or frames: floor((n + 2 p - k) / s) + 1 through all layers."""
        for layer in range(len(self.kernels)):
            lengths = self.layer_lengths(lengths, layer)
        return lengths

    def layer_lengths(self, lengths: Tensor, layer: int) -> Tensor:
        """Frames after one layer."""
        padding = self.paddings[layer] if self.paddings else 0
        return conv_length(lengths, self.kernels[layer], self.strides[layer], padding)


class FeatureExtractor(nn.Module):
    """Waveforms `(N, S)`, or frames `(N, S, in_dim)`, with lengths `(N,)` to frames `(N, T, dim)` with lengths.

    Frames beyond those mean nothing.
    Each utterance gives the frames that it gives alone: the norm over time counts valid frames only.
    """

    def __init__(self, config: ExtractorConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.in_dim] + [config.dim] * len(config.kernels)
        self.weights = nn.ParameterList(
            torch.empty(config.dim, width, kernel) for width, kernel in zip(widths, config.kernels, strict=False)
        )
        for weight in self.weights:
            nn.init.kaiming_normal_(weight)
        self.biases = nn.ParameterList(torch.zeros(config.dim) for _ in config.kernels if config.bias)
        if config.norm == "first":
            self.gain = nn.Parameter(torch.ones(config.dim))
            self.shift = nn.Parameter(torch.zeros(config.dim))
        elif config.norm != "none":
            kind = nn.LayerNorm if config.norm == "layer" else UtteranceNorm
            self.norms = nn.ModuleList(kind(config.dim) for _ in config.kernels)
        self.requires_grad_(config.gradient_scale > 0)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Extract frames of a padded batch."""
        x = x.unsqueeze(-1) if x.dim() == 2 else x
        scale = self.config.gradient_scale
        with torch.set_grad_enabled(torch.is_grad_enabled() and scale > 0):
            x = self._layers(x, lengths)
        frames = self.config.output_lengths(lengths)
        x = x[:, : max(1, int(frames.max()))]
        return (scale_gradient(x, scale) if x.requires_grad and scale != 1 else x), frames

    def _layers(self, x: Tensor, lengths: Tensor) -> Tensor:
        config = self.config
        x = zero_padding(x, valid_mask(lengths, x.shape[1]))
        if config.normalise:
            x = normalise_waveforms(x.squeeze(-1), lengths).unsqueeze(-1)
        return self._padded(x, lengths) if config.paddings or config.norm == "group" else self._packed(x, lengths)

    def _packed(self, x: Tensor, lengths: Tensor) -> Tensor:
        """All layers on utterances laid end to end, each filled up to a multiple of the hop and no further."""
        config = self.config
        frames = (-(-lengths // config.hop)).clamp(min=1).tolist()
        x = F.pad(x, (0, 0, 0, max(frames) * config.hop - x.shape[1]))
        packed = torch.cat([row[: count * config.hop] for row, count in zip(x, frames, strict=True)]).unsqueeze(0)
        for i, (weight, stride) in enumerate(zip(self.weights, config.strides, strict=True)):
            if i == 0 and config.norm == "first":
                counts = [count * config.hop // stride for count in frames]
                lengths = config.layer_lengths(lengths, i)
                packed = normalised_conv(x, lengths, weight, stride, self.gain, self.shift, counts)
            else:
                packed = strided_conv(packed, weight, self.biases[i] if config.bias else None, stride)
            packed = self._activated(i, packed, lengths)
        return pad_sequence(list(torch.split(packed[0], frames)), batch_first=True)

    def _padded(self, x: Tensor, lengths: Tensor) -> Tensor:
        """All layers on utterances side by side."""
        config = self.config
        for i, (weight, stride) in enumerate(zip(self.weights, config.strides, strict=True)):
            x = _fitted(x, lengths, config.paddings[i] if config.paddings else 0, stride)
            lengths = config.layer_lengths(lengths, i)
            x = strided_conv(x, weight, self.biases[i] if config.bias else None, stride)
            x = self._activated(i, x[:, : max(1, int(lengths.max()))], lengths)
        return x

    def _activated(self, layer: int, x: Tensor, lengths: Tensor) -> Tensor:
        config = self.config
        if config.dropout:
            x = F.dropout(x, config.dropout, self.training)
        if config.norm == "layer":
            x = self.norms[layer](x)
        elif config.norm == "group":
            x = self.norms[layer](x, lengths)
        return F.gelu(x) if config.activation == "gelu" else F.relu(x)


class UtteranceNorm(nn.Module):
    """Group norm, with one group by default: each utterance over its valid frames and the channels of a group.

    In float32 at least.
    """

    def __init__(self, dim: int, groups: int = 1) -> None:
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Normalise `x (N, T, C)` with `lengths (N,)`; frames beyond mean nothing."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(torch.promote_types(x.dtype, torch.float32))
            if self.groups == 1 and int(lengths.min()) == x.shape[1]:
                return F.layer_norm(x, x.shape[1:], eps=EPS) * self.weight + self.bias
            parts = x.reshape(*x.shape[:2], self.groups, -1)
            mask = valid_mask(lengths, x.shape[1])[:, :, None, None]
            count = (lengths.clamp(min=1) * parts.shape[3])[:, None, None, None]
            centred = parts - (parts * mask).sum((1, 3), keepdim=True) / count
            variance = (centred * mask).pow(2).sum((1, 3), keepdim=True) / count
            return (centred * (variance + EPS).rsqrt()).flatten(2) * self.weight + self.bias


def _fitted(x: Tensor, lengths: Tensor, padding: int, stride: int) -> Tensor:
    """The valid frames of `x` between `padding` zero frames, and more behind up to a multiple of `stride`."""
    width = max(1, int(lengths.max()))
    x = zero_padding(x[:, :width], valid_mask(lengths, x[:, :width].shape[1]))
    return F.pad(x, (0, 0, padding, padding + -(width + 2 * padding) % stride))


def normalised_conv(
    x: Tensor, lengths: Tensor, weight: Tensor, stride: int, gain: Tensor, shift: Tensor, counts: Sequence[int]
) -> Tensor:
    """A convolution of one channel and the norm of each output channel over the valid frames, in one matrix product.

    Mean and variance of an output w . u over the windows u of an utterance are w . E[u] and w^T Cov[u] w. With them the
    norm becomes part of the kernel, a different one for each utterance, and is never computed on the many frames.

    Args:
        x: `(N, S, 1)`, S a multiple of `stride`.
        lengths: `(N,)`, valid output frames.
        weight: `(C, 1, k)`.
        stride: in samples.
        gain: `(C,)`.
        shift: `(C,)`.
        counts: frames wanted of each utterance, at least its valid ones.

    Returns:
        `(1, sum of counts, C)`, all utterances end to end.
    """
    kernel, frames = weight.shape[2], x.shape[1] // stride
    windows = F.pad(x[..., 0], (0, kernel)).unfold(1, kernel, stride)[:, :frames]
    with torch.autocast(x.device.type, enabled=False):
        mean, covariance = _moments(windows, lengths)
        rows = weight[:, 0].double()
        centre, variance = mean @ rows.T, torch.einsum("ci,nij,cj->nc", rows, covariance, rows)
        scale = (variance.clamp(min=0) + EPS).rsqrt() * gain.double()
        kernels = (scale.unsqueeze(-1) * rows).transpose(1, 2)
        offsets = (shift.double() - scale * centre).unsqueeze(1)
    parts = zip(offsets.to(x.dtype), windows, kernels.to(x.dtype), counts, strict=True)
    return torch.cat([torch.addmm(offset, heard[:count], each) for offset, heard, each, count in parts]).unsqueeze(0)


def _moments(windows: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Mean `(N, k)` and covariance `(N, k, k)` of the first windows of each utterance `(N, T, k)`, float64."""
    mask = valid_mask(lengths, windows.shape[1])
    valid = zero_padding(windows, mask).double()
    count = lengths.clamp(min=1).double()[:, None]
    mean = valid.sum(1) / count
    centred = zero_padding(valid - mean.unsqueeze(1), mask)
    return mean, centred.transpose(1, 2) @ centred / count.unsqueeze(-1)


def normalise_waveforms(waveforms: Tensor, lengths: Tensor) -> Tensor:
    """Zero mean and unit variance over the valid samples of each of `waveforms (N, S)`; padding becomes 0."""
    mask = valid_mask(lengths, waveforms.shape[1])
    count = lengths.clamp(min=1)[:, None]
    centred = (waveforms - (waveforms * mask).sum(1, keepdim=True) / count) * mask
    return centred * ((centred**2).sum(1, keepdim=True) / count + EPS).rsqrt()


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.scale, None


def scale_gradient(x: Tensor, scale: float) -> Tensor:
    """`x` itself, through which gradients go back times `scale`."""
    y: Tensor = _ScaleGradient.apply(x, scale)  # type: ignore[no-untyped-call]
    return y
