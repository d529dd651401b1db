"""Loss and gradient of wav2vec's and CPC's contrastive losses, against the formula with gathered negatives.

Sizes are the papers': of wav2vec a batch of crops of 150,000 samples, which are 935 frames of 512 values, 12 steps and
10 negatives; of CPC 8 windows of 128 frames, 12 steps and 128 negatives from all of them. Negatives are drawn, and
predictions made by a matrix for each step, in both. Every candidate is timed in turn; memory is the highest that a
process of its own reaches over what inputs and matrices take. The last line is JSON: "ratio" is, for the worse of the
two losses, the better of time / 3 and memory / 3 of the formula over ours; what is asked is 1.
"""

import argparse
import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import torch
from peak import Peak
from timing import compare
from torch import Tensor, nn
from torch.nn import functional as F

from speechkit.losses.binary_contrastive import binary_contrastive_loss, draw_places
from speechkit.losses.infonce import NegativesConfig, info_nce

STEPS, FIRST = 12, 3
Loss = Callable[["Batch"], Tensor]
Sizes = tuple[int, int, int, int, bool]


@dataclass(frozen=True)
class Batch:
    """Contexts `(N, T, C)`, targets `(N, T, D)`, their lengths, and a matrix for each step."""

    context: Tensor
    targets: Tensor
    lengths: Tensor
    steps: nn.ModuleList

    @classmethod
    def of(cls, utterances: int, frames: int, context_dim: int, dim: int, bias: bool) -> "Batch":
        """Normal numbers, as large as make scores of about one."""
        torch.manual_seed(0)
        context = torch.randn(utterances, frames, context_dim, requires_grad=True)
        targets = torch.randn(utterances, frames, dim).div_(dim**0.5).requires_grad_()
        steps = nn.ModuleList(nn.Linear(context_dim, dim, bias=bias) for _ in range(STEPS))
        return cls(context, targets, torch.full((utterances,), frames), steps)

    def run(self, loss: Loss) -> None:
        """The loss and its gradients."""
        loss(self).backward()  # type: ignore[no-untyped-call]
        for each in (self.context, self.targets, *self.steps.parameters()):
            each.grad = None


def wav2vec(batch: Batch) -> Tensor:
    """Ours."""
    predictions = (step(batch.context) for step in batch.steps)
    return binary_contrastive_loss(predictions, batch.targets, batch.lengths, FIRST, 10).loss


def gathered_wav2vec(batch: Batch) -> Tensor:
    """The formula: the vectors of targets and negatives are gathered and multiplied."""
    total, table = torch.zeros(()), batch.targets.flatten(0, 1)
    for number, step in enumerate(batch.steps):
        valid, places = draw_places(batch.lengths, batch.targets.shape[1], FIRST + number, 10)
        scores = (step(batch.context[valid]).unsqueeze(1) * table[places[valid]]).sum(-1)
        total = total + F.softplus(-scores[:, 0]).sum() + F.softplus(scores[:, 1:]).sum()
    return total


def cpc(batch: Batch) -> Tensor:
    """Ours."""
    return info_nce(batch.context, batch.targets, batch.lengths, batch.steps, NegativesConfig(count=128)).loss.sum()


def gathered_cpc(batch: Batch) -> Tensor:
    """The formula."""
    total, table = torch.zeros(()), batch.targets.flatten(0, 1)
    utterances, frames, _ = batch.targets.shape
    for step, predict in enumerate(batch.steps, start=1):
        places = torch.arange(utterances * frames).view(utterances, frames)[:, step:].flatten()
        drawn = torch.randint(len(table) - 1, (len(places), 128))
        drawn = torch.cat([places.unsqueeze(1), drawn + (drawn >= places.unsqueeze(1))], dim=1)
        scores = (predict(batch.context[:, :-step].flatten(0, 1)).unsqueeze(1) * table[drawn]).sum(-1)
        total = total + F.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.int64), reduction="sum")
    return total


def measure(name: str, sizes: Sizes, ours: Loss, formula: Loss, repeats: int) -> dict[str, float]:
    """How many times the time and the memory of ours the formula takes."""
    batch = Batch.of(*sizes)
    seconds = compare({name: lambda: batch.run(ours), "formula": lambda: batch.run(formula)}, repeats)
    memory = {each: megabytes(loss, sizes) for each, loss in ((name, ours), ("formula", formula))}
    print(f"{name}: {memory[name]:.0f} MB, formula: {memory['formula']:.0f} MB\n")
    found = {"time": seconds["formula"] / seconds[name], "memory": memory["formula"] / memory[name]}
    return {kind: round(value, 2) for kind, value in found.items()}


def megabytes(loss: Loss, sizes: Sizes) -> float:
    """Peak memory of a loss with its gradients, in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_peak, loss, sizes, torch.get_num_threads()).result()


def _peak(loss: Loss, sizes: Sizes, threads: int) -> float:
    torch.set_num_threads(threads)
    Batch.of(1, 32, *sizes[2:]).run(loss)  # what libraries take for themselves
    batch = Batch.of(*sizes)
    peak = Peak()
    batch.run(loss)
    return peak.megabytes()


def main() -> None:
    """Time all in turn, and measure the memory of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--utterances", type=int, default=10, help="crops in a batch of wav2vec")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    ratios = {
        "wav2vec": measure("wav2vec", (args.utterances, 935, 512, 512, True), wav2vec, gathered_wav2vec, args.repeats),
        "CPC": measure("CPC", (8, 128, 256, 512, False), cpc, gathered_cpc, args.repeats),
    }
    least = min(max(found.values()) / 3 for found in ratios.values())
    print(json.dumps({"ratio": round(least, 2), "ratios": ratios, "threads": args.threads}))


if __name__ == "__main__":
    main()
