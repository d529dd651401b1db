"""LF-MMI as the objective of a recogniser: denominator, numerators, warm-up with CTC."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from speechkit.data.batches import Batch, Fields
from speechkit.fsa.graph import Graph, GraphBatch
from speechkit.fsa.intersect import best_path, choose_engine
from speechkit.fsa.ngram_graph import Composer, initial_probs, leaky, token_ngram_graph
from speechkit.fsa.numerator import token_lattice, within_times
from speechkit.fsa.topology import linear
from speechkit.lm.token_ngram import counted, smoothed
from speechkit.losses.lfmmi import Mmi, lfmmi, limited, output_penalty
from speechkit.nn.lengths import valid_mask
from speechkit.tasks.objective import Ctc, LossSum
from speechkit.tasks.token_times import TokenTimes

log = logging.getLogger(__name__)
Words = tuple[tuple[tuple[int, ...], ...], ...]  # for each word its pronunciations, in token ids
NUMERATORS_KEPT = 20_000


@dataclass(frozen=True, kw_only=True)
class NgramConfig:
    """The n-gram over tokens, estimated from the training transcripts.

    With smoothing "kneser-ney" every token can follow every history. With "none", as in Kaldi, only what the
    transcripts hold can; that keeps orders up to 4 small, of which at most `extra_states` histories are longer than an
    `unpruned_order`-gram needs.
    """

    order: int = 2
    smoothing: Literal["kneser-ney", "none"] = "kneser-ney"
    unpruned_order: int = 3
    extra_states: int = 2000

    def __post_init__(self) -> None:
        if self.order < 1 or self.unpruned_order < 1 or self.extra_states < 0:
            raise ValueError("order and unpruned_order must be at least 1, extra_states at least 0")

    def estimate(self, sequences: Sequence[Sequence[int]], num_tokens: int) -> Graph:
        """An acceptor of tokens 1..`num_tokens` - 1 from token sequences."""
        if self.smoothing == "kneser-ney":
            return smoothed(sequences, self.order, num_tokens)
        return counted(
            sequences, self.order, num_tokens, unpruned_order=self.unpruned_order, extra_states=self.extra_states
        )


@dataclass(frozen=True, kw_only=True)
class LfmmiConfig:
    """Settings of `loss: lfmmi`.

    Attributes:
        topology: "ctc", or "ctc-modified", where equal tokens need no blank between them.
        ngram: the language model of numerator and denominator.
        max_den_arcs: larger denominators are refused before they take the memory.
        leak: share of the denominator's mass that jumps to its average state distribution after each frame; 0.1 in
            Kaldi's recipes, whose denominator is in the probability domain. 0 for none.
        warmup_updates: so many updates are trained with CTC alone.
        ctc_scale: weight of the CTC loss that is added afterwards.
        numerator: "transcript" (flat start: any times, any pronunciation), or "alignment" (each token within
            `tolerance` seconds of where the alignment has it).
        normalise: whether the loss sees log-probabilities, as in k2, or raw outputs, as in Kaldi. The objective and
            its gradient are the same for both; what differs are the next three settings, which are for raw outputs.
        clamp: bound of raw outputs.
        out_of_range: penalty on the square of what exceeds it.
        output_l2: penalty on the square of raw outputs.
    """

    topology: Literal["ctc", "ctc-modified"] = "ctc"
    ngram: NgramConfig = field(default_factory=NgramConfig)
    max_den_arcs: int = 1_000_000
    leak: float = 0.0
    warmup_updates: int = 100
    ctc_scale: float = 0.0
    numerator: Literal["transcript", "alignment"] = "transcript"
    tolerance: float = 0.1
    normalise: bool = True
    clamp: float = 30.0
    out_of_range: float = 0.01
    output_l2: float = 5e-5

    def __post_init__(self) -> None:
        for name in ("leak", "warmup_updates", "ctc_scale", "tolerance", "out_of_range", "output_l2"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} cannot be negative, as {getattr(self, name)} is")


class Lfmmi:
    """LF-MMI over numerators that are sub-graphs of one denominator, after a warm-up with CTC.

    Args:
        config: see there.
        num_tokens: columns of the outputs, the blank 0 included.
        sequences: tokens of the training utterances, for the n-gram.
        words: pronunciations of an utterance's words, from its text fields.
        times: alignment of every training utterance by id, where the numerator is to follow it.
        frame_shift: seconds between output frames, for the same.
        engine: of `speechkit.fsa.intersect`.

    Raises:
        SpeechkitError: the denominator has more than `max_den_arcs` arcs.
    """

    def __init__(
        self,
        config: LfmmiConfig,
        num_tokens: int,
        sequences: Sequence[Sequence[int]],
        words: Callable[[Fields], Words],
        *,
        times: Mapping[str, TokenTimes] | None = None,
        frame_shift: float = 0.01,
        engine: str = "auto",
    ) -> None:
        self.config, self.words, self.engine = config, words, choose_engine(engine)
        self.times, self.frame_shift = times or {}, frame_shift
        ngram = config.ngram.estimate(sequences, num_tokens)
        graph = token_ngram_graph(ngram, num_tokens, config.topology, max_arcs=config.max_den_arcs)
        self.composer = Composer(graph)
        self.search = GraphBatch.shared(graph, 1)
        self.any_time = lru_cache(NUMERATORS_KEPT)(lambda words: self.composer(token_lattice(words)))
        if config.leak:
            graph = leaky(graph, config.leak, initial_probs(graph))
        self.denominator = GraphBatch.shared(graph, 1)
        self.ctc = Ctc()
        self.without_path: set[str] = set()
        self.figures = {
            "ngram_states": ngram.num_states, "ngram_arcs": ngram.num_arcs,
            "den_states": graph.num_states, "den_arcs": graph.num_arcs,
        }  # fmt: skip
        log.info("denominator: %(den_states)d states and %(den_arcs)d arcs, from an n-gram of %(ngram_states)d states "
                 "and %(ngram_arcs)d arcs", self.figures)  # fmt: skip
        unseen = set(range(1, num_tokens)) - set(graph.label.tolist())
        if unseen:
            log.warning(
                "%d of %d tokens are in no training transcript: without smoothing LF-MMI does not learn to avoid them; "
                "set lfmmi.ngram.smoothing=kneser-ney or lfmmi.ctc_scale",
                len(unseen),
                num_tokens - 1,
            )

    def min_frames(self, tokens: list[int]) -> int:
        """One frame per token, and a blank between equal neighbours where CTC takes part in any way."""
        config = self.config
        with_ctc = config.topology == "ctc" or config.warmup_updates > 0 or config.ctc_scale > 0
        return self.ctc.min_frames(tokens) if with_ctc else len(tokens)

    def __call__(self, outputs: Tensor, lengths: Tensor, batch: Batch, update: int) -> LossSum:
        """CTC during the warm-up, then minus the MMI objective with what is added to it."""
        config = self.config
        if update < config.warmup_updates:
            return self.ctc(outputs, lengths, batch, update)
        mmi = self.mmi(outputs, lengths, batch)
        total = mmi.loss
        if config.ctc_scale:
            total = total + config.ctc_scale * self.ctc(outputs, lengths, batch, update).total
        if not config.normalise:
            mask = valid_mask(lengths, outputs.shape[1])
            total = total + output_penalty(outputs, mask, config.clamp, config.out_of_range, config.output_l2)
        tokens = float(batch.target_lengths[mmi.has_path].sum())
        figures = {
            "mmi": float(mmi.objective[mmi.has_path].sum()) / max(tokens, 1),
            "without_path": float((~mmi.has_path).sum()),
        }
        return LossSum(total, tokens, figures)

    def mmi(self, outputs: Tensor, lengths: Tensor, batch: Batch) -> Mmi:
        """The objective of each utterance; those without a path are named in the log, once each."""
        scores = outputs if self.config.normalise else limited(outputs, self.config.clamp)
        rows = zip(batch.ids, batch.fields, lengths.tolist(), strict=True)
        numerators = GraphBatch.from_graphs([self.numerator(*row) for row in rows]).to(outputs.device)
        self.denominator = self.denominator.to(outputs.device)
        result = lfmmi(scores, lengths, numerators, _for_all(self.denominator, lengths), engine=self.engine)
        lost = [name for name, found in zip(batch.ids, result.has_path.tolist(), strict=True) if not found]
        if new := [name for name in lost if name not in self.without_path]:
            self.without_path.update(new)
            log.warning("no path through the numerator of %s: left out of the loss", " ".join(new))
        return result

    def numerator(self, name: str, fields: Fields, num_frames: int) -> Graph:
        """The denominator's paths that read the words of one utterance, at the times of its alignment if it has one."""
        times = self.times.get(name)
        if times is None:
            found: Graph = self.any_time(self.words(fields))
            return found
        tolerance = self.config.tolerance
        first = np.floor((np.array(times.starts) - tolerance) / self.frame_shift).astype(np.int64)
        last = np.ceil((np.array(times.ends) + tolerance) / self.frame_shift).astype(np.int64) - 1
        return within_times(self.composer(linear(times.tokens)), first, np.maximum(first, last), num_frames)

    def decode(self, outputs: Tensor, lengths: Tensor) -> list[list[int]]:
        """The tokens of the best path through the denominator: unlike CTC, the model counts on its language model."""
        self.search = self.search.to(outputs.device)
        graphs = _for_all(self.search, lengths)
        return best_path(outputs, lengths, graphs, engine=self.engine).aux(graphs, "token")

    def describe(self) -> dict[str, Any]:
        """The name and the size of the graphs."""
        return {"loss": "lfmmi", **self.figures}


def _for_all(graph: GraphBatch, lengths: Tensor) -> GraphBatch:
    """The one graph of a batch for each of some utterances."""
    return replace(graph, index=torch.zeros_like(lengths))
