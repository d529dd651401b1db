"""The one training loop: accumulation, clipping, validation, checkpoints and exact resume.

The randomness of update k depends only on (seed, rank, k), and batches only on
(seed, epoch), so a training that was killed and resumed gives the numbers of an
uninterrupted one.
"""

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from speechkit.common.errors import SpeechkitError
from speechkit.common.seeds import seed_everything
from speechkit.train.checkpoint import CheckpointFolder, optimizer_tensors, restore_optimizer
from speechkit.train.distributed import World
from speechkit.train.log import TrainingLog
from speechkit.train.schedule import ScheduleConfig, learning_rate

log = logging.getLogger(__name__)
FUSED_SINCE = (2, 4)  # torch, on CPUs; that of k2's environment is older
Batch = TypeVar("Batch")
BatchTaken = TypeVar("BatchTaken", contravariant=True)
BatchGiven = TypeVar("BatchGiven", covariant=True)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How long and how to optimise; every count is in updates of the weights.

    AdamW takes `betas` and `eps`, stochastic gradient descent `momentum`.
    """

    max_updates: int = 1000
    validate_every: int = 100
    save_every: int = 100
    log_every: int = 20
    accumulate: int = 1
    clip_norm: float = 5.0
    optimizer: Literal["adamw", "sgd"] = "adamw"
    weight_decay: float = 0.01
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-8
    average_best: int = 5
    max_nonfinite: int = 10
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)

    def __post_init__(self) -> None:
        for name in ("max_updates", "validate_every", "save_every", "log_every", "accumulate", "average_best"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")


@dataclass(frozen=True)
class Validation:
    """What a validation found: the smallest `criterion` is best, `samples` are (reference, hypothesis)."""

    criterion: float
    metrics: dict[str, float]
    samples: list[tuple[str, str]]


class Task(Protocol[BatchTaken]):
    """What a training method gives the trainer."""

    module: nn.Module

    def loss(self, model: nn.Module, batch: BatchTaken) -> tuple[Tensor, float, dict[str, float]]:
        """Sum of the losses of a batch, the count to divide by, and figures to log the mean over batches of."""
        ...

    def validate(self) -> Validation:
        """Evaluate `module` on the development set."""
        ...

    def describe(self, batch: BatchTaken) -> str:
        """Name the utterances of a batch for an error message."""
        ...


@runtime_checkable
class Scheduled(Protocol):
    """A task whose loss changes in the course of the training; the trainer sets what counts the updates so far."""

    update: Callable[[], int]


class Batches(Protocol[BatchGiven]):
    """The training data: the batches of an epoch, in an order fixed by the epoch's number."""

    def epoch(self, epoch: int, skip: int) -> Iterable[BatchGiven]:
        """Batches of `epoch` after the first `skip`."""
        ...


@dataclass
class Progress:
    """Where a training stands; kept in every checkpoint."""

    update: int = 0
    epoch: int = 0
    batch: int = 0
    seconds: float = 0.0
    validations: dict[int, float] = field(default_factory=dict)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Progress":
        """Rebuild from JSON, whose keys are strings."""
        return cls(**{**state, "validations": {int(update): rate for update, rate in state["validations"].items()}})


class Trainer(Generic[Batch]):
    """Trains `task.module` on `batches` and writes checkpoints and logs to `folder`."""

    def __init__(
        self, config: TrainConfig, task: Task[Batch], batches: Batches[Batch], folder: Path, seed: int, world: World
    ) -> None:
        self.config, self.task, self.batches, self.seed, self.world = config, task, batches, seed, world
        self.folder = folder
        self.checkpoints = CheckpointFolder(folder / "checkpoints")
        self.progress = Progress()
        if isinstance(task, Scheduled):
            task.update = lambda: self.progress.update
        task.module.to(world.device)
        self.optimizer = _optimizer(task.module, config, world.device)
        self.bf16 = config.precision == "bf16" or (config.precision == "auto" and world.device.type == "cuda")
        self.nonfinite = 0

    def run(self) -> dict[str, Tensor]:
        """Train to `max_updates` from the newest checkpoint, if any.

        Returns the averaged best weights in the main process, nothing in the others.
        """
        self._restore()
        if self.world.is_main:
            self.record = TrainingLog(self.folder, self.progress.update)
        model = self.world.wrap(self.task.module)
        stream = self._stream()
        totals: dict[str, float] = {}
        start = time.monotonic()
        while self.progress.update < self.config.max_updates:
            for name, value in self._update(model, stream).items():
                totals[name] = totals.get(name, 0.0) + value
            self.progress.seconds += time.monotonic() - start
            start = time.monotonic()
            self._after_update(totals)
        if not self.world.is_main:
            return {}
        self.record.close()
        return self._best()

    def _restore(self) -> None:
        updates = self.checkpoints.updates()
        if not updates:
            return
        weights, moments, state = self.checkpoints.load(updates[-1])
        self.task.module.load_state_dict(weights)
        restore_optimizer(self.optimizer, moments)
        self.progress = Progress.from_state(state)
        log.info("resuming after update %d of %d", self.progress.update, self.config.max_updates)

    def _stream(self) -> Iterator[Batch]:
        while True:
            before = self.progress.batch
            for batch in self.batches.epoch(self.progress.epoch, self.progress.batch):
                self.progress.batch += 1
                yield batch
            if self.progress.batch == before == 0:
                raise SpeechkitError("the training set gives no batch; every utterance was left out or --data is empty")
            self.progress.epoch += 1
            self.progress.batch = 0

    def _update(self, model: nn.Module, stream: Iterator[Batch]) -> dict[str, float]:
        """One update of the weights; returns sums of loss, count and the task's further figures over its batches."""
        config, update = self.config, self.progress.update
        seed_everything(self.seed, "update", update, "rank", self.world.rank)
        model.train()
        rate = learning_rate(config.schedule, update, config.max_updates)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        sums: dict[str, float] = {"loss": 0.0, "count": 0.0, "updates": 1.0, "batches": float(config.accumulate)}
        for index in range(config.accumulate):
            batch = next(stream)
            with self._no_sync(model, last=index == config.accumulate - 1):
                with torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.bf16):
                    loss, count, figures = self.task.loss(model, batch)
                loss.backward()  # type: ignore[no-untyped-call]
            for name, value in {"loss": float(loss.detach()), "count": count, **figures}.items():
                sums[name] = sums.get(name, 0.0) + value
        sums["grad_norm"] = self._step(sums, batch)
        self.progress.update += 1
        return sums

    @staticmethod
    def _no_sync(model: nn.Module, last: bool) -> contextlib.AbstractContextManager[None]:
        wrapped = isinstance(model, nn.parallel.DistributedDataParallel)
        return contextlib.nullcontext() if last or not wrapped else model.no_sync()  # type: ignore[operator]

    def _step(self, sums: dict[str, float], batch: Batch) -> float:
        """Divide the summed gradients by the count over all processes, clip, and update unless they are not finite."""
        total = self.world.total(sums["count"])
        parameters = [parameter for parameter in self.task.module.parameters() if parameter.grad is not None]
        for parameter in parameters:
            assert parameter.grad is not None
            parameter.grad.mul_(self.world.size / max(total, 1.0))
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.config.clip_norm)
        if self.world.any(~torch.isfinite(norm)):
            self.nonfinite += 1
            log.warning(
                "update %d skipped: the gradient is not finite (%s)", self.progress.update, self.task.describe(batch)
            )
            if self.nonfinite >= self.config.max_nonfinite:
                raise SpeechkitError(
                    f"the loss is not finite in {self.nonfinite} updates in a row, last with "
                    f"{self.task.describe(batch)}; lower train.schedule.peak, or look at these utterances"
                )
            sums["loss"] = sums["count"] = 0.0
            return 0.0
        self.nonfinite = 0
        self.optimizer.step()
        return float(norm)

    def _after_update(self, totals: dict[str, float]) -> None:
        config, update = self.config, self.progress.update
        last = update == config.max_updates
        validate = last or update % config.validate_every == 0
        save = validate or update % config.save_every == 0
        if save or update % config.log_every == 0:
            self._log(totals)
            totals.clear()
        if validate:
            self._validate()
        if save:
            self._save()

    def _log(self, totals: dict[str, float]) -> None:
        if not self.world.is_main:
            return
        updates, batches, count = (totals.pop(name) for name in ("updates", "batches", "count"))
        values = {"loss": totals.pop("loss") / max(count, 1.0), "grad_norm": totals.pop("grad_norm") / updates}
        values |= {name: value / batches for name, value in totals.items()}
        values["learning_rate"] = self.optimizer.param_groups[0]["lr"]
        values["epoch"] = float(self.progress.epoch)
        values["seconds_per_update"] = self.progress.seconds / self.progress.update
        self.record.add("train", self.progress.update, values)

    def _validate(self) -> None:
        if not self.world.is_main:
            return
        result = self._evaluate()
        self.progress.validations[self.progress.update] = result.criterion
        self.record.add("dev", self.progress.update, result.metrics)
        self.record.add_samples(self.progress.update, result.samples)

    def _evaluate(self) -> Validation:
        self.task.module.eval()
        with torch.inference_mode():
            return self.task.validate()

    def _save(self) -> None:
        if not self.world.is_main:
            return
        self.checkpoints.save(
            self.progress.update,
            self.task.module.state_dict(),
            optimizer_tensors(self.optimizer),
            dataclasses.asdict(self.progress),
        )
        self.checkpoints.keep(set(self._ranking()[: self.config.average_best]))

    def _ranking(self) -> list[int]:
        """Validated updates, best first; of equals the later one."""
        rates = self.progress.validations
        return sorted(rates, key=lambda update: (rates[update], -update))

    def _best(self) -> dict[str, Tensor]:
        """The mean of the best checkpoints, or the best one where it is better on the development set."""
        ranking = self._ranking()[: self.config.average_best]
        best = self.checkpoints.average(ranking[:1])
        if len(ranking) == 1:
            return best
        mean = self.checkpoints.average(ranking)
        self.task.module.load_state_dict(mean)
        averaged, single = self._evaluate().criterion, self.progress.validations[ranking[0]]
        log.info(
            "on dev (less is better): best checkpoint %.4g, mean of the best %d %.4g", single, len(ranking), averaged
        )
        if averaged <= single:
            return mean
        self.task.module.load_state_dict(best)
        return best


def _optimizer(module: nn.Module, config: TrainConfig, device: torch.device) -> torch.optim.Optimizer:
    groups, rate = _parameter_groups(module, config.weight_decay), config.schedule.peak
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=config.momentum)
    version = tuple(int(number) for number in torch.__version__.split(".")[:2])
    has_kernels = device.type in ("cpu", "cuda") and version >= FUSED_SINCE
    fused: dict[str, Any] = {"fused": True} if has_kernels else {}
    return torch.optim.AdamW(groups, lr=rate, betas=config.betas, eps=config.eps, **fused)


def _parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices with weight decay, vectors (biases, norms) without."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
