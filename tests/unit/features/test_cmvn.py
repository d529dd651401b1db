"""Normalisation statistics against direct computation."""

from pathlib import Path

import pytest
import torch

from speechkit.common.errors import SpeechkitError
from speechkit.features.cmvn import Cmvn, CmvnStats, normalise


def frames(count: int, seed: int) -> torch.Tensor:
    return torch.randn(count, 5, generator=torch.Generator().manual_seed(seed)) * 3 + 100


def test_pieces_add_up_to_the_whole() -> None:
    whole = frames(1000, 0)
    parts = CmvnStats.of(whole[:10]) + CmvnStats.of(whole[10:400]) + CmvnStats.of(whole[400:])
    assert parts.count == 1000
    assert torch.allclose(parts.mean, whole.double().mean(dim=0))
    assert torch.allclose(parts.std, whole.double().std(dim=0, unbiased=False))


def test_normalised_frames_have_mean_zero_and_variance_one() -> None:
    features = frames(300, 1)
    result = normalise(features, CmvnStats.of(features))
    assert result.dtype == torch.float32
    assert torch.allclose(result.mean(dim=0), torch.zeros(5), atol=1e-4)
    assert torch.allclose(result.std(dim=0, unbiased=False), torch.ones(5), atol=1e-4)


def test_mean_only_keeps_the_variance() -> None:
    features = frames(300, 1)
    result = normalise(features, CmvnStats.of(features), variance=False)
    assert torch.allclose(result, features - features.mean(dim=0), atol=1e-4)


def test_a_constant_dimension_does_not_explode() -> None:
    features = torch.full((50, 5), 7.3)
    assert normalise(features, CmvnStats.of(features)).abs().max() < 1


def test_tables_keep_speakers_apart_and_survive_the_disk(tmp_path: Path) -> None:
    ann, bob = frames(20, 2), frames(30, 3) + 5
    table, other = Cmvn(overall=CmvnStats.of(ann)), Cmvn()
    table.add("ann", CmvnStats.of(ann[:5]))
    other.add("ann", CmvnStats.of(ann[5:]))
    other.add("böb/1", CmvnStats.of(bob))
    table.merge(other)
    table.save(tmp_path / "cmvn.safetensors")
    loaded = Cmvn.load(tmp_path / "cmvn.safetensors")
    assert torch.allclose(loaded.apply(ann, "ann"), normalise(ann, CmvnStats.of(ann)))
    assert torch.allclose(loaded.apply(bob, "böb/1").mean(dim=0), torch.zeros(5), atol=1e-4)
    assert torch.allclose(loaded.apply(bob), normalise(bob, CmvnStats.of(ann)))
    assert loaded.stats("böb/1").count == 30


def test_unknown_speakers_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(SpeechkitError, match="'eve'"):
        Cmvn().stats("eve")
    with pytest.raises(SpeechkitError, match="no global statistics"):
        Cmvn().stats()
    damaged = tmp_path / "cmvn.safetensors"
    damaged.write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    with pytest.raises(SpeechkitError, match="cmvn.safetensors is damaged"):
        Cmvn.load(damaged)


def test_the_first_dimensions_have_the_statistics_that_they_have_alone() -> None:
    features = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    part, alone = CmvnStats.of(features).first(4), CmvnStats.of(features[:, :4])
    assert torch.equal(part.mean, alone.mean)
    assert torch.equal(part.std, alone.std)
