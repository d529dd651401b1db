"""Cepstral mean and variance normalisation: per speaker, per utterance, or global.

Statistics are sums in float64, so that they can be collected in pieces and added up.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import atomic_path, require_file

VARIANCE_FLOOR = 1e-10
GLOBAL = "global"
SPEAKER = "speaker/"


@dataclass
class CmvnStats:
    """Count of frames, sum and sum of squares `(C,)` in float64."""

    count: int
    total: Tensor
    squares: Tensor

    @classmethod
    def of(cls, features: Tensor) -> "CmvnStats":
        """Statistics of the frames `(T, C)`."""
        squares = features.square().sum(dim=0, dtype=torch.float64)
        return cls(len(features), features.sum(dim=0, dtype=torch.float64), squares)

    def __add__(self, other: "CmvnStats") -> "CmvnStats":
        return CmvnStats(self.count + other.count, self.total + other.total, self.squares + other.squares)

    def state(self) -> dict[str, Any]:
        """Everything as JSON-able values, for checkpoints."""
        return {"count": self.count, "total": self.total.tolist(), "squares": self.squares.tolist()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "CmvnStats":
        """The inverse of `state`."""
        total, squares = (torch.tensor(state[name], dtype=torch.float64) for name in ("total", "squares"))
        return cls(state["count"], total, squares)

    def first(self, count: int) -> "CmvnStats":
        """Those of the first `count` dimensions."""
        return CmvnStats(self.count, self.total[:count], self.squares[:count])

    @property
    def mean(self) -> Tensor:
        """Mean of each dimension `(C,)`."""
        return self.total / self.count

    @property
    def std(self) -> Tensor:
        """Standard deviation of each dimension `(C,)`, over the population and never below 1e-5."""
        return (self.squares / self.count - self.mean.square()).clamp_min(VARIANCE_FLOOR).sqrt()


def normalise(features: Tensor, stats: CmvnStats, variance: bool = True) -> Tensor:
    """Subtract the mean of `stats` from `(..., C)` features and, with `variance`, divide by the standard deviation."""
    centred = features - stats.mean.to(features)
    return centred / stats.std.to(features) if variance else centred


class Cmvn:
    """Statistics of a data set: of each speaker, and of all training data together.

    Saved as safetensors: for each key, `global` or `speaker/<name>`, one float64 matrix `(2, C + 1)` whose
    rows are sums and sums of squares, with the count of frames in the last place of the first row.
    """

    def __init__(self, overall: CmvnStats | None = None, speakers: Mapping[str, CmvnStats] | None = None) -> None:
        self.overall = overall
        self.speakers = dict(speakers or {})

    def add(self, speaker: str, stats: CmvnStats) -> None:
        """Add statistics to those of a speaker."""
        self.speakers[speaker] = self.speakers[speaker] + stats if speaker in self.speakers else stats

    def merge(self, other: "Cmvn", *, overall: bool = False) -> None:
        """Add the speakers of another set, and with `overall` all of them to the overall statistics."""
        for speaker, stats in other.speakers.items():
            self.add(speaker, stats)
            if overall:
                self.overall = stats if self.overall is None else self.overall + stats

    def stats(self, speaker: str | None = None) -> CmvnStats:
        """Statistics of a speaker, or the overall ones for None."""
        found = self.overall if speaker is None else self.speakers.get(speaker)
        if found is None:
            what = "global statistics" if speaker is None else f"statistics of speaker '{speaker}'"
            raise SpeechkitError(f"the normalisation file has no {what}; run the feature stage on these cuts")
        return found

    def apply(self, features: Tensor, speaker: str | None = None, variance: bool = True) -> Tensor:
        """Normalise `(T, C)` features with a speaker's statistics, or the overall ones for None."""
        return normalise(features, self.stats(speaker), variance)

    def save(self, path: Path) -> None:
        """Write all statistics to `path`."""
        from safetensors.torch import save_file

        tensors = {SPEAKER + name: _pack(stats) for name, stats in self.speakers.items()}
        if self.overall is not None:
            tensors[GLOBAL] = _pack(self.overall)
        with atomic_path(path) as temporary:
            save_file(tensors, temporary)

    @classmethod
    def load(cls, path: Path) -> "Cmvn":
        """Read what `save` wrote."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        require_file(path)
        try:
            tensors = load_file(path)
        except SafetensorError as error:
            raise SpeechkitError(f"{path} is damaged ({error}); delete it and run the feature stage again") from error
        overall = tensors.pop(GLOBAL, None)
        speakers = {key.removeprefix(SPEAKER): _unpack(value) for key, value in tensors.items()}
        return cls(None if overall is None else _unpack(overall), speakers)


def _pack(stats: CmvnStats) -> Tensor:
    count = torch.tensor([stats.count], dtype=torch.float64)
    return torch.stack([torch.cat([stats.total, count]), torch.cat([stats.squares, torch.zeros_like(count)])])


def _unpack(matrix: Tensor) -> CmvnStats:
    return CmvnStats(int(matrix[0, -1]), matrix[0, :-1], matrix[1, :-1])
