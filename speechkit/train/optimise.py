"""AdamW over the parts of a module, of which each may have settings of its own."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from speechkit.train.schedule import ScheduleConfig

FUSED_SINCE = (2, 4)  # torch, on CPUs; that of k2's environment is older


@dataclass(frozen=True, kw_only=True)
class PartConfig:
    """How AdamW optimises one part of a module, in place of what `TrainConfig` says for all of it."""

    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-8
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)


def parameter_groups(module: nn.Module, config: PartConfig, name: str) -> list[dict[str, Any]]:
    """The parameters of a part that learn, matrices with weight decay, vectors (biases, norms) without."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    shared = {
        "name": name, "betas": config.betas, "eps": config.eps, "lr": config.schedule.peak, "schedule": config.schedule,
    }  # fmt: skip
    return [
        {**shared, "params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {**shared, "params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def adamw(groups: Sequence[dict[str, Any]], device: torch.device) -> torch.optim.Optimizer:
    """AdamW by the kernels that torch has for `device`."""
    version = tuple(int(number) for number in torch.__version__.split(".")[:2])
    has_kernels = device.type in ("cpu", "cuda") and version >= FUSED_SINCE
    fused: dict[str, Any] = {"fused": True} if has_kernels else {}
    return torch.optim.AdamW(groups, **fused)
