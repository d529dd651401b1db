import itertools

import pytest

from speechkit.train.schedule import ScheduleConfig, learning_rate


@pytest.mark.parametrize("decay", ["linear", "cosine", "exponential"])
def test_three_stages(decay: str) -> None:
    config = ScheduleConfig(peak=2.0, warmup=0.1, hold=0.4, decay=decay, final_scale=0.05)  # type: ignore[arg-type]
    rates = [learning_rate(config, update, 1000) for update in range(1001)]
    assert rates[0] == pytest.approx(2 / 101)
    assert all(a < b for a, b in itertools.pairwise(rates[:101]))
    assert set(rates[100:500]) == {2.0}
    assert all(a > b for a, b in itertools.pairwise(rates[500:]))
    assert rates[1000] == pytest.approx(0.1)


def test_middle_of_the_decay() -> None:
    def middle(decay: str) -> float:
        config = ScheduleConfig(peak=1.0, warmup=0.0, hold=0.0, decay=decay, final_scale=0.25)  # type: ignore[arg-type]
        return learning_rate(config, 500, 1000)

    assert middle("linear") == pytest.approx(0.625)
    assert middle("cosine") == pytest.approx(0.625)
    assert middle("exponential") == pytest.approx(0.5)


def test_shares_that_exceed_the_whole_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 1 together"):
        ScheduleConfig(warmup=0.6, hold=0.6)


def test_the_first_update_of_the_warm_up() -> None:
    """wav2vec: from 1e-7 in 500 updates to 5e-3, by a cosine to 1e-6 at update 40,000."""
    config = ScheduleConfig(peak=5e-3, warmup=0.0125, hold=0.0, decay="cosine", initial_scale=2e-5, final_scale=2e-4)
    rates = [learning_rate(config, update, 40_000) for update in (0, 250, 500, 20_250, 40_000)]
    assert rates == pytest.approx([1e-7, (1e-7 + 5e-3) / 2, 5e-3, (5e-3 + 1e-6) / 2, 1e-6])
    with pytest.raises(ValueError, match="initial_scale must be in"):
        ScheduleConfig(initial_scale=2.0)
