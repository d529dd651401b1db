"""Batches of utterances of few speakers, for losses that compare utterances of the same speaker."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from speechkit.common.errors import SpeechkitError
from speechkit.common.seeds import derive


class SpeakerSampler:
    """Lists of cuts of at most `speakers` speakers, `max_duration` seconds of audio, in an order drawn from `seed`.

    The utterances of each speaker are dealt into groups as even as can be, and a batch is `speakers` of these. Every
    cut is in one batch, but for those that would give processes different numbers of batches. Memory holds all cuts.
    `crop` seconds are taken of a cut at most.

    Raises:
        SpeechkitError: there is no cut, or one without speaker, or a batch is too small for so many speakers.
    """

    def __init__(
        self,
        cuts: Iterable[Any],
        max_duration: float,
        speakers: int,
        seed: int,
        rank: int = 0,
        size: int = 1,
        crop: float = math.inf,
    ) -> None:
        self._by_speaker: dict[str, list[Any]] = defaultdict(list)
        for cut in cuts:
            speaker = speaker_of(cut)
            if speaker is None:
                raise SpeechkitError(
                    f"cut {cut.id} has no speaker; name it in the supervision, or unset batches.speakers"
                )
            self._by_speaker[speaker].append(cut)
        if not self._by_speaker:
            raise SpeechkitError(
                "there is no utterance to train on; lower shortest, or prepare the data again (stage 0)"
            )
        longest = max(min(crop, cut.duration) for each in self._by_speaker.values() for cut in each)
        self._largest, self._speakers, self._seed = int(max_duration / longest) // speakers, speakers, seed
        self._rank, self._size = rank, size
        if self._largest < 1:
            raise SpeechkitError(
                f"a batch of {max_duration:g} s does not hold utterances of {speakers} speakers, the longest of "
                f"{longest:g} s; raise batches.max_duration or lower batches.speakers"
            )

    def __iter__(self) -> Iterator[list[Any]]:
        generator = np.random.default_rng(derive(self._seed, "batches of speakers"))
        groups: list[list[Any]] = []
        for speaker in sorted(self._by_speaker):
            cuts = self._by_speaker[speaker]
            order = generator.permutation(len(cuts))
            parts = np.array_split(order, -(-len(cuts) // self._largest))
            groups += [[cuts[index] for index in part] for part in parts]
        groups = [groups[index] for index in generator.permutation(len(groups))]
        taken = range(0, len(groups), self._speakers)
        batches = [[cut for group in groups[i : i + self._speakers] for cut in group] for i in taken]
        even = len(batches) - len(batches) % self._size
        yield from batches[self._rank : even : self._size]


def speaker_of(cut: Any) -> str | None:
    """Who speaks in a cut, None where its supervision does not tell."""
    return (cut.supervisions[0].speaker or None) if cut.supervisions else None
