import numpy as np
import torch

from speechkit.data.augment import AugmentConfig, augment, warp_frequency


def test_masks_stay_within_their_limits_and_within_each_utterance() -> None:
    torch.manual_seed(0)
    config = AugmentConfig(
        frequency_masks=2, frequency_width=10, frames_per_time_mask=50, time_width=30, max_time_share=0.3
    )
    lengths = torch.tensor([200, 90, 40])
    for _ in range(50):
        hidden = augment(torch.ones(3, 200, 80), lengths, config) == 0
        columns = hidden.all(dim=1)  # hidden in every frame: frequency masks
        assert columns.sum(dim=1).max() <= 20
        rows = hidden.all(dim=2)
        for row, length in zip(rows, lengths.tolist(), strict=True):
            assert not row[length:].any()
            assert row.sum() <= 0.3 * length
        assert torch.equal(hidden, columns[:, None, :] | rows[:, :, None])


def test_mean_width_of_a_frequency_mask_is_half_the_largest() -> None:
    torch.manual_seed(0)
    config = AugmentConfig(frequency_masks=1, frequency_width=20, time_width=0)
    hidden = augment(torch.ones(4000, 2, 80), torch.full((4000,), 2), config)[:, 0] == 0
    widths = hidden.sum(dim=1).numpy()
    assert widths.max() == 20
    assert abs(widths.mean() - 10) < 4 * np.sqrt((21**2 - 1) / 12 / 4000)


def test_warped_utterance_equals_interpolation_at_one_common_factor() -> None:
    torch.manual_seed(0)
    features = torch.randn(5, 7, 80).cumsum(dim=2)
    warped = warp_frequency(features, 0.1)
    bins = np.arange(80)
    for before, after in zip(features.numpy(), warped.numpy(), strict=True):
        factors = np.linspace(0.9, 1.1, 4001)
        errors = [np.abs(np.interp(bins * factor, bins, before[0]) - after[0]).max() for factor in factors]
        factor = factors[int(np.argmin(errors))]
        assert min(errors) < 0.02
        for one, other in zip(before, after, strict=True):
            np.testing.assert_allclose(np.interp(bins * factor, bins, one), other, atol=0.05)
    assert not torch.allclose(warped[0], features[0])


def test_the_generator_decides_everything() -> None:
    features, lengths, config = torch.randn(3, 50, 80), torch.tensor([50, 40, 30]), AugmentConfig(warp=0.1)
    torch.manual_seed(4)
    first = augment(features, lengths, config)
    torch.manual_seed(4)
    assert torch.equal(first, augment(features, lengths, config))


def test_noise_fills_the_quiet_frames_and_leaves_the_loud_ones() -> None:
    torch.manual_seed(0)
    features = torch.cat([torch.full((1, 100, 20), -1.5), torch.full((1, 100, 20), 2.5)], dim=1)
    features[:, ::7] += 0.1
    config = AugmentConfig(noise=0.0, frequency_masks=0, time_width=0)
    lengths = torch.tensor([200])
    contrast = []
    for _ in range(100):
        noisy = augment(features, lengths, config)[0]
        torch.testing.assert_close(noisy.mean(0), torch.zeros(20), atol=1e-4, rtol=0)
        torch.testing.assert_close(noisy.std(0, correction=0), torch.ones(20), atol=1e-2, rtol=0)
        loud, quiet = noisy[100:].std(0), noisy[:100].std(0)
        contrast.append(float((quiet / loud).mean()))
    assert np.mean(np.array(contrast) > 1.5) > 0.5  # fluctuates where the noise is heard, seldom where speech is louder


def test_padding_has_no_part_in_the_normalisation_after_noise() -> None:
    features = torch.randn(2, 60, 20)
    config = AugmentConfig(noise=-1.0, frequency_masks=0, time_width=0)
    noisy = augment(features, torch.tensor([60, 25]), config)
    torch.testing.assert_close(noisy[1, :25].mean(0), torch.zeros(20), atol=1e-4, rtol=0)


def test_equalisation_is_one_smooth_curve_for_all_frames() -> None:
    torch.manual_seed(0)
    config = AugmentConfig(equalise=0.5, frequency_masks=0, time_width=0)
    features = torch.randn(500, 4, 80)
    curves = augment(features, torch.full((500,), 4), config) - features
    torch.testing.assert_close(curves, curves[:, :1].expand_as(curves), atol=1e-5, rtol=0)
    assert curves[:, 0].diff(dim=1).abs().max() < 0.5
    assert abs(float(curves[:, 0].std()) - 0.5) < 0.1
