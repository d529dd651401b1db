"""The engine that is built in: compiled loops on the CPU, tensor operations on other devices and in float64."""

import functools
import importlib
import warnings
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from speechkit.fsa.engines import tensors
from speechkit.fsa.graph import GraphBatch
from speechkit.fsa.paths import BestPaths


def total_scores(log_probs: Tensor, lengths: Tensor, graphs: GraphBatch) -> Tensor:
    """Log of the summed weight of all paths; see `speechkit.fsa.intersect.total_scores`."""
    totals: Tensor = _TotalScores.apply(_at_least_single(log_probs), graphs.score, lengths, graphs)  # type: ignore[no-untyped-call]
    return totals


@torch.no_grad()
def best_path(log_probs: Tensor, lengths: Tensor, graphs: GraphBatch, beam: float | None = None) -> BestPaths:
    """The best path of each utterance; see `speechkit.fsa.intersect.best_path`.

    Searches on the CPU whatever the device: a search is one small step per frame, for which a GPU would be asked
    several times, and memory is bounded there.
    """
    cpu = _cpu()
    if cpu is None:
        return tensors.best_path(log_probs, lengths, graphs)
    here = torch.device("cpu")
    if log_probs.device == here:
        found: BestPaths = cpu.best_path(log_probs.float(), lengths, graphs, beam)
        return found
    found = cpu.best_path(log_probs.to(here, torch.float32), lengths.to(here), graphs.to(here), beam)
    results = (found.scores, found.arcs, found.arc_scores, found.final_arcs)
    return BestPaths(*(each.to(log_probs.device) for each in results))


@torch.no_grad()
def arc_posteriors(log_probs: Tensor, lengths: Tensor, graphs: GraphBatch) -> list[Tensor]:
    """Occupation probabilities of arcs by frame; see `speechkit.fsa.intersect.arc_posteriors`."""
    log_probs = _at_least_single(log_probs)
    cpu = _kernels_for(log_probs)
    if cpu is None:
        return tensors.arc_posteriors(log_probs, lengths, graphs)
    sums = cpu.sum_paths(log_probs, lengths, graphs, notes=cpu.POSTERIORS)
    posteriors: list[Tensor] = sums.posteriors(graphs.arc_splits.diff()[graphs.index])
    return posteriors


class _TotalScores(torch.autograd.Function):
    """Runs forward and backward through the graphs at once if a gradient will be wanted."""

    @staticmethod
    def forward(ctx: Any, log_probs: Tensor, score: Tensor, lengths: Tensor, graphs: GraphBatch) -> Tensor:
        """Total scores `(N,)`, float64."""
        of_labels, of_arcs = ctx.needs_input_grad[:2]
        cpu = _kernels_for(log_probs)
        if cpu is None:
            ctx.sums = tensors.sum_paths(log_probs, lengths, graphs, gradients=of_labels or of_arcs)
        else:
            notes = cpu.COUNTS if of_arcs else cpu.NOTHING
            ctx.sums = cpu.sum_paths(log_probs, lengths, graphs, labels=of_labels, notes=notes)
        ctx.arc_splits, ctx.score = graphs.arc_splits, score
        totals: Tensor = ctx.sums.totals()
        return totals

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Expected counts of labels and arcs, times the gradient of each total."""
        of_labels, of_arcs = ctx.needs_input_grad[:2]
        labels = ctx.sums.gradient(scale) if of_labels else None
        arcs = ctx.sums.arc_gradient(scale, ctx.arc_splits).to(ctx.score.dtype) if of_arcs else None
        return labels, arcs, None, None


def _at_least_single(log_probs: Tensor) -> Tensor:
    return log_probs if log_probs.dtype == torch.float64 else log_probs.float()


def _kernels_for(log_probs: Tensor) -> Any:
    """The compiled loops, if they take these log-probs."""
    return _cpu() if log_probs.device.type == "cpu" and log_probs.dtype == torch.float32 else None


@functools.lru_cache(maxsize=1)
def _cpu() -> Any:
    """The module of compiled loops, None without numba."""
    try:
        return importlib.import_module("speechkit.fsa.engines.cpu")
    except ImportError as error:
        if error.name not in ("numba", "llvmlite"):
            raise
        warnings.warn("numba is not installed (pip install numba): graphs are slow on the CPU", stacklevel=2)
        return None
