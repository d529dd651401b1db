"""What an alignment is: labels with times and confidences, in tiers from words to states."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

WORD: Final = "word"
PHONE: Final = "phone"
STATE: Final = "state"
TOKEN: Final = "token"


@dataclass(frozen=True)
class Segment:
    """A label from `start` to `end` seconds; `confidence` between 0 and 1, None where it is not known."""

    label: str
    start: float
    end: float
    confidence: float | None = None

    @property
    def duration(self) -> float:
        """Seconds from start to end."""
        return self.end - self.start


@dataclass(frozen=True)
class Alignment:
    """Where the labels of one utterance are.

    Attributes:
        id: of the utterance.
        duration: of its audio in seconds.
        tiers: segments in order of time by kind ("word", "phone", "state"; "token" of a CTC model). Phones cover all
            of the audio, silence included; words leave the silences out.
        frame_labels: id of the unit at each frame of the features, `(T,)`.
        score: log-likelihood of the path per frame, transitions included, in the model's own scale.
        confidence: geometric mean over the frames of the posterior of the aligned unit.
        method: how it was found, such as "beam 10".
    """

    id: str
    duration: float
    tiers: Mapping[str, Sequence[Segment]]
    frame_labels: npt.NDArray[np.int32] = field(repr=False)
    score: float
    confidence: float
    method: str
