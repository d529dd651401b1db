"""What a decoder that cannot wait would see of the pitch: Kaldi's `simulate-first-pass-online`."""

from collections.abc import Sequence

import torch
from torch import Tensor

from speechkit.features.pitch_config import Chunk, PitchConfig
from speechkit.features.pitch_cpu import BestPath, Tracker


def first_pass(
    tracker: Tracker, signal: Tensor, ballast: Tensor, revised: Tensor, chunks: Sequence[Chunk], config: PitchConfig
) -> Tensor:
    """NCCF without ballast and pitch in Hz `(T, 2)`; arguments as of `Tracker`, and the signal's chunks.

    After each chunk the frames that are due are read off the best path as it is then, and stay so. Held back are, up to
    `max_frames_latency`, those after which the paths to the lowest and to the highest lag have not yet been one.
    """
    due = [*chunks[:-2], chunks[-1]]  # the last piece comes together with the news that it was the last
    early = [chunk for chunk in due[:-1] if chunk.frames < config.recompute_frame] if (revised >= 0).any() else []
    states: list[int] = []
    before, _ = tracker.correlations(signal, ballast, torch.full_like(revised, -1))
    _read_off(tracker.new_path(), before, early, states, config.max_frames_latency)
    after, pov = tracker.correlations(signal, ballast, revised)
    path = tracker.new_path()
    _read_off(path, after, due[len(early) : -1], states, config.max_frames_latency)
    _read_off(path, after, due[-1:], states, 0)
    return tracker.raw(pov, torch.tensor(states))


def _read_off(path: BestPath, nccf: Tensor, chunks: Sequence[Chunk], states: list[int], latency: int) -> None:
    """Go on chunk by chunk and add the states of the frames that are due."""
    for chunk in chunks:
        path.extend(nccf[path.frames : chunk.frames].numpy())
        ready = path.frames - _unsettled(path, latency)
        if ready > len(states):
            states.extend(path.back(path.best, path.frames - len(states))[: ready - len(states)].tolist())


def _unsettled(path: BestPath, most: int) -> int:
    """Frames since the paths to the lowest and to the highest lag were one, at most `most`."""
    most = min(most, path.frames)
    low, high = (path.back(state, most + 1) for state in (0, path.num_lags - 1))
    for count in range(most):
        if low[-2 - count] == high[-2 - count]:
            return count
    return most
