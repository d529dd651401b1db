"""Pitch and voicing with Kaldi's conventions (Ghahremani, BabaAli, Povey, Riedhammer, Trmal and Khudanpur 2014).

The signal, low-passed and brought to 4 kHz, is correlated with itself at every lag that could be a pitch period; the
normalised cross-correlation (NCCF), with a ballast that calms quiet frames, is interpolated to a fine geometric grid of
lags, and a Viterbi search finds the path that combines high correlation with slow change (section 2.1 to 2.3, equation
5). The result is the NCCF without ballast on that path, and the pitch.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speechkit.features import pitch_torch
from speechkit.features.interface import WaveformFeatures
from speechkit.features.pitch_ballast import ballasts, chunks_of
from speechkit.features.pitch_config import Chunk, PitchConfig
from speechkit.features.pitch_process import process
from speechkit.features.pitch_tables import tables_for

if TYPE_CHECKING:
    from speechkit.features.pitch_cpu import Tracker


class Pitch(WaveformFeatures):
    """Computes `PitchConfig`'s features: on a CPU waveform by waveform in compiled loops, elsewhere as one batch."""

    def __init__(self, config: PitchConfig) -> None:
        self.config = config

    @property
    def num_features(self) -> int:
        """Columns of the post-processed features."""
        return self.config.num_features

    def extract(self, waveform: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Features `(T, C)` of one waveform `(S,)` in [-1, 1]; T is 0 for less than one window."""
        return self.extract_each([waveform], generator)[0]

    @torch.no_grad()
    def extract_each(self, waveforms: Sequence[Tensor], generator: torch.Generator | None = None) -> list[Tensor]:
        """Features of several waveforms, at once where they are not on a CPU; `generator` is for the delta's noise."""
        return [process(raw, self.config, generator) for raw in self.track(waveforms)]

    @torch.no_grad()
    def track(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        """What the tracker finds in each waveform: NCCF without ballast and pitch in Hz, `(T, 2)`."""
        signals = [self.lowered(waveform) for waveform in waveforms]
        frames = [self.config.num_frames(len(waveform)) for waveform in waveforms]
        found = [signal.new_empty(0, 2) for signal in signals]
        whole = [n for n, count in enumerate(frames) if count]
        for n, raw in zip(whole, self._track([waveforms[n] for n in whole], [signals[n] for n in whole]), strict=True):
            found[n] = raw
        return found

    def lowered(self, waveform: Tensor) -> Tensor:
        """The waveform `(S,)` at the lower rate, in 16-bit units."""
        tables = tables_for(self.config, waveform.device)
        count = self.config.samples_available(len(waveform), finished=True)
        return tables.resampling(waveform[None].to(torch.float32), count)[0]

    def _track(self, waveforms: Sequence[Tensor], signals: Sequence[Tensor]) -> list[Tensor]:
        if not signals:
            return []
        config, device = self.config, signals[0].device
        chunks = [chunks_of(config, len(waveform)) for waveform in waveforms]
        each = [ballasts(signal, parts, config) for signal, parts in zip(signals, chunks, strict=True)]
        if config.simulate_first_pass_online:
            return [self._first_pass(*parts) for parts in zip(signals, each, chunks, strict=True)]
        if device.type != "cpu":
            return self.track_batch(signals, each)
        return [self._tracker(signal, *weights) for signal, weights in zip(signals, each, strict=True)]

    def _first_pass(self, signal: Tensor, weights: tuple[Tensor, Tensor], chunks: Sequence[Chunk]) -> Tensor:
        from speechkit.features.pitch_online import first_pass

        ballast, revised = (part.cpu() for part in weights)
        return first_pass(self._tracker, signal.cpu(), ballast, revised, chunks, self.config).to(signal.device)

    @cached_property
    def _tracker(self) -> "Tracker":
        from speechkit.features.pitch_cpu import Tracker

        return Tracker(self.config, tables_for(self.config, torch.device("cpu")))

    def track_batch(self, signals: Sequence[Tensor], each: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
        """The same from signals at the lower rate and what `ballasts` gives for each, in torch alone, as one batch."""
        device = signals[0].device
        lengths = torch.tensor([len(signal) for signal in signals], device=device)
        counts = [len(ballast) for ballast, _ in each]
        ballast, revised = (pad_sequence(list(parts), batch_first=True) for parts in zip(*each, strict=True))
        batch = pad_sequence(list(signals), batch_first=True)
        frames = torch.tensor(counts, device=device)
        raw = pitch_torch.track(batch, lengths, frames, ballast, revised, self.config, tables_for(self.config, device))
        return [row[:count] for row, count in zip(raw, counts, strict=True)]
