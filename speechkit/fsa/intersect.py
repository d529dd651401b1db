"""Log-probabilities on graphs: total scores with gradients, best paths and arc posteriors, by one of several engines.

All functions take `log_probs (N, T, V)`, natural logs (or any scores), column v for label v; `lengths (N,)`, frames of
each utterance; and a `GraphBatch` on the same device. A path has to consume exactly the frames of its utterance; what
stands behind them in a padded batch counts for nothing. Results are in the order given, and an utterance does not
depend on the others of its batch.
"""

import functools
import importlib
from types import ModuleType

import torch
from torch import Tensor

from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.fsa.graph import GraphBatch
from speechkit.fsa.paths import BestPaths

ENGINES = ("auto", "torch", "k2")


def total_scores(log_probs: Tensor, lengths: Tensor, graphs: GraphBatch, *, engine: str = "auto") -> Tensor:
    """Log of the summed weight of all paths of each utterance (log semiring).

    Differentiable once in `log_probs` and in `graphs.score`; the gradients are expected counts of labels at frames and
    of arcs. Without a path the score is -inf and the gradient zero; a log-probability on the graph or a score that is
    NaN or +inf makes the score and its gradient NaN.

    Returns:
        `(N,)`, float64.

    Raises:
        ValueError: shapes, lengths, devices or labels do not fit together.
        UsageError: there is no such engine.
        SpeechkitError: the engine is not installed.
    """
    lengths = _checked(log_probs, lengths, graphs)
    totals: Tensor = _engine(engine).total_scores(log_probs, lengths, graphs)
    return totals


def best_path(
    log_probs: Tensor, lengths: Tensor, graphs: GraphBatch, *, engine: str = "auto", beam: float | None = None
) -> BestPaths:
    """The path of the highest score of each utterance (tropical semiring).

    The built-in engine searches in float64 and finds the best path whatever the model: it passes over states only where
    a bound on all that is still to come says that they cannot be on it. For what would take more than 64 MB its memory
    grows with the square root of the length, and it computes scores twice: an hour of 360,000 frames on a graph of
    40,000 states takes 150 MB besides the log-probabilities.

    Args:
        log_probs, lengths, graphs: see the module.
        engine: "auto", "torch" or "k2".
        beam: lets the built-in engine drop states that are further than this behind the best one of their frame. That
            is faster where graphs do not run from left to right in a few parallel strands, or where the model is not
            sure, but gives up exactness: a path may be worse than the best one, and with a small beam there may be none
            found where there is one. k2 keeps everything always.

    Raises:
        ValueError, UsageError, SpeechkitError: see `total_scores`; the beam is not positive.
    """
    lengths = _checked(log_probs, lengths, graphs)
    if beam is not None and not beam > 0:
        raise ValueError(f"the beam is {beam}; it must be positive")
    module = _engine(engine)
    limits = {} if beam is None or not module.__name__.endswith(".torch") else {"beam": beam}
    found: BestPaths = module.best_path(log_probs, lengths, graphs, **limits)
    return found


def arc_posteriors(log_probs: Tensor, lengths: Tensor, graphs: GraphBatch, *, engine: str = "auto") -> list[Tensor]:
    """Probability of each arc at each frame, given that the utterance takes some path of its graph.

    Returns:
        For each utterance `(lengths[n], arcs of its graph)`, float32; arcs into the final state consume no frame and
        have zeros, as has all of an utterance without a path.

    Raises:
        ValueError, UsageError, SpeechkitError: see `total_scores`.
    """
    lengths = _checked(log_probs, lengths, graphs)
    posteriors: list[Tensor] = _engine(engine).arc_posteriors(log_probs, lengths, graphs)
    return posteriors


def choose_engine(name: str) -> str:
    """The engine for a value of `--fsa-engine`: "auto" is "k2" if it imports, else "torch".

    Raises:
        UsageError: there is no such engine.
        SpeechkitError: it is k2, which is not installed.
    """
    if name not in ENGINES:
        raise UsageError(f"there is no FSA engine {name!r}: choose one of {', '.join(ENGINES)}")
    if name == "auto":
        return "k2" if _k2_imports() else "torch"
    if name == "k2":
        importlib.import_module("speechkit.fsa.engines.k2").load()
    return name


@functools.lru_cache(maxsize=1)
def _k2_imports() -> bool:
    try:
        importlib.import_module("speechkit.fsa.engines.k2").load()
    except SpeechkitError:
        return False
    return True


def _engine(name: str) -> ModuleType:
    return importlib.import_module(f"speechkit.fsa.engines.{choose_engine(name)}")


def _checked(log_probs: Tensor, lengths: Tensor, graphs: GraphBatch) -> Tensor:
    """The lengths as int64 on the device of the log-probs; raises `ValueError` where things do not fit together."""
    if log_probs.dim() != 3 or lengths.shape != log_probs.shape[:1] or graphs.index.shape != lengths.shape:
        raise ValueError(
            f"log_probs (N, T, V) {tuple(log_probs.shape)}, lengths (N,) {tuple(lengths.shape)} and graphs of "
            f"{graphs.num_utterances} utterances do not fit together"
        )
    if graphs.device != log_probs.device:
        raise ValueError(f"graphs are on {graphs.device}, log_probs on {log_probs.device}; use graphs.to(device)")
    if len(lengths):
        if int(lengths.min()) < 0 or int(lengths.max()) > log_probs.shape[1]:
            raise ValueError(f"lengths {lengths.tolist()} with log_probs of {log_probs.shape[1]} frames")
        if int(graphs.index.min()) < 0 or int(graphs.index.max()) >= graphs.num_graphs:
            raise ValueError(f"the index of a batch of {graphs.num_graphs} graphs names others")
    if len(graphs.label) and int(graphs.label.max()) >= log_probs.shape[2]:
        raise ValueError(f"graphs have label {int(graphs.label.max())}, log_probs {log_probs.shape[2]} columns")
    return lengths.to(log_probs.device, torch.int64)
