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
