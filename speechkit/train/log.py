"""The record of a training: one JSON line per event, and TensorBoard."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechkit.common.files import disk_errors, write_text

log = logging.getLogger(__name__)


@dataclass
class Totals:
    """What the updates since the last line of the log have found."""

    loss: float = 0.0
    count: float = 0.0
    grad_norms: list[float] = field(default_factory=list)
    figures: dict[str, list[float]] = field(default_factory=dict)

    def add(self, figures: Mapping[str, float]) -> None:
        """Note the figures of a batch."""
        for name, value in figures.items():
            self.figures.setdefault(name, []).append(value)

    def means(self) -> dict[str, float]:
        """The loss per count, and each further figure as a mean over the batches that have it."""
        values = {"loss": self.loss / max(self.count, 1.0), "grad_norm": _mean(self.grad_norms)}
        return values | {name: _mean(found) for name, found in self.figures.items()}

    def clear(self) -> None:
        """Begin anew."""
        self.loss = self.count = 0.0
        self.grad_norms.clear()
        self.figures.clear()


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


class TrainingLog:
    """Appends to `log.jsonl` and `tensorboard/`; on resume, forgets what came after update `resume_from`."""

    def __init__(self, folder: Path, resume_from: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.path = folder / "log.jsonl"
        kept = [line for line in self._lines() if json.loads(line)["update"] <= resume_from] if resume_from else []
        write_text(self.path, "".join(f"{line}\n" for line in kept))
        self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=resume_from + 1)

    def _lines(self) -> list[str]:
        return self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []

    def add(self, kind: str, update: int, values: dict[str, Any]) -> None:
        """Record `values`; numbers also go to TensorBoard under `<kind>/<name>`."""
        with disk_errors(self.path), self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"kind": kind, "update": update, **values}, ensure_ascii=False) + "\n")
        for name, value in values.items():
            if isinstance(value, (int, float)):
                self.writer.add_scalar(f"{kind}/{name}", value, update)
        text = ", ".join(f"{name} {value:.4g}" for name, value in values.items() if isinstance(value, (int, float)))
        log.info("update %d, %s: %s", update, kind, text)

    def add_samples(self, update: int, samples: list[tuple[str, str]]) -> None:
        """Record pairs of reference and hypothesis; a reference may be empty, where none is known."""
        for reference, hypothesis in samples:
            if reference:
                log.info("  ref: %s", reference)
            log.info("  hyp: %s", hypothesis)
        text = "\n\n".join(f"ref: {reference}  \nhyp: {hypothesis}" for reference, hypothesis in samples)
        self.writer.add_text("samples", text, update)
        with disk_errors(self.path), self.path.open("a", encoding="utf-8") as stream:
            stream.write(
                json.dumps({"kind": "samples", "update": update, "samples": samples}, ensure_ascii=False) + "\n"
            )

    def close(self) -> None:
        """Flush TensorBoard."""
        self.writer.close()
