"""What a self-supervised system is to the code that trains it and uses its encoder."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from torch import Tensor

if TYPE_CHECKING:
    from speechkit.data.waveforms import WaveformBatch


class Hidden(NamedTuple):
    """What a self-supervised model makes of waveforms.

    Attributes:
        layers: hidden states `(N, T, dim)`, that of layer l (counting from 1) at `layers[l - 1]`.
        lengths: `(N,)`, valid frames.
        frame_rate: frames per second.
    """

    layers: list[Tensor]
    lengths: Tensor
    frame_rate: float


class EncoderConfig(Protocol):
    """What is known of an encoder without its weights."""

    sampling_rate: int

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        ...

    @property
    def window(self) -> int:
        """Samples that a frame of the extractor sees."""
        ...

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        ...

    @property
    def num_layers(self) -> int:
        """Number of hidden layers."""
        ...


class Encoder(Protocol):
    """What labels, fine-tuning, probes, BERT-ASR and wav2vec-U take from a self-supervised model: a torch module."""

    def __call__(self, waveforms: Tensor, lengths: Tensor, count: int | None = None) -> Hidden:
        """Hidden states of the first `count` layers (all if None).

        Args:
            waveforms: `(N, S)` in [-1, 1].
            lengths: `(N,)` samples.
            count: number of layers.
        """
        ...


class PretrainLoss(Protocol):
    """A loss of a batch.

    Attributes:
        total: what is minimised, summed over `count` terms.
        count: divide `total` by that of all processes.
    """

    @property
    def total(self) -> Tensor:
        """The sum."""
        ...

    @property
    def count(self) -> int:
        """Its number of terms."""
        ...

    def figures(self) -> dict[str, float]:
        """What tells whether a training is healthy, averaged; `loss_m` is the loss alone, without its other terms."""
        ...


@dataclass(frozen=True)
class Collapse:
    """Signs of a model that learns nothing.

    Attributes:
        chance: the loss `loss_m` of a model that knows nothing.
        fewest_codes: a `code_perplexity` or `used_perplexity` below it is a collapse; none where there are no codes.
        advice: what to change.
    """

    chance: float
    advice: str
    fewest_codes: float = 0.0


class PretrainModel(Protocol):
    """A system for pre-training: a torch module whose `encoder` is what is kept of it.

    Attributes:
        encoder_type: makes the encoder of a configuration.
        wants_plain: whether batches must have the undistorted sound too.
        wants_labels: whether they must have labels; then it is made with the number of classes of each set of them.
    """

    encoder_type: ClassVar[Any]
    wants_plain: ClassVar[bool]
    wants_labels: ClassVar[bool]

    @staticmethod
    def inputs(batch: "WaveformBatch", update: int) -> dict[str, Any]:
        """Arguments of `forward` for a batch after `update` updates."""
        ...

    def forward(self, *args: Any, **kwargs: Any) -> PretrainLoss:
        """The loss of a batch."""
        ...

    def collapse(self) -> Collapse | None:
        """When a training has failed; None where that does not show."""
        ...
