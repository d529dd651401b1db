"""Training of Gaussian mixtures from a flat start: equal alignment, then Viterbi training with growing mixtures.

The schedule is that of Kaldi's `steps/train_mono.sh`: statistics and an update in every iteration, a new alignment in
some of them, and a number of Gaussians that grows until `growth_iterations`.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speechkit.align.gmm import DiagonalGmms, GmmStats, pieces
from speechkit.align.hmm import (
    HmmConfig,
    boost_silence,
    by_unit,
    equal_alignment,
    num_pdfs,
    transcript_graph,
    units_of,
)
from speechkit.align.models import CepstraConfig, GmmEmissions
from speechkit.align.units import Transcript, Units
from speechkit.common.errors import SpeechkitError
from speechkit.fsa.graph import GraphBatch
from speechkit.fsa.intersect import best_path

log = logging.getLogger(__name__)
FRAMES_PER_BATCH = 8000
CALIBRATION_FRAMES = 20_000
POSTERIOR_SCALES = (0.03, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)
NOT_ALIGNED = -1


@dataclass(frozen=True, kw_only=True)
class GmmConfig:
    """How mixtures are trained.

    Attributes:
        features: of the Gaussians.
        iterations: estimations after the one of the equal alignment.
        growth_iterations: after that many the number of Gaussians stays.
        realign: iterations that align anew.
        gaussians: in all, where there are frames enough.
        power: the Gaussians of a pdf grow with this power of its occupancy.
        least_occupancy, first_least_occupancy: frames below which a Gaussian is removed, later and at first.
        least_count: frames that each half of a Gaussian that is split shall have.
        variance_floor: of the variance of all frames together.
    """

    features: CepstraConfig = CepstraConfig()
    iterations: int = 40
    growth_iterations: int = 30
    realign: tuple[int, ...] = (*range(1, 11), 12, 14, 16, 18, 20, 23, 26, 29, 32, 35, 38)
    gaussians: int = 1000
    power: float = 0.25
    least_occupancy: float = 10.0
    first_least_occupancy: float = 3.0
    least_count: float = 20.0
    variance_floor: float = 0.01

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.growth_iterations < 1 or self.gaussians < 1:
            raise ValueError("iterations, growth_iterations and gaussians must be at least 1")
        if not 0 < self.variance_floor < 1:
            raise ValueError(f"variance_floor lies between 0 and 1, not at {self.variance_floor}")


@dataclass(frozen=True)
class _Batch:
    """Utterances of similar length, and the graphs of their transcripts."""

    rows: list[int]
    lengths: Tensor
    graphs: GraphBatch


class TrainingSet:
    """Features of all utterances end to end, `(F, D)`, with their transcripts and graphs."""

    def __init__(
        self, features: Sequence[Tensor], transcripts: Sequence[Transcript], units: Units, hmm: HmmConfig
    ) -> None:
        self.units, self.hmm, self.transcripts = units, hmm, list(transcripts)
        self.lengths = torch.tensor([len(each) for each in features])
        self.splits = [0, *torch.cumsum(self.lengths, 0).tolist()]
        self.features = torch.cat(list(features))
        self.batches = list(self._batches())

    def _batches(self) -> "list[_Batch]":
        order = torch.argsort(self.lengths, stable=True).tolist()
        batches: list[list[int]] = []
        rows: list[int] = []
        for row in order:
            if rows and int(self.lengths[row]) * (len(rows) + 1) > FRAMES_PER_BATCH:
                batches.append(rows)
                rows = []
            rows.append(row)
        if rows:
            batches.append(rows)
        return [_Batch(each, self.lengths[each], self._graphs(each)) for each in batches]

    def _graphs(self, rows: Sequence[int]) -> GraphBatch:
        graphs = [transcript_graph(self.transcripts[row], self.units, self.hmm) for row in rows]
        return GraphBatch.from_graphs(graphs)

    def gmm_likelihoods(self, gmms: DiagonalGmms) -> Callable[[Sequence[int]], Sequence[Tensor]]:
        """What `align` takes, from mixtures on the features."""

        def likelihoods(rows: Sequence[int]) -> Sequence[Tensor]:
            frames = torch.cat([self.features[self.frames(row)] for row in rows])
            return pieces(gmms.log_likelihoods(frames), [int(self.lengths[row]) for row in rows])

        return likelihoods

    def frames(self, row: int) -> slice:
        """Where an utterance's frames are."""
        return slice(self.splits[row], self.splits[row + 1])

    def equal_alignment(self) -> Tensor:
        """Pdf of every frame `(F,)`, -1 in utterances that are too short."""
        pdfs = torch.full((len(self.features),), NOT_ALIGNED)
        for row, transcript in enumerate(self.transcripts):
            each = equal_alignment(transcript, self.units, self.hmm, int(self.lengths[row]))
            if each is not None:
                pdfs[self.frames(row)] = each
        return pdfs

    def align(self, likelihoods: Callable[[Sequence[int]], Sequence[Tensor]], engine: str) -> Tensor:
        """Pdf of every frame `(F,)` on the best paths, -1 in utterances without one.

        Args:
            likelihoods: gives the log-likelihoods `(T, P)` of each of some utterances, which it may lose.
            engine: of `speechkit.fsa`.
        """
        pdfs = torch.full((len(self.features),), NOT_ALIGNED)
        for batch in self.batches:
            scaled = [boost_silence(each, self.units, self.hmm) for each in likelihoods(batch.rows)]
            paths = best_path(pad_sequence(scaled, batch_first=True), batch.lengths, batch.graphs, engine=engine)
            labels = paths.labels(batch.graphs)
            for index, row in enumerate(batch.rows):
                pdfs[self.frames(row)] = labels[index, : int(batch.lengths[index])]
        return pdfs


@torch.no_grad()
def train_gmms(data: TrainingSet, config: GmmConfig, seed: int, engine: str = "auto") -> GmmEmissions:
    """Train mixtures for the states of all units; the same data and seed give the same mixtures.

    Raises:
        SpeechkitError: every utterance is too short for its transcript.
    """
    generator = torch.Generator().manual_seed(seed)
    pdfs = data.equal_alignment()
    if not bool((pdfs != NOT_ALIGNED).any()):
        raise SpeechkitError("every utterance is too short for its transcript; check that transcripts fit their audio")
    variance, mean = torch.var_mean(data.features.double(), dim=0, unbiased=False)
    variance = variance.clamp_min(1e-8)
    count = num_pdfs(data.units, data.hmm)
    gmms, wanted = DiagonalGmms.single(mean, variance, count), float(count)
    growth = max(0.0, (config.gaussians - count) / config.growth_iterations)
    for iteration in range(config.iterations + 1):
        if iteration in config.realign:
            pdfs = data.align(data.gmm_likelihoods(gmms), engine)
        stats = _statistics(data, gmms, pdfs)
        least = config.least_occupancy if iteration else config.first_least_occupancy
        gmms = gmms.estimated(stats, config.variance_floor * variance, least)
        if iteration < config.growth_iterations:
            wanted += growth
        occupancy = torch.bincount(pdfs[pdfs != NOT_ALIGNED], minlength=count).double()
        gmms = gmms.grown(occupancy, int(wanted), config.power, config.least_count, generator)
        _report(iteration, iteration in config.realign, stats, gmms, data, pdfs)
    return GmmEmissions(config.features, gmms, calibrated_scale(gmms, data, pdfs))


def _statistics(data: TrainingSet, gmms: DiagonalGmms, pdfs: Tensor) -> GmmStats:
    stats = GmmStats.zeros(gmms.num_gaussians, gmms.dim)
    aligned = pdfs != NOT_ALIGNED
    gmms.accumulate(data.features[aligned], pdfs[aligned], stats)
    return stats


def _report(
    iteration: int, aligned: bool, stats: GmmStats, gmms: DiagonalGmms, data: TrainingSet, pdfs: Tensor
) -> None:
    missing = sum(
        bool(pdfs[data.splits[row]] == NOT_ALIGNED) for row in range(len(data.transcripts)) if data.lengths[row]
    )
    log.info(
        "iteration %d%s: log-likelihood %.3f per frame, %d Gaussians%s",
        iteration,
        " (aligned)" if aligned else "",
        stats.log_likelihood / max(1, stats.frames),
        gmms.num_gaussians,
        f", {missing} utterances without a path" if missing else "",
    )


def calibrated_scale(gmms: DiagonalGmms, data: TrainingSet, pdfs: Tensor) -> float:
    """The factor of log-likelihoods, of `POSTERIOR_SCALES`, that makes the posteriors of the aligned units greatest."""
    rows = (pdfs != NOT_ALIGNED).nonzero()[:, 0]
    rows = rows[:: max(1, len(rows) // CALIBRATION_FRAMES)]
    scores, unit = gmms.log_likelihoods(data.features[rows]), units_of(pdfs[rows], data.units, data.hmm)

    def mean_log_posterior(scale: float) -> float:
        posteriors = by_unit(torch.log_softmax(scores * scale, 1), data.units, data.hmm, torch.logsumexp)
        return float(posteriors.gather(1, unit[:, None]).mean())

    return max(POSTERIOR_SCALES, key=mean_log_posterior)


def log_priors(pdfs: Tensor, count: int) -> Tensor:
    """Log of the share of frames of each pdf `(P,)`; a pdf never seen counts as seen once."""
    counts = torch.bincount(pdfs[pdfs != NOT_ALIGNED], minlength=count).double().clamp_min(1)
    return (counts / counts.sum()).log().float()
