"""Hidden Markov models of units: topology, scales, and the graph of a transcript."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from speechkit.align.units import Transcript, Units
from speechkit.common.errors import SpeechkitError
from speechkit.fsa.graph import Graph
from speechkit.fsa.topology import HmmTopology, hmm_graph


@dataclass(frozen=True, kw_only=True)
class HmmConfig:
    """Shape of the models and how their parts are weighed in alignment (defaults: Kaldi's steps/train_mono.sh).

    Attributes:
        states: of each unit, silence included.
        silence_states: of the one silence, if not as many; it has to be the last unit then.
        self_loop: probability of staying in a state.
        silence_probability: of optional silence before, between and after words.
        acoustic_scale: factor of the log-likelihoods of frames.
        self_loop_scale: factor of the log-probabilities of staying in a state and of leaving it.
        transition_scale: factor of the other log-probabilities, of silences and pronunciations.
        silence_boost: factor of the likelihoods of silence.
    """

    states: int = 3
    silence_states: int | None = None
    self_loop: float = 0.75
    silence_probability: float = 0.5
    acoustic_scale: float = 0.1
    self_loop_scale: float = 0.1
    transition_scale: float = 1.0
    silence_boost: float = 1.25

    def __post_init__(self) -> None:
        if not 1 <= self.states <= 3:
            raise ValueError(f"states must be 1, 2 or 3, not {self.states}")
        if not self.states <= self.of_silence <= 3:
            raise ValueError(f"silence_states must be {self.states} to 3, not {self.silence_states}")
        if not (0 < self.self_loop < 1 and 0 < self.silence_probability < 1):
            raise ValueError("self_loop and silence_probability lie between 0 and 1")
        for name in ("acoustic_scale", "self_loop_scale", "transition_scale", "silence_boost"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")

    @property
    def of_silence(self) -> int:
        """States of silence."""
        return self.states if self.silence_states is None else self.silence_states

    def shortened(self) -> "HmmConfig":
        """The same with one state for each unit, so that a frame is enough for it."""
        return replace(self, states=1, silence_states=None)


def unit_pdfs(unit: int, units: Units, config: HmmConfig) -> range:
    """Columns of the states of a unit."""
    first = unit * config.states
    return range(first, first + (config.of_silence if unit in units.silence_ids else config.states))


def num_pdfs(units: Units, config: HmmConfig) -> int:
    """Columns of log-likelihoods: the states of all units.

    Raises:
        SpeechkitError: silence has states of its own, but is not one unit, the last.
    """
    if config.silence_states is not None and units.silence_ids != (len(units) - 1,):
        raise SpeechkitError("hmm.silence_states goes with one unit of silence, the last; leave it out for these units")
    return unit_pdfs(len(units) - 1, units, config).stop


def units_of(pdfs: Tensor, units: Units, config: HmmConfig) -> Tensor:
    """The unit that each of `pdfs`, of any shape, is a state of."""
    return (pdfs // config.states).clamp_max(len(units) - 1)


def by_unit(scores: Tensor, units: Units, config: HmmConfig, reduce: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Scores of states `(T, P)` as those of units `(T, U)`; `reduce` takes a tensor and the dimension that goes."""
    count = len(units) - (config.of_silence > config.states)
    even = reduce(scores[:, : count * config.states].reshape(len(scores), count, config.states), 2)
    return even if count == len(units) else torch.cat([even, reduce(scores[:, None, count * config.states :], 2)], 1)


def transcript_graph(transcript: Transcript, units: Units, config: HmmConfig) -> Graph:
    """All ways to say a transcript, with the scales of `config` in the scores (see `speechkit.fsa.topology`)."""
    graph = hmm_graph(
        transcript.pronunciations,
        HmmTopology(config.states, config.self_loop),
        silence=units.optional_silence if config.silence_states is None else units.silence_ids[0],
        silence_prob=0.0 if units.optional_silence is None else config.silence_probability,
        silence_topology=HmmTopology(config.of_silence, config.self_loop),
        self_loop_scale=config.self_loop_scale / config.transition_scale,
    )
    return replace(graph, score=graph.score * np.float32(config.transition_scale))


def least_frames(transcript: Transcript, config: HmmConfig) -> int:
    """Frames without which no path through the graph exists."""
    return transcript.shortest * config.states


def equal_alignment(transcript: Transcript, units: Units, config: HmmConfig, num_frames: int) -> Tensor | None:
    """Pdf of each frame `(T,)` where all states last equally long; None where there are fewer frames than states.

    Words take their first pronunciation; optional silence stands at the beginning and the end.
    """
    sequence: Sequence[int] = transcript.first_choice
    if units.optional_silence is not None:
        sequence = [units.optional_silence, *sequence, units.optional_silence]
    flat = torch.tensor([pdf for unit in sequence for pdf in unit_pdfs(unit, units, config)])
    if num_frames < len(flat):
        return None
    return flat[torch.arange(num_frames) * len(flat) // num_frames]


def boost_silence(likelihoods: Tensor, units: Units, config: HmmConfig) -> Tensor:
    """Raise the log-likelihoods `(T, P)` of the states of silence, in place, and scale them all."""
    for silence in units.silence_ids:
        likelihoods[:, _columns(silence, units, config)] += math.log(config.silence_boost)
    return likelihoods.mul_(config.acoustic_scale)


def unboosted(scores: Tensor, units: Units, config: HmmConfig) -> Tensor:
    """The log-likelihoods that `boost_silence` made scores of."""
    likelihoods = scores / config.acoustic_scale
    for silence in units.silence_ids:
        likelihoods[:, _columns(silence, units, config)] -= math.log(config.silence_boost)
    return likelihoods


def _columns(unit: int, units: Units, config: HmmConfig) -> slice:
    pdfs = unit_pdfs(unit, units, config)
    return slice(pdfs.start, pdfs.stop)
