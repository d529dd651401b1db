"""What goes wrong with generators and discriminators, noticed while they train and said with what to do about it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any

from speechkit.tasks.gan_selection import Figures

CONSTANT = 0.1  # how much transcripts vary in length, as a share of how much the inputs do


@dataclass(frozen=True, kw_only=True)
class WatchConfig:
    """When a training is given up: after `patience` validations in a row with one symptom, none before `start` updates.

    The symptoms: the transcripts' symbols have a perplexity of less than `evenness` times that of the text; the
    transcripts have one length whatever the input's; the discriminator is right in more than `accuracy` of all cases,
    the generator's loss has grown and its transcripts are not more plausible than ever.
    """

    start: int = 1000
    patience: int = 5
    evenness: float = 0.75
    accuracy: float = 0.98

    def __post_init__(self) -> None:
        if self.patience < 1 or self.start < 0:
            raise ValueError("patience is at least 1, start is not negative")


class Watch:
    """Counts how long each symptom has lasted; `state` and `restore` carry that through a resume.

    Args:
        text_evenness: perplexity of the distribution of symbols in the text.

    Attributes:
        verdict: why the training should stop, empty where it should not.
    """

    def __init__(self, config: WatchConfig, text_evenness: float) -> None:
        self.config, self.text_evenness = config, text_evenness
        self._lasted: dict[str, int] = {}
        self._accuracies: list[float] = []
        self._losses: list[float] = []
        self._loss_before = self._least_metric = math.inf
        self._judged = 0
        self.verdict = ""

    def note(self, figures: dict[str, float]) -> None:
        """Note what an update of one of the two says."""
        if "discriminator_accuracy" in figures:
            self._accuracies.append(figures["discriminator_accuracy"])
        if "generator_loss" in figures:
            self._losses.append(figures["generator_loss"])

    def judge(self, update: int, figures: Figures, lengths: Sequence[int], inputs: Sequence[int]) -> str:
        """Why the training should stop, empty where it should not; an update is judged once.

        Args:
            lengths: symbols of each transcript.
            inputs: frames of each utterance.
        """
        if update > self._judged:
            seen = self._symptoms(figures, lengths, inputs)
            self._lasted = {name: self._lasted.get(name, 0) + 1 for name in seen if update >= self.config.start}
            lasting = [seen[name] for name, count in self._lasted.items() if count >= self.config.patience]
            self.verdict = "".join(lasting[:1]).replace("NUMBER", str(self.config.patience))
            self._judged = update
            self._accuracies.clear()
            self._losses.clear()
        return self.verdict

    def _symptoms(self, figures: Figures, lengths: Sequence[int], inputs: Sequence[int]) -> dict[str, str]:
        """What is wrong by name, with NUMBER in place of the validations that it has lasted."""
        found = {}
        if figures.evenness < self.config.evenness * self.text_evenness or not figures.used:
            found["mode collapse"] = (
                f"mode collapse: in NUMBER validations in a row the transcripts used few symbols (last {figures.used} "
                f"of {figures.vocabulary}, with a perplexity of {figures.evenness:.1f}; that of the text is "
                f"{self.text_evenness:.1f}); raise gan.diversity_weight, or take another seed"
            )
        if len(lengths) > 1 and _variation(lengths) < CONSTANT * _variation(inputs):
            found["constant length"] = (
                f"transcripts of constant length: in NUMBER validations in a row they had {fmean(lengths):.1f} symbols "
                f"with a deviation of {pstdev(lengths):.2f}, whatever the input's length; look at the features, or "
                "take another seed"
            )
        accuracy, loss = (fmean(each) if each else math.nan for each in (self._accuracies, self._losses))
        if accuracy > self.config.accuracy and loss > self._loss_before and figures.metric >= self._least_metric:
            found["discriminator"] = (
                f"the discriminator wins: in NUMBER validations in a row it was right in more than "
                f"{100 * self.config.accuracy:g} % of all cases while the generator's loss grew, to {loss:.2f}, and "
                "its transcripts became no better; raise gan.penalty_weight, lower discriminator.schedule.peak, or "
                "take another seed"
            )
        self._loss_before, self._least_metric = loss, min(figures.metric, self._least_metric)
        return found

    def state(self) -> dict[str, Any]:
        """All that was counted, as JSON-able values."""
        return {
            "lasted": self._lasted,
            "accuracies": self._accuracies,
            "losses": self._losses,
            "loss_before": self._loss_before,
            "least_metric": self._least_metric,
            "judged": self._judged,
            "verdict": self.verdict,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""
        self._lasted, self._loss_before = state["lasted"], state["loss_before"]
        self._least_metric = state["least_metric"]
        self._accuracies, self._losses = state["accuracies"], state["losses"]
        self._judged, self.verdict = state["judged"], state["verdict"]


def _variation(values: Sequence[int]) -> float:
    """Deviation as a share of the mean."""
    return pstdev(values) / max(fmean(values), 1e-9)
