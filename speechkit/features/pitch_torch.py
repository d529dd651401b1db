"""The pitch tracker for a padded batch in torch alone: for GPUs, and as a second opinion on the compiled one."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from speechkit.features.pitch_config import PitchConfig
from speechkit.features.pitch_tables import PitchTables

NUMBERS_AT_ONCE = 1 << 28  # in the costs of all steps from lag to lag


def track(
    signals: Tensor,
    lengths: Tensor,
    frames: Tensor,
    ballast: Tensor,
    revised: Tensor,
    config: PitchConfig,
    tables: PitchTables,
) -> Tensor:
    """NCCF without ballast and pitch in Hz `(N, T, 2)`; frames beyond an utterance's own mean nothing.

    Args:
        signals: samples at the lower rate, zero beyond each end `(N, S)`.
        lengths: samples of each utterance `(N,)`.
        frames: frames of each utterance `(N,)`.
        ballast: of each frame `(N, T)`.
        revised: ballast that the frame's NCCF is brought to, negative for none `(N, T)`.
    """
    windows = windows_of(signals, lengths, ballast.shape[1], config)
    pitch, pov = correlate(windows, ballast, revised, config)
    rows = max(1, NUMBERS_AT_ONCE // tables.num_lags**2)
    parts = [slice(first, first + rows) for first in range(0, len(pitch), rows)]
    states = torch.cat([search(pitch[part] @ tables.weights, frames[part], tables) for part in parts])
    nccf = (pov * tables.weights_of_lag[states]).sum(2)
    return torch.stack([nccf, tables.hertz[states]], dim=2)


def windows_of(signals: Tensor, lengths: Tensor, frames: int, config: PitchConfig) -> Tensor:
    """Windows with their lags `(N, T, full_length)`, pre-emphasised within the signal and zero around it."""
    shift, full = config.window_shift, config.full_length
    before = -config.first_start
    behind = config.first_start + (frames - 1) * shift + full - signals.shape[1]
    windows = pad(signals, (before, max(0, behind))).unfold(1, full, shift)[:, :frames]
    if not config.preemphasis_coefficient:
        return windows
    starts = config.first_start + shift * torch.arange(frames, device=signals.device)
    places = starts[:, None] + torch.arange(full, device=signals.device)
    previous = torch.cat([windows[..., :1], windows[..., :-1]], dim=2)
    previous = torch.where(places == 0, windows, previous)
    inside = (places >= 0) & (places < lengths[:, None, None])
    return (windows - config.preemphasis_coefficient * previous) * inside


def correlate(windows: Tensor, ballast: Tensor, revised: Tensor, config: PitchConfig) -> tuple[Tensor, Tensor]:
    """NCCF with ballast and without at the measured lags, twice `(N, T, M)`."""
    length, first = config.window_length, config.first_lag
    windows = windows - windows[..., :length].mean(dim=2, keepdim=True, dtype=torch.float64).to(windows)
    own = windows[..., :length]
    lags = range(first, config.last_lag + 1)
    sums = torch.stack([(own * windows[..., lag : lag + length]).sum(2) for lag in lags], dim=2)
    running = pad(windows.double().square().cumsum(2), (1, 0))
    energies = (running[..., length:] - running[..., :-length]).clamp_min(0).to(windows)
    products = energies[..., :1] * energies[..., first:]
    pov, pitch = _ratio(sums, products), _ratio(sums, products + ballast[..., None])
    average = products.mean(dim=2)
    scale = _ratio((ballast + average).sqrt(), revised + average)
    return torch.where((revised >= 0)[..., None], pitch * scale[..., None], pitch), pov


def _ratio(values: Tensor, squares: Tensor) -> Tensor:
    return torch.where(squares > 0, values / squares.sqrt(), 0)


def search(nccf: Tensor, frames: Tensor, tables: PitchTables) -> Tensor:
    """The best path: the lag of each frame `(N, T)`, from the NCCF with ballast `(N, T, L)`; all steps are tried."""
    number, length, states = nccf.shape
    places = torch.arange(states, device=nccf.device, dtype=torch.float32)
    steps = (places[:, None] - places).square() * tables.factor
    local = (1 - nccf) + nccf * tables.prices
    costs = nccf.new_zeros(number, states)
    best = frames.new_empty(length, number)
    back = torch.empty(length, number, states, dtype=torch.int32, device=nccf.device)
    for t in range(length):
        least, previous = (steps + costs[:, None]).min(dim=2)
        back[t] = previous
        costs = least + local[:, t]
        costs -= costs.amin(dim=1, keepdim=True)
        best[t] = costs.argmin(dim=1)
    path = torch.empty_like(best)
    state = best[-1]
    for t in range(length - 1, -1, -1):
        state = torch.where(t >= frames - 1, best[t], state)
        path[t] = state
        state = back[t].gather(1, state[:, None])[:, 0].long()
    return path.T.contiguous()
