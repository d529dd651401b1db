"""Batches of few speakers: what is in them, their order, and their parts for several processes."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from counted_cuts import HOP, RATE, make_cut

from speechkit.common.errors import SpeechkitError
from speechkit.data.batches import BatchConfig, TrainingBatches
from speechkit.data.speaker_sampler import SpeakerSampler
from speechkit.data.waveforms import WaveformDataset


def cuts_of(**counts: int) -> list[Any]:
    """So many cuts of 2 to 3 s of each speaker."""
    return [
        SimpleNamespace(
            id=f"{speaker}{number}", duration=2 + number % 2, supervisions=[SimpleNamespace(speaker=speaker)]
        )
        for speaker, count in counts.items()
        for number in range(count)
    ]


def ids(sampler: SpeakerSampler) -> list[list[str]]:
    return [[cut.id for cut in batch] for batch in sampler]


def test_batches_hold_groups_of_few_speakers() -> None:
    """12 s are 8 crops of 1.5 s, or 4 of each of two speakers; ten utterances are dealt as 4, 3 and 3."""
    cuts = cuts_of(a=10, b=8, c=9, d=1)
    batches = ids(SpeakerSampler(cuts, 12, 2, seed=0, crop=1.5))
    assert sorted(name for batch in batches for name in batch) == sorted(cut.id for cut in cuts)
    assert len(batches) == 5  # groups: 3 of a, 2 of b, 3 of c, 1 of d
    for batch in batches:
        assert len(batch) <= 8
        assert len({name[0] for name in batch}) <= 2
        # Nobody but d is alone: his utterance is all there is of him.
        assert all(count >= 3 for speaker, count in Counter(name[0] for name in batch).items() if speaker != "d")
    assert batches == ids(SpeakerSampler(cuts, 12, 2, seed=0, crop=1.5))
    assert batches != ids(SpeakerSampler(cuts, 12, 2, seed=1, crop=1.5))
    whole = ids(SpeakerSampler(cuts, 12, 2, seed=0))
    assert max(map(len, whole)) == 4  # of at most 3 s


def test_processes_share_batches_evenly() -> None:
    cuts = cuts_of(a=10, b=8, c=9)
    every = ids(SpeakerSampler(cuts, 12, 1, seed=3))
    shares = [ids(SpeakerSampler(cuts, 12, 1, 3, rank, 2)) for rank in (0, 1)]
    assert len(shares[0]) == len(shares[1]) == len(every) // 2
    assert [batch for pair in zip(*shares, strict=True) for batch in pair] == every[: 2 * (len(every) // 2)]


def test_impossible_batches_are_refused() -> None:
    with pytest.raises(
        SpeechkitError, match="a batch of 5 s does not hold utterances of 2 speakers, the longest of 3 s"
    ):
        SpeakerSampler(cuts_of(a=4, b=4), 5, 2, seed=0)
    nobody = SimpleNamespace(id="x", duration=1.0, supervisions=[SimpleNamespace(speaker=None)])
    with pytest.raises(SpeechkitError, match="cut x has no speaker"):
        SpeakerSampler([nobody], 5, 1, seed=0)
    with pytest.raises(SpeechkitError, match="no utterance to train on"):
        SpeakerSampler([], 5, 1, seed=0)


def test_training_batches_by_speaker_tell_who_speaks(tmp_path: Path) -> None:
    """Speakers are equal numbers for the same one; who is not known is like nobody else. Any epoch goes on anywhere."""
    cuts = []
    for number in range(8):
        cut = make_cut(tmp_path, f"cut{number}", 900 + number)
        cut.supervisions[0].speaker = "ab"[number % 2]
        cuts.append(cut)
    data = WaveformDataset([], 400, HOP, RATE, 0)
    batches = TrainingBatches(cuts, data, BatchConfig(max_duration=1.6, speakers=2, workers=0), 0, crop=0.4)
    first = list(batches.epoch(0, 0))
    assert [len(batch.ids) for batch in first] == [4, 4]
    for batch in first:
        assert batch.waveforms.shape == (4, 400)
        assert batch.speakers is not None
        true = [int(name[3:]) % 2 for name in batch.ids]
        assert [[a == b for b in true] for a in true] == torch.eq(batch.speakers[:, None], batch.speakers).tolist()
    assert [batch.ids for batch in batches.epoch(0, 1)] == [first[1].ids]
    assert [batch.ids for batch in batches.epoch(1, 0)] != [batch.ids for batch in first]
    cuts[0].supervisions[0].speaker = cuts[1].supervisions[0].speaker = None
    found = data[cuts[:4]].speakers
    assert found is not None
    assert len(set(found.tolist())) == 4


def test_a_limit_counts_what_is_cropped(tmp_path: Path) -> None:
    """Without speakers too: eight windows of 0.4 s are 3.2 s, however long the utterances are."""
    from lhotse import CutSet

    cuts = CutSet.from_cuts([make_cut(tmp_path, f"cut{number}", 900 + 50 * number) for number in range(24)])
    data = WaveformDataset([], 400, HOP, RATE, 0)
    for crop, largest in ((0.4, 8), (float("inf"), 2)):
        batches = TrainingBatches(cuts, data, BatchConfig(max_duration=3.2, buckets=2, workers=0), 0, crop=crop)
        assert max(len(batch.ids) for batch in batches.epoch(0, 0)) == largest
