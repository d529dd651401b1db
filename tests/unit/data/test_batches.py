"""Batches from cuts with features in memory: order, resume, padding, normalisation, and tiny sets."""

from pathlib import Path

import numpy as np
import pytest
import torch
from lhotse import CutSet, MonoCut, SupervisionSegment
from lhotse.features.io import MemoryLilcomWriter
from torch.utils.data import Dataset

from speechkit.common.errors import SpeechkitError
from speechkit.data import batches as batches_module
from speechkit.data.batches import (
    BatchConfig,
    FeatureDataset,
    Fields,
    TrainingBatches,
    keep_trainable,
    load_cuts,
    ordered_batches,
)
from speechkit.features.cmvn import Cmvn, CmvnStats


def make_cuts(durations: list[float]) -> CutSet:
    from lhotse import Features
    from lhotse.utils import uuid4

    generator = np.random.default_rng(0)
    writer = MemoryLilcomWriter()
    cuts = []
    for index, duration in enumerate(durations):
        frames = round(duration * 100)
        array = generator.normal(index, 2, size=(frames, 4)).astype(np.float32)
        name = f"u{index:02d}"
        features = Features(
            type="fbank", num_frames=frames, num_features=4, frame_shift=0.01, sampling_rate=16000, start=0,
            duration=duration, storage_type=writer.name, storage_path=str(writer.storage_path),
            storage_key=writer.write(str(uuid4()), array), recording_id=name, channels=0,
        )  # fmt: skip
        supervision = SupervisionSegment(
            name, name, 0, duration, text=" ".join("ab"[: 1 + index % 2]), speaker=f"s{index % 2}"
        )
        cuts.append(MonoCut(name, 0, duration, 0, features=features, supervisions=[supervision]))
    return CutSet.from_cuts(cuts).to_eager()


def encode(fields: Fields) -> list[int]:
    return ["ab".index(word) + 1 for word in (fields["text"] or "").split()]


def dataset(mode: str = "none", cmvn: Cmvn | None = None) -> FeatureDataset:
    return FeatureDataset(encode, cmvn or Cmvn(), mode)


DURATIONS = [0.5 + 0.13 * (index % 17) for index in range(60)]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_epoch_entered_in_its_middle_goes_on_as_if_it_had_not_stopped(workers: int) -> None:
    config = BatchConfig(max_duration=5.0, workers=workers)
    cuts = make_cuts(DURATIONS)
    whole = [batch.ids for batch in TrainingBatches(cuts, dataset(), config, seed=3).epoch(2, 0)]
    rest = [batch.ids for batch in TrainingBatches(cuts, dataset(), config, seed=3).epoch(2, 4)]
    assert rest == whole[4:]
    assert sorted(name for ids in whole for name in ids) == [f"u{index:02d}" for index in range(60)]


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    cuts = make_cuts(DURATIONS)
    orders = []
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        batches = TrainingBatches(cuts, dataset(), BatchConfig(max_duration=5.0, workers=0), seed).epoch(epoch, 0)
        orders.append(tuple(name for batch in batches for name in batch.ids))
    assert len(set(orders)) == 3


@pytest.mark.parametrize("count", [1, 3, 30])
def test_small_sets_give_every_cut_once_and_keep_to_the_limit(count: int) -> None:
    cuts = make_cuts(DURATIONS[:count])
    batches = list(TrainingBatches(cuts, dataset(), BatchConfig(max_duration=4.0, workers=0), seed=0).epoch(0, 0))
    assert sorted(name for batch in batches for name in batch.ids) == [f"u{index:02d}" for index in range(count)]


def test_one_long_cut_does_not_make_its_batch_exceed_the_limit_by_padding() -> None:
    cuts = make_cuts([1.0] * 30 + [6.0])
    for batch in TrainingBatches(cuts, dataset(), BatchConfig(max_duration=7.0, workers=0), seed=0).epoch(0, 0):
        assert batch.features.shape[0] * batch.features.shape[1] <= 700


def test_two_processes_share_an_epoch_without_overlap() -> None:
    cuts = make_cuts(DURATIONS)
    config = BatchConfig(max_duration=3.0, workers=0)
    shares = [
        [name for batch in TrainingBatches(cuts, dataset(), config, 0, rank, 2).epoch(0, 0) for name in batch.ids]
        for rank in (0, 1)
    ]
    assert not set(shares[0]) & set(shares[1])
    assert len(set(shares[0]) | set(shares[1])) == 60


def test_padding_targets_and_order_of_evaluation_batches() -> None:
    cuts = make_cuts([0.5, 0.9, 0.7, 0.4])
    batches = list(ordered_batches(cuts, dataset(), max_duration=2.0))
    assert [batch.ids for batch in batches] == [["u00", "u01"], ["u02", "u03"]]
    first = batches[0]
    assert first.lengths.tolist() == [50, 90]
    assert first.features.shape == (2, 90, 4)
    assert not first.features[0, 50:].any()
    assert first.targets.tolist() == [[1, 0], [1, 2]]
    assert first.target_lengths.tolist() == [1, 2]
    np.testing.assert_allclose(first.features[1].numpy(), cuts["u01"].load_features())


def test_normalisation_by_speaker_utterance_and_all() -> None:
    cuts = make_cuts([0.5, 0.9, 0.7, 0.4])
    cmvn = Cmvn()
    for cut in cuts:
        stats = CmvnStats.of(torch.from_numpy(cut.load_features()))
        cmvn.add(cut.supervisions[0].speaker, stats)
        cmvn.overall = stats if cmvn.overall is None else cmvn.overall + stats

    def frames(mode: str, wanted: set[str]) -> torch.Tensor:
        batches = ordered_batches(cuts, dataset(mode, cmvn), max_duration=0.1)
        return torch.cat([batch.features[0] for batch in batches if batch.ids[0] in wanted])

    for mode, group in (("speaker", {"u00", "u02"}), ("speaker", {"u01", "u03"}), ("utterance", {"u03"})):
        values = frames(mode, group)
        torch.testing.assert_close(values.mean(0), torch.zeros(4), atol=1e-4, rtol=0)
        torch.testing.assert_close(values.std(0, correction=0), torch.ones(4), atol=1e-4, rtol=0)
    every = frames("global", {"u00", "u01", "u02", "u03"})
    torch.testing.assert_close(every.mean(0), torch.zeros(4), atol=1e-4, rtol=0)


def test_cuts_that_cannot_be_trained_on_are_named(caplog: pytest.LogCaptureFixture) -> None:
    cuts, dropped = keep_trainable(make_cuts([0.5, 0.02, 0.7]), lambda cut: cut.duration > 0.1)
    assert list(dropped) == ["u01"]
    assert [cut.id for cut in cuts] == ["u00", "u02"]
    assert "u01" in caplog.text


def test_missing_cuts_and_features_are_errors_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(SpeechkitError, match=r"cuts_x\.jsonl\.gz does not exist.*stage \(1\)"):
        load_cuts(tmp_path / "cuts_x.jsonl.gz")
    bare = CutSet.from_cuts(
        [MonoCut("u00", 0, 0.5, 0, supervisions=[SupervisionSegment("u00", "u00", 0, 0.5, text="a")])]
    )
    with pytest.raises(SpeechkitError, match="u00 has no features"):
        list(ordered_batches(bare, dataset(), 1.0))


@pytest.mark.parametrize("buckets", [1, 3, 10])
@pytest.mark.parametrize("spread", [0.3, 1.0])
@pytest.mark.parametrize("looked_at", [100, 10_000])
def test_no_batch_is_longer_than_the_limit_with_its_padding(
    buckets: int, spread: float, looked_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches_module, "CUTS_LOOKED_AT", looked_at)
    generator = np.random.default_rng(buckets)
    cuts = [
        MonoCut(f"u{index:03d}", 0, float(duration), 0)
        for index, duration in enumerate(generator.lognormal(1.0, spread, size=600).clip(0.2, 19.9).round(3))
    ]
    config = BatchConfig(max_duration=20.0, buckets=buckets, workers=0)
    batches = TrainingBatches(CutSet.from_cuts(cuts), Durations(), config, seed=0)  # type: ignore[arg-type]
    found: list[list[float]] = list(batches.epoch(0, 0))  # type: ignore[arg-type]
    assert sum(map(len, found)) == 600
    assert max(max(durations) * len(durations) for durations in found) <= 20.0


class Durations(Dataset[list[float]]):
    """The durations of a batch of cuts."""

    def __getitem__(self, cuts: CutSet) -> list[float]:
        return [cut.duration for cut in cuts]
