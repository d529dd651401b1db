"""Something computed from the waveform of every cut of a set, by several processes or on a GPU."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import TypeVar

import numpy as np
import numpy.typing as npt

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
    """What `function` gives for each of `count` cuts, in their order, group by group.

    In `nj` processes; where the device of `source` is a GPU, here, from what they read.
    """
    groups = iter(partial(_next_group, iter(cuts)), [])
    if source.device.type == "cpu":
        blocks = parallel_map(partial(_computed, function, source.sampling_rate), groups, nj)
    else:
        blocks = map(function, parallel_map(partial(_waveforms, source.sampling_rate), groups, nj))
    for block in progress(blocks, -(-count // TOGETHER), f"{what}, groups of {TOGETHER}"):
        yield from block


def _next_group(cuts: Iterator[Spoken]) -> list[Spoken]:
    return list(islice(cuts, TOGETHER))


def _computed(function: Callable[[Waveforms], list[Result]], rate: int, cuts: Sequence[Spoken]) -> list[Result]:
    return function(_waveforms(rate, cuts))


def _waveforms(rate: int, cuts: Sequence[Spoken]) -> Waveforms:
    return [read_cut(cut, rate, 0, round(cut.duration * rate)) for cut in (each.cut for each in cuts)]
