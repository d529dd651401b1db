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


def test_noise_fills_the_quiet_frames_and_keeps_normalised_features_normalised() -> None:
    torch.manual_seed(0)
    features = torch.randn(200, 300, 20)
    config = AugmentConfig(noise=0.0, frequency_masks=0, time_width=0)
    noisy = augment(features, torch.full((200,), 300), config)
    torch.testing.assert_close(noisy.mean(dim=(1, 2)), torch.zeros(200), atol=0.1, rtol=0)
    torch.testing.assert_close(noisy.std(dim=(1, 2)), torch.ones(200), atol=0.2, rtol=0)
    loud, quiet = features > 1.5, features < -1.5
    kept = torch.corrcoef(torch.stack([features[loud], noisy[loud]]))[0, 1]
    lost = torch.corrcoef(torch.stack([features[quiet], noisy[quiet]]))[0, 1]
    assert kept > 0.8
    assert lost < 0.3


def test_noise_is_heard_where_speech_is_quieter_only() -> None:
    torch.manual_seed(0)
    features = torch.full((100, 400, 20), -1.0)
    features[:, 200:] = 5.0
    config = AugmentConfig(noise=0.0, frequency_masks=0, time_width=0)
    fluctuation = augment(features, torch.full((100,), 400), config)
    assert fluctuation[:, :200].std(dim=1).mean() > 0.05
    assert fluctuation[:, 200:].std(dim=1).max() < 1e-3
