"""Each symptom of a training that goes wrong is named after it has lasted, and not before."""

import json
import re

import pytest

from speechkit.tasks.gan_selection import Figures
from speechkit.tasks.gan_watch import Watch, WatchConfig

INPUTS = [10, 14, 20, 31, 12, 25]
CONFIG = WatchConfig(start=100, patience=3, evenness=0.4, accuracy=0.98)


def figures(evenness: float = 15.0, used: int = 20) -> Figures:
    return Figures(-100.0, 90, 6, used, 20, evenness)


def judged(
    watch: Watch, updates: range, lengths: list[int], found: Figures, accuracy: float, losses: list[float]
) -> str:
    for update, loss in zip(updates, losses, strict=True):
        watch.note({"discriminator_accuracy": accuracy})
        watch.note({"generator_loss": loss})
        if verdict := watch.judge(update, found, lengths, INPUTS):
            return f"{update}: {verdict}"
    return ""


HEALTHY = [6, 9, 13, 20, 8, 16]
GROWING = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


@pytest.mark.parametrize(
    ("lengths", "found", "accuracy", "losses", "message"),
    [
        (HEALTHY, figures(), 0.9, GROWING, ""),
        (HEALTHY, figures(), 0.999, [1.0] * 6, ""),  # it is often right, but the generator is not losing more
        (
            HEALTHY,
            figures(2.5, 4),
            0.9,
            GROWING,
            "130: mode collapse.*used few symbols .last 4 of 20.*diversity_weight",
        ),
        ([0] * 6, figures(1.0, 0), 0.9, GROWING, "130: mode collapse"),
        ([5] * 6, figures(), 0.9, GROWING, "130: transcripts of constant length.*5.0 symbols"),
        (HEALTHY, figures(), 0.995, GROWING, "140: the discriminator wins.*98 %.*penalty_weight"),
    ],
)
def test_symptoms(lengths: list[int], found: Figures, accuracy: float, losses: list[float], message: str) -> None:
    verdict = judged(Watch(CONFIG, 16.0), range(110, 170, 10), lengths, found, accuracy, losses)
    if not message:
        assert verdict == ""
        return
    assert re.match(message, verdict), verdict
    assert "\n" not in verdict


def test_a_generator_that_still_improves_does_not_lose() -> None:
    """The discriminator is right nearly always where little speech and a discriminator of its size meet."""
    watch = Watch(CONFIG, 16.0)
    for number, loss in enumerate(GROWING):
        watch.note({"discriminator_accuracy": 1.0})
        watch.note({"generator_loss": loss})
        better = Figures(-100.0 + 5 * number, 90, 6, 20, 20, 15.0)
        assert watch.judge(110 + 10 * number, better, HEALTHY, INPUTS) == ""


def test_nothing_is_judged_before_the_start() -> None:
    assert judged(Watch(CONFIG, 16.0), range(10, 70, 10), [5] * 6, figures(1.0, 1), 1.0, GROWING) == ""


def test_a_symptom_that_goes_away_begins_anew() -> None:
    watch = Watch(CONFIG, 16.0)
    for number in range(12):
        found = figures() if number % 3 == 2 else figures(2.0)
        assert watch.judge(110 + 10 * number, found, HEALTHY, INPUTS) == ""


def test_what_was_counted_goes_through_json_and_an_update_counts_once() -> None:
    whole = judged(Watch(CONFIG, 16.0), range(110, 170, 10), HEALTHY, figures(), 0.999, GROWING)
    watch = Watch(CONFIG, 16.0)
    for update, loss in zip(range(110, 170, 10), GROWING, strict=True):
        watch.note({"discriminator_accuracy": 0.999})
        state = json.loads(json.dumps(watch.state()))
        watch = Watch(CONFIG, 16.0)
        watch.restore(state)
        watch.note({"generator_loss": loss})
        verdict = watch.judge(update, figures(), HEALTHY, INPUTS)
        assert watch.judge(update, figures(), HEALTHY, INPUTS) == verdict
        if verdict:
            break
    assert f"{update}: {verdict}" == whole
