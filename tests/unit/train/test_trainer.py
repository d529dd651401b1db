"""The trainer on a small regression: resume, accumulation, averaging, and what is not finite."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from speechkit.common.errors import SpeechkitError
from speechkit.common.seeds import seed_everything
from speechkit.train.checkpoint import load_tensors
from speechkit.train.distributed import World
from speechkit.train.schedule import ScheduleConfig
from speechkit.train.trainer import TrainConfig, Trainer, Validation

Sample = tuple[Tensor, Tensor]


class KilledError(Exception):
    """Stands for a killed process."""


class Data:
    """Seven batches per epoch, in an order that the epoch decides; `stop_at` kills the training there."""

    def __init__(self, sizes: tuple[int, ...] = (5, 3, 4, 2, 6, 1, 5), stop_at: int | None = None) -> None:
        generator = torch.Generator().manual_seed(5)
        self.samples = [
            (torch.randn(size, 3, generator=generator), torch.randn(size, 2, generator=generator)) for size in sizes
        ]
        self.seen: list[tuple[int, int]] = []
        self.stop_at = stop_at

    def epoch(self, epoch: int, skip: int) -> Iterator[Sample]:
        order = torch.randperm(len(self.samples), generator=torch.Generator().manual_seed(epoch)).tolist()
        for index in order[skip:]:
            if self.stop_at is not None and len(self.seen) == self.stop_at:
                raise KilledError
            self.seen.append((epoch, index))
            yield self.samples[index]


class Regression:
    def __init__(self, poison: int | None = None) -> None:
        seed_everything(3, "weights")
        self.module: nn.Module = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.3), nn.Linear(8, 2))
        self.poison, self.calls = poison, 0

    def loss(self, model: nn.Module, batch: Sample) -> tuple[Tensor, float, dict[str, float]]:
        self.calls += 1
        inputs, targets = batch
        if self.poison is not None and self.calls >= self.poison:
            inputs = inputs * float("nan")
        return (model(inputs) - targets).square().sum(), float(len(inputs)), {}

    def validate(self) -> Validation:
        probe = self.module(torch.ones(1, 3)).sum().item()
        return Validation(abs(probe), {"probe": probe}, [("a", "b")])

    def describe(self, batch: Sample) -> str:
        return f"utterances of {len(batch[0])} rows"


def config(**changes: object) -> TrainConfig:
    values: dict[str, object] = {
        "max_updates": 20,
        "validate_every": 6,
        "save_every": 4,
        "log_every": 5,
        "average_best": 2,
        "schedule": ScheduleConfig(peak=0.05),
    }
    return TrainConfig(**{**values, **changes})  # type: ignore[arg-type]


def train(folder: Path, data: Data, task: Regression | None = None, **changes: object) -> dict[str, Tensor]:
    return Trainer(config(**changes), task or Regression(), data, folder, seed=1, world=World()).run()


def test_a_killed_training_that_is_run_again_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    whole_data = Data()
    whole = train(tmp_path / "whole", whole_data)
    for stop_at in (9, 4):  # killed twice: once 9 batches in, once 4 batches after the resume
        with pytest.raises(KilledError):
            train(tmp_path / "killed", Data(stop_at=stop_at))
    rest = Data()
    resumed = train(tmp_path / "killed", rest)
    assert rest.seen == whole_data.seen[-len(rest.seen) :]
    assert 0 < len(rest.seen) < 20
    for name in whole:
        assert torch.equal(whole[name], resumed[name]), name
    assert events(tmp_path / "whole") == events(tmp_path / "killed")


def events(folder: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds_per_update"} for line in lines]


def test_only_the_best_and_the_newest_checkpoint_stay(tmp_path: Path) -> None:
    train(tmp_path, Data())
    rates = {line["update"]: abs(line["probe"]) for line in events(tmp_path) if line["kind"] == "dev"}
    assert sorted(rates) == [6, 12, 18, 20]
    best = sorted(rates, key=lambda update: rates[update])[:2]
    names = sorted(item.name for item in (tmp_path / "checkpoints").iterdir())
    assert names == sorted({f"update-{update:08d}" for update in (*best, 20)})


def test_result_is_the_mean_of_the_best_or_the_best(tmp_path: Path) -> None:
    result = train(tmp_path, Data())
    rates = {line["update"]: abs(line["probe"]) for line in events(tmp_path) if line["kind"] == "dev"}
    best = sorted(rates, key=lambda update: rates[update])[:2]
    weights = [load_tensors(tmp_path / "checkpoints" / f"update-{update:08d}" / "model.safetensors") for update in best]
    mean = {name: ((weights[0][name].double() + weights[1][name].double()) / 2).float() for name in result}
    task = Regression()
    task.module.eval()
    task.module.load_state_dict(mean)
    expected = mean if task.validate().criterion <= rates[best[0]] else weights[0]
    for name in result:
        assert torch.equal(result[name], expected[name])


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_stochastic_gradient_descent_is_the_formula_and_resumes(tmp_path: Path, momentum: float) -> None:
    class NoDropout(Regression):
        def __init__(self) -> None:
            super().__init__()
            self.module = nn.Sequential(nn.Linear(3, 2))

    settings: dict[str, object] = {
        "optimizer": "sgd", "momentum": momentum, "weight_decay": 0.0, "clip_norm": 1e9, "average_best": 1,
        "max_updates": 6, "schedule": ScheduleConfig(peak=0.02, warmup=0.0, hold=1.0),
    }  # fmt: skip
    task, data = NoDropout(), Data()
    weights = [each.detach().clone().requires_grad_() for each in task.module.parameters()]
    velocities = [torch.zeros_like(each) for each in weights]
    for inputs, targets in data.epoch(0, 0):
        loss = (inputs @ weights[0].T + weights[1] - targets).square().sum() / len(inputs)
        for index, gradient in enumerate(torch.autograd.grad(loss, weights)):
            velocities[index] = momentum * velocities[index] + gradient
        weights = [(w - 0.02 * v).detach().requires_grad_() for w, v in zip(weights, velocities, strict=True)]
        if len(data.seen) == 6:
            break
    with pytest.raises(KilledError):
        train(tmp_path, Data(stop_at=5), NoDropout(), **settings)
    found = train(tmp_path, Data(), NoDropout(), **settings)
    for expected, name in zip(weights, ("0.weight", "0.bias"), strict=True):
        torch.testing.assert_close(found[name], expected.detach(), atol=1e-6, rtol=1e-5)


def test_accumulation_equals_one_large_batch(tmp_path: Path) -> None:
    class Joined(Data):
        def epoch(self, epoch: int, skip: int) -> Iterator[Sample]:
            rows = list(super().epoch(epoch, 0))
            yield torch.cat([a for a, _ in rows]), torch.cat([b for _, b in rows])

    class NoDropout(Regression):
        def __init__(self) -> None:
            super().__init__()
            self.module = nn.Sequential(nn.Linear(3, 2))

    accumulated = train(tmp_path / "a", Data(), NoDropout(), max_updates=3, accumulate=7)
    joined = train(tmp_path / "b", Joined(), NoDropout(), max_updates=3)
    for name in joined:
        torch.testing.assert_close(accumulated[name], joined[name], atol=1e-6, rtol=1e-5)


def test_figures_are_means_over_batches(tmp_path: Path) -> None:
    class Counted(Regression):
        def loss(self, model: nn.Module, batch: Sample) -> tuple[Tensor, float, dict[str, float]]:
            loss, count, _ = super().loss(model, batch)
            return loss, count, {"rows": count}

    train(tmp_path, Data(), Counted(), max_updates=4, log_every=4, accumulate=7)
    (line,) = (line for line in events(tmp_path) if line["kind"] == "train")
    assert line["rows"] == pytest.approx(26 / 7)


def test_a_loss_that_stays_not_finite_stops_with_one_line_that_names_the_batch(tmp_path: Path) -> None:
    with pytest.raises(SpeechkitError, match=r"not finite in 3 updates in a row.*rows.*lower train\.schedule\.peak"):
        train(tmp_path, Data(), Regression(poison=8), max_nonfinite=3)
    newest = max((tmp_path / "checkpoints").iterdir())
    assert all(torch.isfinite(value).all() for value in load_tensors(newest / "model.safetensors").values())


def test_an_empty_training_set_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SpeechkitError, match="no batch"):
        train(tmp_path, Data(sizes=()))
