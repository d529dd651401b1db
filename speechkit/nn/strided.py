"""Strided convolution over frames as matrix products, without copies of overlapping windows.

Frames `(N, T, C)` lie in memory one after the other. With T a multiple of the stride s, `s` frames at a time are the
rows of one matrix for the whole batch, and a kernel of k taps is ceil(k / s) matrix products whose left sides are
shifted views of it. The last rows of an utterance see the first frames of the next one: they are beyond its last whole
window, and so is every frame that later layers make of them.
"""

from typing import Any

import torch
from torch import Tensor


def strided_conv(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """Convolve frames without padding.

    Args:
        x: `(N, T, C)`, T a multiple of `stride`.
        weight: `(C', C, k)` as in `torch.nn.Conv1d`.
        bias: `(C',)` or None.
        stride: in frames.

    Returns:
        `(N, T / stride, C')`, of which the first `(T - k) // stride + 1` frames of each utterance are the convolution
        and the others finite numbers of no meaning.
    """
    if torch.is_autocast_enabled(x.device.type):
        low = torch.get_autocast_dtype(x.device.type)
        x, weight, bias = x.to(low), weight.to(low), None if bias is None else bias.to(low)
    y: Tensor = _StridedConv.apply(x.contiguous(), weight, stride)  # type: ignore[no-untyped-call]
    return y if bias is None else y + bias


def _groups(kernel: int, stride: int) -> list[tuple[int, int]]:
    """First tap and number of taps of each matrix product."""
    return [(first, min(stride, kernel - first)) for first in range(0, kernel, stride)]


def _taps(weight: Tensor, first: int, count: int) -> Tensor:
    """The matrix `(count * C, C')` of some taps."""
    return weight[:, :, first : first + count].permute(2, 1, 0).reshape(-1, weight.shape[0])


class _StridedConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        batch, frames, channels = x.shape
        rows = x.view(-1, stride * channels)
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        y = None
        for shift, (first, count) in enumerate(_groups(weight.shape[2], stride)):
            taps, width = _taps(weight, first, count), count * channels
            if y is None:
                y = rows[:, :width] @ taps
            else:
                y[: len(rows) - shift].addmm_(rows[shift:, :width], taps)
        assert y is not None
        return y.view(batch, frames // stride, -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        stride, (batch, frames, channels) = ctx.stride, x.shape
        rows, g = x.view(-1, stride * channels), gradients[0].reshape(-1, weight.shape[0])
        groups = _groups(weight.shape[2], stride)
        x_gradient = weight_gradient = None
        if ctx.needs_input_grad[0]:
            x_gradient = x.new_zeros(len(rows), stride * channels) if weight.shape[2] < stride else None
            for shift, (first, count) in enumerate(groups):
                taps, width = _taps(weight, first, count).T, count * channels
                if x_gradient is None:
                    x_gradient = g @ taps
                else:
                    x_gradient[shift:, :width].addmm_(g[: len(rows) - shift], taps)
            assert x_gradient is not None
            x_gradient = x_gradient.view(batch, frames, channels)
        if ctx.needs_input_grad[1]:
            parts = []
            for shift, (_, count) in enumerate(groups):
                part = rows[shift:, : count * channels].T @ g[: len(rows) - shift]
                parts.append(part.view(count, channels, -1))
            weight_gradient = torch.cat(parts).permute(2, 1, 0)
        return x_gradient, weight_gradient, None
