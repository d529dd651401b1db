"""Learning-rate schedules as one function of the update number."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Linear warm-up over `warmup` of all updates, constant for `hold`, then decay to `final_scale` of the peak.

    The first update has `initial_scale` of the peak, one step of the warm-up where that is None. With `decay:
    exponential` this is the tri-stage schedule of wav2vec 2.0 fine-tuning.
    """

    peak: float = 1e-3
    warmup: float = 0.1
    hold: float = 0.4
    decay: Literal["linear", "cosine", "exponential"] = "linear"
    final_scale: float = 0.05
    initial_scale: float | None = None

    def __post_init__(self) -> None:
        if not (self.warmup >= 0 and self.hold >= 0 and self.warmup + self.hold <= 1):
            raise ValueError(
                f"warmup ({self.warmup}) and hold ({self.hold}) are shares of all updates and at most 1 together"
            )
        if not 0 < self.final_scale <= 1:
            raise ValueError(f"final_scale must be in (0, 1], not {self.final_scale}")
        if self.initial_scale is not None and not 0 <= self.initial_scale <= 1:
            raise ValueError(f"initial_scale must be in [0, 1], not {self.initial_scale}")


def learning_rate(config: ScheduleConfig, update: int, max_updates: int) -> float:
    """Learning rate of the update numbered `update`, counted from 0."""
    warmup, hold = config.warmup * max_updates, config.hold * max_updates
    if update < warmup:
        first = 1 / (warmup + 1) if config.initial_scale is None else config.initial_scale
        return config.peak * (first + (1 - first) * update / warmup)
    if update < warmup + hold:
        return config.peak
    share = min(1.0, (update - warmup - hold) / max(1.0, max_updates - warmup - hold))
    if config.decay == "linear":
        scale = 1 - share * (1 - config.final_scale)
    elif config.decay == "cosine":
        scale = config.final_scale + (1 - config.final_scale) * (1 + math.cos(math.pi * share)) / 2
    else:
        scale = config.final_scale**share
    return config.peak * scale
