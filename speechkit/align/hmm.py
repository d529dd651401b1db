"""Hidden Markov models of units: topology, scales, and the graph of a transcript."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from speechkit.align.units import Transcript, Units
from speechkit.fsa.graph import Graph
from speechkit.fsa.topology import HmmTopology, hmm_graph


@dataclass(frozen=True, kw_only=True)
class HmmConfig:
    """Shape of the models and how their parts are weighed in alignment (defaults: Kaldi's steps/train_mono.sh).

    Attributes:
        states: of each unit, silence included.
        self_loop: probability of staying in a state.
        silence_probability: of optional silence before, between and after words.
        acoustic_scale: factor of the log-likelihoods of frames.
        self_loop_scale: factor of the log-probabilities of staying in a state and of leaving it.
        transition_scale: factor of the other log-probabilities, of silences and pronunciations.
        silence_boost: factor of the likelihoods of silence.
    """

    states: int = 3
    self_loop: float = 0.75
    silence_probability: float = 0.5
    acoustic_scale: float = 0.1
    self_loop_scale: float = 0.1
    transition_scale: float = 1.0
    silence_boost: float = 1.25

    def __post_init__(self) -> None:
        if not 1 <= self.states <= 3:
            raise ValueError(f"states must be 1, 2 or 3, not {self.states}")
        if not (0 < self.self_loop < 1 and 0 < self.silence_probability < 1):
            raise ValueError("self_loop and silence_probability lie between 0 and 1")
        for name in ("acoustic_scale", "self_loop_scale", "transition_scale", "silence_boost"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")

    def shortened(self) -> "HmmConfig":
        """The same with one state for each unit, so that a frame is enough for it."""
        return replace(self, states=1)


def num_pdfs(units: Units, config: HmmConfig) -> int:
    """Columns of log-likelihoods: the states of all units."""
    return len(units) * config.states


def transcript_graph(transcript: Transcript, units: Units, config: HmmConfig) -> Graph:
    """All ways to say a transcript, with the scales of `config` in the scores (see `speechkit.fsa.topology`)."""
    graph = hmm_graph(
        transcript.pronunciations,
        HmmTopology(config.states, config.self_loop),
        silence=units.optional_silence,
        silence_prob=config.silence_probability,
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
    states = torch.tensor(sequence)[:, None] * config.states + torch.arange(config.states)
    flat = states.flatten()
    if num_frames < len(flat):
        return None
    return flat[torch.arange(num_frames) * len(flat) // num_frames]


def boost_silence(likelihoods: Tensor, units: Units, config: HmmConfig) -> Tensor:
    """Raise the log-likelihoods `(T, P)` of the states of silence, in place, and scale them all."""
    for silence in units.silence_ids:
        likelihoods[:, silence * config.states : (silence + 1) * config.states] += math.log(config.silence_boost)
    return likelihoods.mul_(config.acoustic_scale)


def unboosted(scores: Tensor, units: Units, config: HmmConfig) -> Tensor:
    """The log-likelihoods that `boost_silence` made scores of."""
    likelihoods = scores / config.acoustic_scale
    for silence in units.silence_ids:
        likelihoods[:, silence * config.states : (silence + 1) * config.states] -= math.log(config.silence_boost)
    return likelihoods
