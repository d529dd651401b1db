"""The pitch tracker on a CPU: one signal at a time, in blocks of frames that stay in cache from window to path."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from speechkit.features import pitch_kernels as kernels
from speechkit.features.pitch_config import PitchConfig
from speechkit.features.pitch_kernels import Floats, States, Whole
from speechkit.features.pitch_tables import PitchTables

FRAMES_PER_BLOCK = 256


class BestPath:
    """Viterbi search over the lags of the grid, block by block; of the way back only the turns are kept."""

    def __init__(self, tables: PitchTables, room: States) -> None:
        states = tables.num_lags
        self.num_lags, self.frames, self.best = states, 0, 0
        self._steps = 1 / (2 * tables.factor * np.maximum(np.arange(states), 1))
        self._prices, self._factor = tables.prices.numpy(), np.float32(tables.factor)
        self._costs = np.zeros(states + 2, dtype=np.float32)
        self._costs[[0, -1]] = np.inf
        self._room = room
        self._blocks: list[tuple[States, States, Whole]] = []

    def extend(self, nccf: Floats) -> None:
        """Go on by frames, given their NCCF with ballast `(T, L)`; `best` is the best lag of the last of them."""
        for first in range(0, len(nccf), FRAMES_PER_BLOCK):
            block, (begins, owners) = nccf[first : first + FRAMES_PER_BLOCK], self._room
            places = np.zeros(len(block) + 1, dtype=np.int32)
            last = kernels.search(block, self._costs, self._prices, self._factor, self._steps, begins, owners, places)
            self._blocks.append((begins[: places[-1]].copy(), owners[: places[-1]].copy(), places))
            self.best, self.frames = last - 1, self.frames + len(block)

    def back(self, state: int, count: int) -> Whole:
        """Lags of the last `count` frames on the best path to `state`; one more frame gives the lag before all."""
        parts, state = [], state + 1
        for begins, owners, places in reversed(self._blocks):
            parts.append(np.empty(len(places) - 1, dtype=np.int32))
            state = kernels.trace(begins, owners, places, state, parts[-1])
            if sum(map(len, parts)) >= count:
                break
        states = np.concatenate([np.array([state], dtype=np.int32), *parts[::-1]])
        return states[len(states) - count :] - 1


class Tracker:
    """Tracks one signal after the other; holds buffers, so use one object per thread."""

    def __init__(self, config: PitchConfig, tables: PitchTables) -> None:
        self._config, self._tables = config, tables
        self._room = np.empty((2, FRAMES_PER_BLOCK * tables.num_lags), dtype=np.int16)
        self._measured = torch.empty(FRAMES_PER_BLOCK, tables.num_measured)
        self._grid = torch.empty(FRAMES_PER_BLOCK, tables.num_lags)

    def __call__(self, signal: Tensor, ballast: Tensor, revised: Tensor) -> Tensor:
        """NCCF without ballast and pitch in Hz `(T, 2)`.

        Args:
            signal: samples at the lower rate `(S,)`.
            ballast: of each frame `(T,)`.
            revised: ballast that the frame's NCCF is brought to, negative for none `(T,)`.
        """
        pov, path = torch.empty(len(ballast), self._tables.num_measured), self.new_path()
        for nccf in self._blocks(signal, ballast, revised, pov):
            path.extend(nccf.numpy())
        return self.raw(pov, torch.from_numpy(path.back(path.best, path.frames)).long())

    def correlations(self, signal: Tensor, ballast: Tensor, revised: Tensor) -> tuple[Tensor, Tensor]:
        """NCCF with ballast at the lags of the grid `(T, L)` and without at the measured lags `(T, M)`."""
        pov = torch.empty(len(ballast), self._tables.num_measured)
        blocks = [nccf.clone() for nccf in self._blocks(signal, ballast, revised, pov)]
        return torch.cat(blocks), pov

    def new_path(self) -> BestPath:
        """A search that has seen no frame; one at a time may be extended."""
        return BestPath(self._tables, self._room)

    def raw(self, pov: Tensor, states: Tensor) -> Tensor:
        """NCCF without ballast and pitch in Hz `(T, 2)` of the lags `states (T,)`."""
        found = torch.empty(len(states), 2)
        kernels.interpolate_at(pov.numpy(), self._tables.weights_of_lag.numpy(), states.numpy(), found.numpy())
        found[:, 1] = self._tables.hertz[states]
        return found

    def _blocks(self, signal: Tensor, ballast: Tensor, revised: Tensor, pov: Tensor) -> Iterator[Tensor]:
        """NCCF with ballast at the lags of the grid `(T, L)`, block by block; that without goes to `pov (T, M)`."""
        config, frames = self._config, len(ballast)
        shift, before = config.window_shift, -config.first_start
        behind = (frames - 1) * shift + config.full_length - before - len(signal)
        padded = pad(signal, (before, max(0, behind))).numpy()
        valid = (before, before + len(signal))
        emphasis = np.float32(config.preemphasis_coefficient)
        for first in range(0, frames, FRAMES_PER_BLOCK):
            block = slice(first, min(first + FRAMES_PER_BLOCK, frames))
            layout = (first * shift, shift, config.window_length, config.first_lag)
            weights = ballast[block].numpy(), revised[block].numpy()
            measured, grid = self._measured[: block.stop - first], self._grid[: block.stop - first]
            kernels.correlate(padded, valid, layout, emphasis, *weights, measured.numpy(), pov[block].numpy())
            self._tables.interpolate(measured, grid)
            yield grid
