"""Augmentation of feature batches during training."""

from dataclasses import dataclass

import torch
from torch import Tensor

CURVE_COSINES = 6
QUIETEST_NOISE = -2.5  # units of normalised features, as the next
NOISE_FLUCTUATION = 0.25
NOISE_COLOUR = 0.3
NATS_PER_UNIT = 4.0  # standard deviation of log energies over a recording of speech, about


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """SpecAugment (Park et al. 2019) and vocal-tract-length perturbation on log-mel features.

    Each utterance gets `frequency_masks` masks of up to `frequency_width` bins and one time mask of up to `time_width`
    frames per `frames_per_time_mask` frames; all masks together hide at most `max_time_share` of its frames.
    `warp` is the largest relative shift of the frequency axis (0 switches it off). In units of the normalised features,
    `noise` is the loudest level of stationary noise under each utterance (-2.5 is the quietest).
    """

    frequency_masks: int = 2
    frequency_width: int = 20
    frames_per_time_mask: int = 100
    time_width: int = 10
    max_time_share: float = 0.25
    warp: float = 0.0
    noise: float | None = None


def augment(features: Tensor, lengths: Tensor, config: AugmentConfig) -> Tensor:
    """Augment normalised features `(N, T, C)`; masked cells become 0, the mean."""
    if config.warp:
        features = warp_frequency(features, config.warp)
    if config.noise is not None:
        features = _add_noise(features, config.noise)
    hidden = _frequency_mask(features, config)[:, None, :] | _time_mask(features, lengths, config)[:, :, None]
    return features.masked_fill(hidden, 0.0)


def warp_frequency(features: Tensor, warp: float) -> Tensor:
    """Stretch the frequency axis of each utterance by a random factor in [1 - warp, 1 + warp] (Jaitly and Hinton 2013).

    Bin b takes the value at position b * factor, linearly interpolated; positions past the last bin take the last bin.
    """
    batch, _, bins = features.shape
    factor = 1 + warp * (2 * torch.rand(batch, 1, device=features.device) - 1)
    position = (torch.arange(bins, device=features.device) * factor).clamp(max=bins - 1)
    low = position.floor().long()
    weight = (position - low).unsqueeze(1).to(features.dtype)
    high = (low + 1).clamp(max=bins - 1)

    def take(index: Tensor) -> Tensor:
        return features.gather(2, index.unsqueeze(1).expand_as(features))

    return torch.lerp(take(low), take(high), weight.expand_as(features))


def _random_curves(features: Tensor) -> Tensor:
    """One curve per utterance, `(N, 1, C)`: the first cosines over the bins, Gaussian amplitudes, variance about 1."""
    batch, _, bins = features.shape
    position = (torch.arange(bins, device=features.device) + 0.5) / bins
    order = torch.arange(CURVE_COSINES, device=features.device)
    cosines = torch.cos(torch.pi * order[:, None] * position)
    amplitudes = torch.randn(batch, CURVE_COSINES, device=features.device) * (2 / CURVE_COSINES) ** 0.5
    curves: Tensor = amplitudes @ cosines
    return curves.unsqueeze(1)


def _add_noise(features: Tensor, loudest: float) -> Tensor:
    """Add the energy of stationary noise with a smooth random spectrum, its level uniform below `loudest`.

    A recording of such a speaker would be normalised with the noise in it. The features of a speaker being about
    standard normal in each bin, the result is shifted and scaled by what noise of that level does to a normal variable.
    """
    level = QUIETEST_NOISE + (loudest - QUIETEST_NOISE) * torch.rand(len(features), 1, 1, device=features.device)
    spectrum = level + NOISE_COLOUR * _random_curves(features)
    normal = torch.linspace(0.01, 0.99, 50, device=features.device).mul(2).sub(1).erfinv().mul(2**0.5)[None, :, None]
    expected = _sum_of_energies(normal, spectrum)
    noisy = _sum_of_energies(features, spectrum + NOISE_FLUCTUATION * torch.randn_like(features))
    return (noisy - expected.mean(dim=1, keepdim=True)) / expected.std(dim=1, keepdim=True)


def _sum_of_energies(a: Tensor, b: Tensor) -> Tensor:
    return torch.logaddexp(a * NATS_PER_UNIT, b * NATS_PER_UNIT) / NATS_PER_UNIT


def _frequency_mask(features: Tensor, config: AugmentConfig) -> Tensor:
    batch, _, bins = features.shape
    limit = torch.full((batch,), bins, device=features.device)
    return _spans(limit, bins, config.frequency_masks, config.frequency_width)


def _time_mask(features: Tensor, lengths: Tensor, config: AugmentConfig) -> Tensor:
    frames = features.shape[1]
    count = max(1, frames // config.frames_per_time_mask)
    hidden = _spans(lengths, frames, count, config.time_width)
    allowed = (lengths * config.max_time_share).long()
    return hidden & (hidden.cumsum(dim=1) <= allowed[:, None])


def _spans(limits: Tensor, size: int, count: int, width: int) -> Tensor:
    """Union of `count` spans of 0 to `width` cells per row, each inside the row's first `limits` cells; `(N, size)`."""
    shape = (len(limits), count)
    widths = (torch.rand(shape, device=limits.device) * (width + 1)).long()
    room = (limits[:, None] - widths).clamp(min=0)
    starts = (torch.rand(shape, device=limits.device) * (room + 1)).long()
    cells = torch.arange(size, device=limits.device)
    inside = (cells >= starts[..., None]) & (cells < (starts + widths)[..., None])
    return inside.any(dim=1)
