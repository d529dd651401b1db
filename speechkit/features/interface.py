"""What all features have in common: from one waveform, or from a batch of waveforms of different lengths."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


class WaveformFeatures(ABC):
    """Features of waveforms with values in [-1, 1], computed on the device that the waveforms are on.

    Objects may hold buffers: use one per thread.
    """

    @property
    @abstractmethod
    def num_features(self) -> int:
        """Columns of the features."""

    @abstractmethod
    def extract(self, waveform: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Features `(T, C)` of one waveform `(S,)`; T is 0 for less than one frame.

        Args:
            waveform: samples.
            generator: source of noise, where the configuration asks for some.
        """

    def extract_each(self, waveforms: Sequence[Tensor], generator: torch.Generator | None = None) -> list[Tensor]:
        """Features of several waveforms, each as if it were alone."""
        return [self.extract(waveform, generator) for waveform in waveforms]

    @torch.no_grad()
    def __call__(
        self,
        waveforms: Tensor | Sequence[Tensor],
        lengths: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Features of a batch.

        Args:
            waveforms: `(N, S)`, or a sequence of 1-D tensors.
            lengths: samples of each waveform, `(N,)`; all of them where left out.
            generator: source of noise.

        Returns:
            Features `(N, T, C)`, zero behind each utterance's end, and frames `(N,)` as int64.
        """
        samples = [waveform.numel() for waveform in waveforms] if lengths is None else lengths.tolist()
        cut = [waveform[:count] for waveform, count in zip(waveforms, samples, strict=True)]
        each = self.extract_each(cut, generator)
        frames = torch.tensor([len(features) for features in each], dtype=torch.int64)
        return pad_sequence(each, batch_first=True), frames
