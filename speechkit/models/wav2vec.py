"""wav2vec (Schneider, Baevski, Collobert, Auli 2019) and vq-wav2vec (Baevski, Schneider, Auli 2020).

A causal network tells the frames that come next from others of the same utterance. In vq-wav2vec frames are quantised
first, for the network and as targets.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from speechkit.losses.binary_contrastive import BinaryContrastive, binary_contrastive_loss, loss_of_chance
from speechkit.losses.contrastive import diversity_loss
from speechkit.models.front_end import FrontEndConfig
from speechkit.models.log_mel import LogMel
from speechkit.models.pretraining import Collapse, Hidden
from speechkit.nn.aggregator import Aggregator, AggregatorConfig
from speechkit.nn.lengths import Packing, valid_mask
from speechkit.nn.quantise import (
    GumbelQuantiser,
    KmeansQuantiser,
    KmeansQuantiserConfig,
    NearestVectors,
    Quantised,
    QuantiserConfig,
    fewest_codes,
    perplexity,
)
from speechkit.nn.waveform import ExtractorConfig, FeatureExtractor

if TYPE_CHECKING:
    from speechkit.data.waveforms import WaveformBatch

ADVICE = "lower train.schedule.peak, or raise train.accumulate; of codes, raise wav2vec.diversity_weight or take others"


def _extractor() -> ExtractorConfig:
    return ExtractorConfig(
        kernels=(10, 8, 4, 4, 4), strides=(5, 4, 2, 2, 2), norm="group", activation="relu", gradient_scale=1.0
    )


def _gumbel() -> QuantiserConfig:
    return QuantiserConfig(entry_dim=256, out_dim=None, hidden=1024, dropout=0.0)


@dataclass(frozen=True, kw_only=True)
class Wav2VecEncoderConfig(FrontEndConfig):
    """A `Wav2VecEncoder`; `log_compression` takes a frame's values x to log(|x| + 1).

    `quantiser` says whether frames are quantised before the aggregator, and how: by `gumbel` or `kmeans`.
    """

    extractor: ExtractorConfig = field(default_factory=_extractor)
    log_compression: bool = True
    quantiser: Literal["none", "gumbel", "kmeans"] = "none"
    gumbel: QuantiserConfig = field(default_factory=_gumbel)
    kmeans: KmeansQuantiserConfig = field(default_factory=KmeansQuantiserConfig)
    aggregator: AggregatorConfig = field(default_factory=AggregatorConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quantiser == "gumbel" and self.gumbel.dim != self.extractor.dim:
            raise ValueError(
                f"quantised frames have {self.gumbel.dim} values, others {self.extractor.dim}; set gumbel.entry_dim to "
                "extractor.dim / gumbel.groups"
            )

    @property
    def num_layers(self) -> int:
        """Frames, quantised frames where there are any, and context vectors."""
        return 2 if self.quantiser == "none" else 3

    @property
    def codebook(self) -> tuple[int, int]:
        """Groups of codes, and entries of each; no groups without a quantiser."""
        if self.quantiser == "none":
            return 0, 0
        config: QuantiserConfig | KmeansQuantiserConfig = getattr(self, self.quantiser)
        return config.groups, config.entries


class Wav2VecEncoder(nn.Module):
    """Waveforms to frames z, which are layer 1, quantised ones where there is a quantiser, and context vectors c.

    Context vectors, the last layer, are what acoustic models take. All layers have the same dimension.
    """

    def __init__(self, config: Wav2VecEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.log_mel = LogMel(config.log_mel, config.cepstra) if config.log_mel else None
        self.extractor = FeatureExtractor(config.extractor)
        self.quantiser: nn.Module | None = None
        if config.quantiser == "gumbel":
            self.quantiser = GumbelQuantiser(config.gumbel, config.extractor.dim)
        elif config.quantiser == "kmeans":
            self.quantiser = KmeansQuantiser(config.kmeans, config.extractor.dim)
        self.aggregator = Aggregator(config.aggregator, config.extractor.dim)

    def forward(self, waveforms: Tensor, lengths: Tensor, count: int | None = None) -> Hidden:
        """Hidden states of the first `count` layers, all if None."""
        count = self.config.num_layers if count is None else count
        frames, lengths = self.extract(waveforms, lengths)
        layers = [frames]
        if self.quantiser is not None and count > 1:
            layers.append(self.quantise(frames, lengths).vectors)
        if count == self.config.num_layers:
            layers.append(self.aggregator(layers[-1], lengths))
        return Hidden(layers, lengths, self.config.frame_rate)

    def codes(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Codes `(N, T, G)` of frames, and their lengths; of a model with a quantiser."""
        frames, lengths = self.extract(waveforms, lengths)
        return self.quantise(frames, lengths).codes, lengths

    def extract(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Frames `(N, T, C)` before quantisation, and their lengths."""
        x = waveforms
        if self.log_mel is not None:
            x, lengths = self.log_mel(waveforms, lengths)
        frames, lengths = self.extractor(x, lengths)
        return ((frames.abs() + 1).log() if self.config.log_compression else frames), lengths

    def quantise(self, frames: Tensor, lengths: Tensor, update: int = 0) -> Quantised | NearestVectors:
        """Quantised frames `(N, T, C)` with their codes, in training with noise at the temperature of an update."""
        found: Quantised | NearestVectors
        assert self.quantiser is not None
        if self.config.quantiser == "kmeans":
            found = self.quantiser(frames, lengths)
            return found
        packing = Packing.of(lengths, frames.shape[1])
        found = self.quantiser(packing.pack(frames), self.config.gumbel.temperature(update))
        return found._replace(vectors=packing.unpack(found.vectors), codes=packing.unpack(found.codes))


@dataclass(frozen=True, kw_only=True)
class Wav2VecConfig:
    """`steps` predictions K of each context vector, each beside `negatives` other frames of the utterance.

    `offset` is the number of frames from a context vector to its first target: 1 in the paper's formula; where None,
    the fewest after which a target sees no sample that the context has seen, as in the published code.
    `diversity_weight` is that of the Gumbel quantiser's codes, in wav2vec 2.0's measure; the paper has none.
    """

    encoder: Wav2VecEncoderConfig = field(default_factory=Wav2VecEncoderConfig)
    steps: int = 12
    negatives: int = 10
    offset: int | None = None
    diversity_weight: float = 0.0

    def __post_init__(self) -> None:
        for name in ("steps", "negatives", "first_target"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name.replace('first_target', 'offset')} must be at least 1")

    @property
    def first_target(self) -> int:
        """Frames from a context vector to its first target."""
        return -(-self.encoder.window // self.encoder.hop) if self.offset is None else self.offset


@dataclass(frozen=True)
class Wav2VecLoss:
    """Sums over the `count` true targets of all steps; divide `total` by `count` of all processes.

    Attributes:
        total: loss to minimise, with the quantiser's multiplied by the number of targets.
        contrastive: what tells targets from others.
        codes: figures of the quantiser.
    """

    total: Tensor
    contrastive: BinaryContrastive
    codes: dict[str, float]

    @property
    def count(self) -> int:
        """Number of true targets."""
        return self.contrastive.count

    def figures(self) -> dict[str, float]:
        """Averages over the targets of the batch; `ranked` is how often one has a greater score than a negative."""
        count = max(self.count, 1)
        loss, ranked = float(self.contrastive.loss.detach()), float(self.contrastive.ranked)
        return {"loss_m": loss / count, "ranked": ranked / count, **self.codes}


class Wav2Vec(nn.Module):
    """The encoder with a prediction h_k for each step, for pre-training; `encoder` is what is kept."""

    encoder_type = Wav2VecEncoder
    wants_plain = False
    wants_labels = False

    def __init__(self, config: Wav2VecConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Wav2VecEncoder(config.encoder)
        dim = config.encoder.extractor.dim
        self.predictions = nn.ModuleList(nn.Linear(dim, dim) for _ in range(config.steps))

    @staticmethod
    def inputs(batch: "WaveformBatch", update: int) -> dict[str, Any]:
        """Arguments of `forward`."""
        return {"waveforms": batch.waveforms, "lengths": batch.lengths, "update": update}

    def collapse(self) -> Collapse:
        """A loss as of equal scores, or little more than one code in each group."""
        return Collapse(loss_of_chance(self.config.negatives), ADVICE, fewest_codes(*self.config.encoder.codebook))

    def forward(self, waveforms: Tensor, lengths: Tensor, update: int = 0) -> Wav2VecLoss:
        """The loss of a batch after `update` updates.

        Args:
            waveforms: `(N, S)`.
            lengths: `(N,)` samples.
            update: number of updates so far, for the temperature of the quantiser.
        """
        frames, lengths = self.encoder.extract(waveforms, lengths)
        extra, codes = torch.zeros((), device=frames.device), {}
        if self.encoder.quantiser is not None:
            quantised = self.encoder.quantise(frames, lengths, update)
            frames, extra = quantised.vectors, self._quantiser_loss(quantised)
            codes = {"quantiser_loss": float(extra.detach()), **_usage(quantised, lengths)}
        context = self.encoder.aggregator(frames, lengths)
        predictions = (predict(context) for predict in self.predictions)
        found = binary_contrastive_loss(predictions, frames, lengths, self.config.first_target, self.config.negatives)
        return Wav2VecLoss(found.loss + found.count * extra, found, codes)

    def _quantiser_loss(self, quantised: Quantised | NearestVectors) -> Tensor:
        if isinstance(quantised, NearestVectors):
            return quantised.loss
        return self.config.diversity_weight * diversity_loss(quantised.mean)


def _usage(quantised: Quantised | NearestVectors, lengths: Tensor) -> dict[str, float]:
    """Perplexities, summed over groups, and the number of different tuples of codes in the batch."""
    mean = quantised.used if isinstance(quantised, NearestVectors) else quantised.mean
    codes = quantised.codes[valid_mask(lengths, quantised.codes.shape[1])]
    return {
        "code_perplexity": float(perplexity(mean.detach())),
        "used_perplexity": float(perplexity(quantised.used)),
        "code_tuples": float(len(torch.unique(codes, dim=0))),
    }
