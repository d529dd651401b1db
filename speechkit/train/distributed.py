"""Processes of one training: ranks from torchrun or Slurm, reductions, the wrapped model."""

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn

LONGEST_WAIT = timedelta(hours=2)  # of all processes for the one that validates


@dataclass(frozen=True)
class World:
    """This process among all that train together."""

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")

    @property
    def is_main(self) -> bool:
        """True in the one process that writes files."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model with gradients averaged over all processes; the model itself where there is one.

        Modules with a true `skips_parameters` (layer drop, parts that learn later) leave some out of an update. Such
        parameters have no gradient if all processes leave them out, as in a single process; looking for them takes a
        walk through the graph in every update, which other models are spared.
        """
        if self.size == 1:
            return model
        ids = [self.device] if self.device.type == "cuda" else None
        skips = any(getattr(module, "skips_parameters", False) for module in model.modules())
        return nn.parallel.DistributedDataParallel(model, device_ids=ids, find_unused_parameters=skips)

    def total(self, value: float) -> float:
        """Sum of `value` over all processes."""
        if self.size == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.float64, device=self.device)
        distributed.all_reduce(tensor)
        return float(tensor)

    def any(self, flag: Tensor) -> bool:
        """True if `flag` is true in any process."""
        return self.total(float(flag)) > 0


def join() -> World:
    """Join the processes that torchrun (RANK ...) or Slurm (SLURM_PROCID ...) started; alone otherwise."""
    size = int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS") or 1)
    rank = int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or 0)
    local_rank = int(os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or 0)
    device = torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if size > 1 and "MASTER_ADDR" in os.environ:
        backend = "nccl" if device.type == "cuda" else "gloo"
        distributed.init_process_group(backend, rank=rank, world_size=size, timeout=LONGEST_WAIT)
        return World(rank, size, device)
    return World(device=device)


def leave(world: World) -> None:
    """End the process group."""
    if world.size > 1:
        distributed.destroy_process_group()
