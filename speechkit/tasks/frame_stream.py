"""Frames of a set, computed when they are needed and never written: memory holds a few utterances at a time."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from speechkit.common.progress import progress
from speechkit.data.alignments import Spoken
from speechkit.data.parallel import parallel_map
from speechkit.data.waveforms import read_cut
from speechkit.tasks.sources import Frames

TOGETHER = 8  # utterances that a process takes at a time
Waveforms = list[npt.NDArray[np.float32]]
Result = TypeVar("Result")


def map_waveforms(
    function: Callable[[Waveforms], list[Result]],
    source: Frames,
    cuts: Iterable[Spoken],
    nj: int,
    count: int,
    what: str,
) -> Iterator[Result]:
    """What `function` gives for each cut, group by group: in `nj` processes, or here from what they read for a GPU."""
    groups = iter(partial(_next_group, iter(cuts)), [])
    if source.device.type == "cpu":
        blocks = parallel_map(partial(_computed, function, source.sampling_rate), groups, nj)
    else:
        blocks = map(function, parallel_map(partial(_waveforms, source.sampling_rate), groups, nj))
    for block in progress(blocks, -(-count // TOGETHER), f"{what}, groups of {TOGETHER}"):
        yield from block


def frames_of(source: Frames, waveforms: Waveforms) -> list[npt.NDArray[np.float32]]:
    """The frames `(T, D)` of some utterances."""
    return [frames.cpu().numpy() for frames in source([torch.from_numpy(each) for each in waveforms])]


def phone_spans(cut: Spoken, source: Frames) -> list[tuple[str, int, int]]:
    """The phones of an aligned cut, with the first frame whose middle is in each and the first behind it."""
    items = cut.labels("phone") or ()
    return [(phone, _first_frame(start, source), _first_frame(end, source)) for phone, start, end in items]


def _first_frame(seconds: float, source: Frames) -> int:
    """The first frame whose middle is not before a time."""
    return int(np.ceil((seconds - source.window / 2) * source.frame_rate - 1e-6))


def _next_group(cuts: Iterator[Spoken]) -> list[Spoken]:
    return list(islice(cuts, TOGETHER))


def _computed(function: Callable[[Waveforms], list[Result]], rate: int, cuts: Sequence[Spoken]) -> list[Result]:
    return function(_waveforms(rate, cuts))


def _waveforms(rate: int, cuts: Sequence[Spoken]) -> Waveforms:
    return [read_cut(cut, rate, 0, round(cut.duration * rate)) for cut in (each.cut for each in cuts)]
