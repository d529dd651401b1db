"""Span masks: their rules and the statistics that the paper states."""

import torch

from speechkit.nn.masking import SpanMaskConfig, TimeMask, equalise, mask_channels, span_mask


def runs(mask: torch.Tensor) -> list[int]:
    """Lengths of the runs of masked positions."""
    edges = torch.diff(mask.int(), prepend=torch.zeros(1, dtype=torch.int32), append=torch.zeros(1, dtype=torch.int32))
    return ((edges == -1).nonzero() - (edges == 1).nonzero()).flatten().tolist()


def test_statistics_of_the_paper() -> None:
    """Of 15 s about 49 % are masked in spans of 14.7 frames on average, 10 in the median (wav2vec 2.0, section 4.2)."""
    torch.manual_seed(0)
    frames = 749
    mask = span_mask([frames] * 400, frames, SpanMaskConfig(probability=0.065, length=10))
    share = mask.float().mean().item()
    assert 0.485 < share < 0.495
    spans = sorted(length for row in mask for length in runs(row))
    assert abs(sum(spans) / len(spans) - 14.7) < 0.3
    assert spans[len(spans) // 2] == 10


def test_the_number_of_spans_is_right_on_average() -> None:
    torch.manual_seed(1)
    config = SpanMaskConfig(probability=0.05, length=1, least=0)
    counts = span_mask([30] * 4000, 30, config).sum(1)
    assert set(counts.tolist()) == {1, 2}
    assert abs(counts.float().mean().item() - 1.5) < 0.03


def test_every_start_is_as_likely() -> None:
    torch.manual_seed(3)
    mask = span_mask([12] * 6000, 12, SpanMaskConfig(probability=0.0, length=10, least=1))
    starts = mask.int().argmax(1)
    shares = torch.bincount(starts, minlength=3) / len(starts)
    assert (shares - 1 / 3).abs().max() < 0.03


def test_short_sequences_without_room_for_a_span_stay() -> None:
    mask = span_mask([9, 10, 0], 10, SpanMaskConfig(probability=0.5, length=10))
    assert mask.sum(1).tolist() == [0, 10, 0]


def test_masked_frames_hold_the_learned_vector_and_channels_zeros() -> None:
    """Checklist 4.5 and 4.10."""
    torch.manual_seed(4)
    x, layer = torch.randn(2, 5, 8), TimeMask(8)
    mask = torch.tensor([[True, False, False, True, False], [False] * 5])
    y = layer(x, mask)
    assert torch.equal(y[~mask], x[~mask])
    assert (y[mask] == layer.vector).all()
    z = mask_channels(x, SpanMaskConfig(probability=0.2, length=3, least=1))
    gone = (z == 0).all(1)
    assert gone.any(1).all()
    assert torch.equal(z.transpose(1, 2)[~gone], x.transpose(1, 2)[~gone])


def test_equalised_masks_lose_marks_at_random() -> None:
    torch.manual_seed(0)
    mask = torch.rand(4, 300) < torch.tensor([[0.2], [0.4], [0.6], [0.8]])
    before = mask.clone()
    found = equalise(mask)
    assert torch.equal(mask, before)
    assert set(found.sum(1).tolist()) == {int(mask.sum(1).min())}
    assert not (found & ~mask).any()
    first, second = found[3, :150].sum().item(), found[3, 150:].sum().item()
    assert abs(first - second) < 0.4 * (first + second)
