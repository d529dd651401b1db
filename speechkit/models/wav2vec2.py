"""wav2vec 2.0 (Baevski, Zhou, Mohamed, Auli 2020): masked frames are told from others of the same utterance."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from speechkit.losses.contrastive import contrastive_logits, contrastive_loss, diversity_loss, sample_negatives
from speechkit.models.pretraining import Collapse
from speechkit.models.speech_encoder import SpeechEncoder, SpeechEncoderConfig, frame_mask, stack_frames
from speechkit.nn.masking import equalise, span_mask
from speechkit.nn.quantise import GumbelQuantiser, Quantised, QuantiserConfig, fewest_codes, perplexity

if TYPE_CHECKING:
    from speechkit.data.waveforms import WaveformBatch

ADVICE = (
    "lower train.schedule.peak, raise train.accumulate (the paper's batch is 1.6 h of audio) or "
    "wav2vec2.diversity_weight"
)


@dataclass(frozen=True, kw_only=True)
class Wav2Vec2Config:
    """Sizes and loss weights.

    `negatives` distractors for each masked frame, `kappa` the temperature of their comparison; `diversity_weight` is
    alpha of equation 2, `penalty_weight` that of the extractor's mean square (section 4.2). `unmasked_weight` is that
    of the same comparison for unmasked frames, among themselves; the paper has none.
    """

    encoder: SpeechEncoderConfig = field(default_factory=SpeechEncoderConfig)
    quantiser: QuantiserConfig = field(default_factory=QuantiserConfig)
    negatives: int = 100
    kappa: float = 0.1
    diversity_weight: float = 0.1
    penalty_weight: float = 10.0
    unmasked_weight: float = 0.0


@dataclass(frozen=True)
class Wav2Vec2Loss:
    """Sums over `count` masked frames; divide `total` by `count` of all processes.

    Attributes:
        total: loss to minimise, with the other terms multiplied by the number of masked frames.
        contrastive: the first of its terms.
        right: masked frames that prefer their true target to every distractor.
        diversity, penalty: the other terms, before weights and number. The probabilities of the diversity are averaged
            over this very batch, as the paper's are over that of one GPU; accumulation and further processes average
            the losses, not the probabilities.
        code_perplexity: of the plain softmax averaged over the batch, between G and G V.
        used_perplexity: of the codes that were best.
    """

    total: Tensor
    count: int
    contrastive: Tensor
    right: Tensor
    diversity: Tensor
    penalty: Tensor
    code_perplexity: Tensor
    used_perplexity: Tensor

    def figures(self) -> dict[str, float]:
        """Averages over the masked frames of the batch."""
        count = max(self.count, 1)
        return {
            "loss_m": float(self.contrastive.detach()) / count,
            "accuracy": float(self.right) / count,
            "code_perplexity": float(self.code_perplexity.detach()),
            "used_perplexity": float(self.used_perplexity),
            "penalty": float(self.penalty.detach()),
        }


class Wav2Vec2(nn.Module):
    """The encoder with quantiser and contrastive loss, for pre-training; `encoder` is what is kept."""

    encoder_type = SpeechEncoder
    wants_plain = True
    wants_labels = False

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.config = config
        self.encoder = SpeechEncoder(config.encoder)
        self.quantiser = GumbelQuantiser(config.quantiser, config.encoder.extractor.dim)
        self.context = nn.Linear(config.encoder.transformer.dim, config.quantiser.dim)

    @staticmethod
    def inputs(batch: "WaveformBatch", update: int) -> dict[str, Any]:
        """Arguments of `forward`."""
        return {
            "waveforms": batch.waveforms,
            "lengths": batch.lengths,
            "update": update,
            "plain": batch.plain,
            "speed": batch.speed,
        }

    def collapse(self) -> Collapse:
        """A loss as of equal scores, or little more than one code in each group."""
        fewest = fewest_codes(self.config.quantiser.groups, self.config.quantiser.entries)
        return Collapse(math.log(self.config.negatives + 1), ADVICE, fewest)

    def forward(
        self,
        waveforms: Tensor,
        lengths: Tensor,
        update: int = 0,
        mask: Tensor | None = None,
        negatives: Tensor | None = None,
        plain: Tensor | None = None,
        speed: float = 1.0,
    ) -> Wav2Vec2Loss:
        """The loss of a batch.

        Args:
            waveforms: `(N, S)`.
            lengths: `(N,)` samples.
            update: number of updates so far, for the temperature of the quantiser.
            mask: `(N, T)`, as many masked frames in every utterance; drawn where None.
            negatives: `(N, M, K)` as `sample_negatives` gives; drawn where None.
            plain: `(N, S speed)`, undistorted waveforms of which the waveforms, all of one length, were made. Targets
                are then theirs (Sriram, Auli and Baevski 2022, wav2vec-Aug).
            speed: how many times as fast `waveforms` play.
        """
        config = self.config
        frames, lengths, penalty = self.encoder.extract(waveforms, lengths)
        if mask is None:
            mask = span_mask(lengths.tolist(), frames.shape[1], config.encoder.time_mask, same_count=True)
            mask = mask.to(frames.device)
        hidden = self.encoder.encode(frames, lengths, mask)
        heard = frames if plain is None else self._plain_frames(plain, speed, frames.shape[1])
        loss, right, quantised = self._compared(hidden, heard, mask, update, negatives)
        count = int(mask.sum())
        diversity = diversity_loss(quantised.mean)
        total = loss + count * (config.diversity_weight * diversity + config.penalty_weight * penalty)
        if config.unmasked_weight > 0:
            _, outside = frame_mask(lengths, mask)
            total = total + config.unmasked_weight * self._compared(hidden, heard, equalise(outside), update)[0]
        return Wav2Vec2Loss(
            total, count, loss, right, diversity, penalty, perplexity(quantised.mean), perplexity(quantised.used)
        )

    def _compared(
        self, hidden: Tensor, heard: Tensor, mask: Tensor, update: int, negatives: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Quantised]:
        """The contrastive loss of the frames of `mask`, how many are right, and their targets."""
        quantised = self.quantiser(stack_frames(heard, mask), self.config.quantiser.temperature(update))
        targets = quantised.vectors
        if negatives is None:
            negatives = sample_negatives(len(targets), targets.shape[1], self.config.negatives, targets.device)
        context = self.context(stack_frames(hidden, mask))
        return *contrastive_loss(
            contrastive_logits(context, targets, negatives, self.config.kappa, quantised.codes)
        ), quantised

    def _plain_frames(self, plain: Tensor, speed: float, count: int) -> Tensor:
        """The frames of undistorted waveforms that are heard in each of `count` frames."""
        frames, _, _ = self.encoder.extract(plain, torch.full(plain.shape[:1], plain.shape[1], device=plain.device))
        places = (torch.arange(count, device=plain.device) * speed).round().long()
        return frames[:, places.clamp(max=frames.shape[1] - 1)]
