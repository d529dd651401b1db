"""Cuts as forced alignment reads and writes them: features and transcripts in, times in the supervisions out."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechkit.common.errors import SpeechkitError
from speechkit.data.manifests import read_lines

WITH_PITCH = "fbank-pitch"  # type of the features in a manifest
Item = tuple[str, float, float, float | None]
"""A label with start, duration (seconds from the beginning of the cut) and score, as in Lhotse's `AlignmentItem`."""


@dataclass(frozen=True)
class Spoken:
    """One cut: its manifest line, and what its supervision says."""

    row: dict[str, Any]

    @property
    def id(self) -> str:
        """Name of the cut."""
        return str(self.row["id"])

    @property
    def duration(self) -> float:
        """Seconds of audio."""
        return float(self.row["duration"])

    @property
    def supervision(self) -> dict[str, Any]:
        """The one supervision."""
        supervisions: list[dict[str, Any]] = self.row.get("supervisions") or []
        if len(supervisions) != 1:
            raise SpeechkitError(
                f"cut {self.id} has {len(supervisions)} supervisions; one per cut is needed: trim the cuts to them"
            )
        return supervisions[0]

    @property
    def speaker(self) -> str:
        """Who speaks."""
        return str(self.supervision.get("speaker"))

    @property
    def fields(self) -> dict[str, str]:
        """The text and the custom strings of the supervision."""
        found = {"text": self.supervision.get("text"), **(self.supervision.get("custom") or {})}
        return {name: value for name, value in found.items() if isinstance(value, str)}

    def labels(self, kind: str) -> list[tuple[str, float, float]] | None:
        """Labels with start and end of one kind of alignment ("phone", "word"), None where there is none."""
        items = (self.supervision.get("alignment") or {}).get(kind)
        return None if items is None else [(item[0], item[1], item[1] + item[2]) for item in items]

    @property
    def cut(self) -> Any:
        """The cut as Lhotse's object."""
        from lhotse import MonoCut

        # Lhotse takes the dictionaries apart that it is given.
        return MonoCut.from_dict({key: value for key, value in deepcopy(self.row).items() if key != "type"})

    @property
    def has_pitch(self) -> bool:
        """Whether pitch stands behind the log-mel features."""
        return bool(self.row.get("features", {}).get("type") == WITH_PITCH)

    def features(self) -> Tensor:
        """Features `(T, C)` from their storage."""
        if "features" not in self.row:
            raise SpeechkitError(f"cut {self.id} has no features; run the feature stage (1) and pass its cuts")
        return features_of(self.cut)

    def aligned(self, tiers: Mapping[str, Sequence[Item]]) -> dict[str, Any]:
        """The manifest line with these alignments in place of those it had."""
        alignment = {kind: [list(item) for item in items] for kind, items in tiers.items()}
        return {**self.row, "supervisions": [{**self.supervision, "alignment": alignment}]}


def features_of(cut: Any) -> Tensor:
    """All features `(T, C)` that are stored for a cut."""
    features = cut.features
    whole = (cut.start, cut.duration) == (features.start, features.duration)
    # Lhotse counts frames by the duration of a cut; it repeats the last one where it expects one more.
    return torch.from_numpy((features.load() if whole else cut.load_features())[: features.num_frames])


def read_spoken(path: Path) -> Iterator[Spoken]:
    """The cuts of a manifest in order; raises `SpeechkitError` where a line is none."""
    for row in read_lines(path):
        if not isinstance(row, dict) or "id" not in row or "duration" not in row:
            raise SpeechkitError(f"{path} holds a line that is no cut; run the data stages (0 and 1) again")
        yield Spoken(row)
