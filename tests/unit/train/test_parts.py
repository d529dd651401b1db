"""Parts of a module with optimisers of their own, tasks that remember, and trainings that end themselves."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from speechkit.train.distributed import World
from speechkit.train.optimise import PartConfig
from speechkit.train.schedule import ScheduleConfig
from speechkit.train.trainer import TrainConfig, Trainer, Validation

CONSTANT = {"warmup": 0.0, "hold": 1.0}
FIRST = PartConfig(weight_decay=0.1, betas=(0.5, 0.9), eps=1e-6, schedule=ScheduleConfig(peak=0.01, **CONSTANT))
SECOND = PartConfig(weight_decay=0.0, betas=(0.8, 0.99), eps=1e-4, schedule=ScheduleConfig(peak=0.03, **CONSTANT))


class KilledError(Exception):
    """Stands for a killed process."""


class Data:
    def epoch(self, epoch: int, skip: int) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(epoch)
        batches = [torch.randn(4, 3, generator=generator, dtype=torch.float64) for _ in range(5)]
        yield from batches[skip:]


class TwoParts:
    """A module whose parts learn in turn; its count of updates and the end of the training survive a resume."""

    def __init__(self, stop_at: int = 100, dies_at: int = -1) -> None:
        torch.manual_seed(0)
        parts = {"first": nn.Linear(3, 2, bias=False), "second": nn.Linear(2, 1, bias=False)}
        self.module: nn.Module = nn.ModuleDict(parts).double()
        self.update = lambda: 0
        self.seen: list[int] = []
        self.stop_at, self.dies_at = stop_at, dies_at

    def parts(self) -> Mapping[str, tuple[nn.Module, PartConfig]]:
        first, second = self.module.children()
        return {"first": (first, FIRST), "second": (second, SECOND)}

    def loss(self, model: nn.Module, batch: Tensor) -> tuple[Tensor, float, dict[str, float]]:
        if self.update() == self.dies_at:
            raise KilledError
        self.seen.append(self.update())
        first, second = model.children()
        hidden = first(batch)
        if self.update() % 2:
            return second(hidden.detach()).square().sum(), 4.0, {"odd": float(self.update())}
        return (hidden @ second.weight.detach().T).square().sum(), 4.0, {"even": float(self.update())}  # type: ignore[operator]

    def validate(self) -> Validation:
        reason = "seen enough" if len(self.seen) >= self.stop_at else ""
        return Validation(float(len(self.seen)), {"seen": float(len(self.seen))}, [], reason)

    def describe(self, batch: Tensor) -> str:
        return "a batch"

    def state(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def restore(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]


def config(**changes: Any) -> TrainConfig:
    values = {
        "max_updates": 10,
        "validate_every": 4,
        "save_every": 3,
        "log_every": 5,
        "average_best": 1,
        "clip_norm": 1e9,
    }
    return TrainConfig(**{**values, **changes})


def trainer(folder: Path, task: TwoParts, **changes: Any) -> "Trainer[Tensor]":
    return Trainer(config(**changes), task, Data(), folder, seed=1, world=World())


def test_each_part_is_what_an_adam_of_its_own_makes_of_it(tmp_path: Path) -> None:
    task, other = TwoParts(), TwoParts()
    adams = [
        torch.optim.AdamW(part.parameters(), each.schedule.peak, each.betas, each.eps, each.weight_decay)
        for part, each in other.parts().values()
    ]
    batches = [batch for epoch in range(2) for batch in Data().epoch(epoch, 0)]
    for update, batch in enumerate(batches):
        other.update = lambda update=update: update  # type: ignore[misc]
        adams[update % 2].zero_grad()
        (other.loss(other.module, batch)[0] / 4).backward()  # type: ignore[no-untyped-call]
        adams[update % 2].step()
    trainer(tmp_path, task, validate_every=10).run()
    for name, each in other.module.named_parameters():
        torch.testing.assert_close(task.module.get_parameter(name), each)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    first = next(line for line in lines if line["kind"] == "train" and line["update"] == 5)
    # Updates 3 and 4, for the log begins anew with the checkpoint after the third.
    assert (first["odd"], first["even"]) == (3.0, 4.0)
    assert (first["learning_rate_first"], first["learning_rate_second"]) == (0.01, 0.03)


def test_killed_and_resumed_it_ends_the_same(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole", TwoParts()).run()
    for dies_at in (5, 8):
        with pytest.raises(KilledError):
            trainer(tmp_path / "killed", TwoParts(dies_at=dies_at)).run()
    task = TwoParts()
    resumed = trainer(tmp_path / "killed", task).run()
    assert task.seen == list(range(10))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_validation_may_end_the_training_for_good(tmp_path: Path) -> None:
    ended = trainer(tmp_path, TwoParts(stop_at=6))
    weights = ended.run()
    assert (ended.progress.update, ended.progress.stopped) == (8, "seen enough")
    task = TwoParts(dies_at=8)
    again = trainer(tmp_path, task)
    assert all(torch.equal(weights[name], value) for name, value in again.run().items())
    assert again.progress.stopped == "seen enough"


def test_a_state_of_before_parts_and_stops_is_read(tmp_path: Path) -> None:
    """Checkpoints that older versions wrote have no reason of a stop."""
    trainer(tmp_path, TwoParts(), max_updates=4).run()
    state = tmp_path / "checkpoints" / "update-00000004" / "state.json"
    document = json.loads(state.read_text())
    del document["stopped"]
    state.write_text(json.dumps(document))
    task = TwoParts()
    trainer(tmp_path, task, max_updates=6).run()
    assert task.seen == list(range(6))
