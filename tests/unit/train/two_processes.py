"""Gradients of one update from four batches: two in each of two processes, one after the other, or joined.

`python -m torch.distributed.run --nproc-per-node 2 two_processes.py FOLDER` writes those of two processes.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.append(str(Path(__file__).parents[1] / "models"))
from small_models import small_encoder, spans

from speechkit.common.seeds import seed_everything
from speechkit.losses.ctc import ctc_loss
from speechkit.models.finetuned import FinetunedEncoder
from speechkit.models.hubert import Hubert, HubertConfig
from speechkit.models.wav2vec2 import Wav2Vec2, Wav2Vec2Config
from speechkit.nn.lengths import NO_LABEL
from speechkit.nn.quantise import QuantiserConfig
from speechkit.train.distributed import World, join, leave
from speechkit.train.trainer import TrainConfig, Trainer, Validation

Batch = dict[str, Any]


def batches() -> list[Batch]:
    """Batches of one or two utterances; every other one has no labels of the second set."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for number, count in enumerate((2, 1, 1, 2)):
        labels = [torch.randint(size, (count, 99), generator=generator) for size in (5, 9)]
        labels[1] = labels[1] if number % 2 == 0 else torch.full_like(labels[1], NO_LABEL)
        found.append({"seed": number, "waveforms": torch.randn(count, 2000, generator=generator), "labels": labels})
    return found


def joined(parts: list[Batch]) -> Batch:
    """One batch of all."""
    labels = [torch.cat(each) for each in zip(*(part["labels"] for part in parts), strict=True)]
    return {"seed": 0, "waveforms": torch.cat([part["waveforms"] for part in parts]), "labels": labels}


def certain(logits: Tensor, tau: float, hard: bool) -> Tensor:
    """Gumbel softmax without noise."""
    soft = (logits / tau).softmax(-1)
    return F.one_hot(soft.argmax(-1), soft.shape[-1]) - soft.detach() + soft


class Task:
    """Pre-training or fine-tuning of a small model, as the trainer sees it.

    What is random depends on the batch alone: blocks that are dropped, noise, masks and negatives. Without `random`
    nothing is.
    """

    def __init__(self, name: str, random: bool) -> None:
        seed_everything(3, "weights")
        self.name, self.random = name, random
        encoder = small_encoder(layer_drop=0.5 if random else 0.0, dropout=0.1 if random else 0.0)
        self.module: nn.Module
        if name == "wav2vec2":
            quantiser = QuantiserConfig(entries=7, entry_dim=6, out_dim=10, dropout=0.0)
            weight = 0.1 if random else 0.0
            config = Wav2Vec2Config(encoder=encoder, quantiser=quantiser, negatives=6, diversity_weight=weight)
            self.module = Wav2Vec2(config)
        elif name == "hubert":
            self.module = Hubert(HubertConfig(encoder=encoder), [5, 9])
        else:
            self.module = FinetunedEncoder(small_encoder(gradient_scale=0.0, layer_drop=0.5), 6)
            self.module.head_only = name == "head"

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, float, dict[str, float]]:
        waveforms = batch["waveforms"]
        size, lengths = len(waveforms), torch.full((len(waveforms),), 2000)
        torch.manual_seed(batch["seed"])
        mask = None if self.random else spans(*[[10, 50]] * size)
        if self.name == "wav2vec2":
            negatives = None if self.random else torch.arange(1, 7).repeat(size, 20, 1)
            result = model(waveforms, lengths, 0, mask, negatives)
        elif self.name == "hubert":
            result = model(waveforms, lengths, batch["labels"], mask)
        else:
            log_probs, frames = model(waveforms, lengths)
            targets = batch["labels"][0][:, :8] + 1
            return ctc_loss(log_probs, frames, targets, torch.full((size,), 8)), 8.0 * size, {}
        return result.total, float(result.count), {}

    def validate(self) -> Validation:
        return Validation(0.0, {}, [])

    def describe(self, batch: Batch) -> str:
        return ""


class Fixed:
    """The same batches in every epoch."""

    def __init__(self, content: list[Batch]) -> None:
        self.content = content

    def epoch(self, epoch: int, skip: int) -> Iterator[Batch]:
        yield from self.content[skip:]


def gradients(name: str, random: bool, content: list[Batch], folder: Path, world: World) -> dict[str, Tensor]:
    """What the trainer steps by in its first update, by parameter; nothing for a parameter that it leaves alone."""
    task = Task(name, random)
    config = TrainConfig(max_updates=1, accumulate=len(content), clip_norm=1e9)
    Trainer(config, task, Fixed(content), folder, seed=1, world=world).run()
    return {name: each.grad for name, each in task.module.named_parameters() if each.grad is not None}


CASES = [
    ("wav2vec2", True),
    ("hubert", True),
    ("head", True),
    ("finetuned", True),
    ("wav2vec2", False),
    ("hubert", False),
]


def main(folder: Path) -> None:
    """Write the gradients of all cases."""
    F.gumbel_softmax, gumbel = certain, F.gumbel_softmax
    world = join()
    for name, random in CASES:
        F.gumbel_softmax = gumbel if random else certain
        found = gradients(name, random, batches()[world.rank :: world.size], folder / f"{name}-{random}", world)
        if world.is_main:
            torch.save(found, folder / f"{name}-{random}.pt")
    leave(world)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
