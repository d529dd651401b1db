"""What recognisers take instead of raw NCCF and pitch: Kaldi's `process-kaldi-pitch-feats`."""

import torch
from torch import Tensor

from speechkit.features.deltas import add_deltas
from speechkit.features.pitch_config import PitchConfig


def pov_feature(nccf: Tensor) -> Tensor:
    """Voicing as a roughly normal variable, high where unvoiced: (1.0001 - n)^0.15 - 1."""
    return (1.0001 - nccf.clamp(-1, 1)) ** 0.15 - 1


def voicing_probability(nccf: Tensor) -> Tensor:
    """Probability that a frame is voiced, fitted to speech with known voicing."""
    n = nccf.abs().clamp_max(1)
    ratio = -5.2 + 5.4 * (7.5 * (n - 1)).exp() + 4.8 * n - 2 * (-10 * n).exp() + 4.2 * (20 * (n - 1)).exp()
    return ratio.sigmoid()


def process(raw: Tensor, config: PitchConfig, generator: torch.Generator | None = None) -> Tensor:
    """Features `(T + delay, C)` of NCCF and pitch in Hz `(T, 2)`, in this order where the configuration asks for them.

    1. Voicing, `pov_scale` times `pov_feature` plus `pov_offset`.
    2. Log pitch less its mean over the frames around, weighted by their voicing, times `pitch_scale`.
    3. Slope of the log pitch per frame plus noise from `generator`, times `delta_pitch_scale`.
    4. Log pitch.
    """
    if len(raw) == 0:
        return raw.new_empty(0, config.num_features)
    nccf, log_pitch = raw[:, 0], raw[:, 1].log()
    parts = []
    if config.add_pov_feature:
        parts.append(config.pov_scale * pov_feature(nccf) + config.pov_offset)
    if config.add_normalized_log_pitch:
        parts.append(config.pitch_scale * (log_pitch - _weighted_mean(log_pitch, voicing_probability(nccf), config)))
    if config.add_delta_pitch:
        slope = add_deltas(log_pitch[:, None], order=1, window=config.delta_window)[:, 1]
        if config.delta_pitch_noise_stddev:
            noise = torch.randn(len(slope), generator=generator).to(slope)
            slope = slope + noise * config.delta_pitch_noise_stddev
        parts.append(config.delta_pitch_scale * slope)
    if config.add_raw_log_pitch:
        parts.append(log_pitch)
    features = torch.stack(parts, dim=1)
    return torch.cat([features[:1].expand(config.delay, -1), features])


def _weighted_mean(log_pitch: Tensor, weights: Tensor, config: PitchConfig) -> Tensor:
    """Mean of the log pitch over the frames around each, `(T,)`; running sums in float64."""
    frames = torch.arange(len(log_pitch), device=log_pitch.device)
    first = (frames - config.normalization_left_context).clamp_min(0)
    last = (frames + config.normalization_right_context + 1).clamp_max(len(log_pitch))
    weights = weights.double()
    sums = torch.stack([weights, weights * log_pitch]).cumsum(dim=1)
    sums = torch.nn.functional.pad(sums, (1, 0))
    total, weighted = sums[:, last] - sums[:, first]
    mean: Tensor = (weighted / total).to(log_pitch)
    return mean
