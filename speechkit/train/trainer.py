"""The one training loop: accumulation, clipping, validation, checkpoints and exact resume.

The randomness of update k depends only on (seed, rank, k), and batches only on
(seed, epoch), so a training that was killed and resumed gives the numbers of an
uninterrupted one.
"""

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from speechkit.common.errors import SpeechkitError
from speechkit.common.seeds import seed_everything
from speechkit.train.checkpoint import CheckpointFolder, optimizer_tensors, restore_optimizer
from speechkit.train.distributed import World
from speechkit.train.log import Totals, TrainingLog
from speechkit.train.optimise import PartConfig, adamw, parameter_groups
from speechkit.train.schedule import ScheduleConfig, learning_rate

log = logging.getLogger(__name__)
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
    """What a validation found: the smallest `criterion` is best, `samples` are (reference, hypothesis).

    Where `stop` is not empty the training ends here, for the reason that it tells.
    """

    criterion: float
    metrics: dict[str, float]
    samples: list[tuple[str, str]]
    stop: str = ""


class NonFiniteError(SpeechkitError):
    """Loss or gradient were NaN or infinite in too many updates in a row."""


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


@runtime_checkable
class Partitioned(Protocol):
    """A task whose module has parts with optimisation of their own.

    An update steps those parameters that its loss has a gradient for: by leaving a part out of the graph the task says
    which parts learn, and in the others neither weights nor moments change.
    """

    def parts(self) -> Mapping[str, tuple[nn.Module, PartConfig]]:
        """The parts by name, which share no parameter and have all of them together."""
        ...


@runtime_checkable
class Stateful(Protocol):
    """A task that remembers more than weights from one validation to the next; the checkpoints keep it."""

    def state(self) -> dict[str, Any]:
        """What to keep, as JSON-able values."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""
        ...


class Batches(Protocol[BatchGiven]):
    """The training data: the batches of an epoch, in an order fixed by the epoch's number."""

    def epoch(self, epoch: int, skip: int) -> Iterable[BatchGiven]:
        """Batches of `epoch` after the first `skip`."""
        ...


@dataclass
class Progress:
    """Where a training stands, and why it was stopped early if it was; kept in every checkpoint."""

    update: int = 0
    epoch: int = 0
    batch: int = 0
    seconds: float = 0.0
    validations: dict[int, float] = field(default_factory=dict)
    stopped: str = ""

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
        self.optimizer = _optimizer(task, config, world.device)
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
        totals = Totals()
        start = time.monotonic()
        while self.progress.update < self.config.max_updates and not self.progress.stopped:
            self._update(model, stream, totals)
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
        if isinstance(self.task, Stateful):
            self.task.restore(state.pop("task"))
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

    def _update(self, model: nn.Module, stream: Iterator[Batch], totals: Totals) -> None:
        """One update of the weights; what it finds is added to `totals`."""
        config, update = self.config, self.progress.update
        seed_everything(self.seed, "update", update, "rank", self.world.rank)
        model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(group["schedule"], update, config.max_updates)
        self.optimizer.zero_grad()
        total, terms = 0.0, 0.0
        for index in range(config.accumulate):
            batch = next(stream)
            with self._no_sync(model, last=index == config.accumulate - 1):
                with torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.bf16):
                    loss, count, figures = self.task.loss(model, batch)
                loss.backward()  # type: ignore[no-untyped-call]
            total, terms = total + float(loss.detach()), terms + count
            totals.add(figures)
        norm = self._step(terms, batch)
        if norm is None:
            total, terms, norm = 0.0, 0.0, 0.0
        totals.loss, totals.count = totals.loss + total, totals.count + terms
        totals.grad_norms.append(norm)
        self.progress.update += 1

    @staticmethod
    def _no_sync(model: nn.Module, last: bool) -> contextlib.AbstractContextManager[None]:
        wrapped = isinstance(model, nn.parallel.DistributedDataParallel)
        return contextlib.nullcontext() if last or not wrapped else model.no_sync()  # type: ignore[operator]

    def _step(self, count: float, batch: Batch) -> float | None:
        """Divide the summed gradients by the count over all processes, clip, and update.

        Returns their norm before clipping; None where it is not finite and the update was left out.
        """
        total = self.world.total(count)
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
                raise NonFiniteError(
                    f"the loss is not finite in {self.nonfinite} updates in a row, last with "
                    f"{self.task.describe(batch)}; lower train.schedule.peak, or look at these utterances"
                )
            return None
        self.nonfinite = 0
        self.optimizer.step()
        return float(norm)

    def _after_update(self, totals: Totals) -> None:
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

    def _log(self, totals: Totals) -> None:
        if not self.world.is_main:
            return
        values = totals.means()
        for group in self.optimizer.param_groups:
            values["_".join(filter(None, ("learning_rate", group["name"])))] = group["lr"]
        values["epoch"] = float(self.progress.epoch)
        values["seconds_per_update"] = self.progress.seconds / self.progress.update
        self.record.add("train", self.progress.update, values)

    def _validate(self) -> None:
        if self.world.is_main:
            result = self._evaluate()
            self.progress.validations[self.progress.update] = result.criterion
            self.progress.stopped = result.stop
            self.record.add("dev", self.progress.update, result.metrics)
            self.record.add_samples(self.progress.update, result.samples)
        if self.world.any(torch.tensor(bool(self.progress.stopped))):
            self.progress.stopped = self.progress.stopped or "the main process has stopped"
            log.warning("stopped after %d updates: %s", self.progress.update, self.progress.stopped)

    def _evaluate(self) -> Validation:
        self.task.module.eval()
        with torch.inference_mode():
            return self.task.validate()

    def _save(self) -> None:
        if not self.world.is_main:
            return
        state = dataclasses.asdict(self.progress)
        if isinstance(self.task, Stateful):
            state["task"] = self.task.state()
        weights = self.task.module.state_dict()
        self.checkpoints.save(self.progress.update, weights, optimizer_tensors(self.optimizer), state)
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


def _optimizer(task: Task[Any], config: TrainConfig, device: torch.device) -> torch.optim.Optimizer:
    whole = PartConfig(weight_decay=config.weight_decay, betas=config.betas, eps=config.eps, schedule=config.schedule)
    parts = task.parts() if isinstance(task, Partitioned) else {"": (task.module, whole)}
    groups = [group for name, (module, part) in parts.items() for group in parameter_groups(module, part, name)]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=config.momentum)
    return adamw(groups, device)
