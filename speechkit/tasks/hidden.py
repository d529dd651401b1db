"""Hidden states of a pre-trained model as features of another one: what `speechkit features --checkpoint` stores."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from speechkit.data.shards import Extract


class HiddenLayer(Protocol):
    """Hidden states of cuts, `frame_rate` a second and each `window` seconds wide; `origin` says what they are."""

    frame_rate: float
    window: float
    sampling_rate: int
    origin: dict[str, Any]

    def of_cut(self, cut: str, waveform: Tensor) -> Tensor:
        """Frames `(T, D)` of the cut with an id and its waveform `(S,)` in [-1, 1]."""
        ...


@dataclass(frozen=True)
class HiddenFeatures:
    """A layer of a model as features, for `speechkit.data.extraction.extract`."""

    layer: HiddenLayer

    @property
    def speeds(self) -> tuple[float, ...]:
        """There are no copies of the training set."""
        return (1.0,)

    @property
    def kind(self) -> str:
        """Type of the features in manifests."""
        return f"layer-{self.layer.origin['layer']}"

    @property
    def sampling_rate(self) -> int:
        """Of the audio, in Hz."""
        return self.layer.sampling_rate

    @property
    def window(self) -> float:
        """Of a frame, in seconds; that of the extractor, as the transformer sees all."""
        return self.layer.window

    @property
    def frame_shift(self) -> float:
        """Seconds from one frame to the next."""
        return 1 / self.layer.frame_rate

    @property
    def tick_power(self) -> int:
        """Values are rounded to multiples of 2 to the power of it: hidden states are smaller than log energies."""
        return -8

    def settings(self) -> list[Any]:
        """All that the features of an utterance depend on."""
        return [self.layer.origin]

    def plain(self) -> "HiddenFeatures":
        """The same: nothing in them is for training alone."""
        return self

    def extractor(self) -> Extract:
        """What computes them."""
        return self._extract

    def _extract(self, cut: str, waveform: Tensor, generator: torch.Generator | None) -> Tensor:
        return self.layer.of_cut(cut, waveform).cpu()
