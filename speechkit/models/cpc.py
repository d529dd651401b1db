"""CPC, contrastive predictive coding (van den Oord, Li and Vinyals 2018): a context predicts the latents to come."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor, nn

from speechkit.losses.infonce import NegativesConfig, StepSums, info_nce
from speechkit.models.front_end import FrontEndConfig
from speechkit.models.log_mel import LogMel
from speechkit.models.pretraining import Collapse, Hidden
from speechkit.nn.waveform import ExtractorConfig, FeatureExtractor

if TYPE_CHECKING:
    from speechkit.data.waveforms import WaveformBatch

ADVICE = "change train.schedule.peak, or set cpc.encoder.extractor.norm=layer, which makes soft and loud audio alike"


@dataclass(frozen=True, kw_only=True)
class CpcExtractorConfig(ExtractorConfig):
    """The encoder of section 3.1: 512 channels, a latent every 160 samples.

    The paper gives no padding; this one, of Riviere et al. 2020, makes 128 latents of 20480 samples.
    """

    kernels: tuple[int, ...] = (10, 8, 4, 4, 4)
    strides: tuple[int, ...] = (5, 4, 2, 2, 2)
    paddings: tuple[int, ...] = (3, 2, 1, 1, 1)
    norm: Literal["first", "layer", "group", "none"] = "none"
    activation: Literal["gelu", "relu"] = "relu"
    bias: bool = True
    gradient_scale: float = 1.0


@dataclass(frozen=True, kw_only=True)
class CpcEncoderConfig(FrontEndConfig):
    """Latents z of the extractor, and contexts c of `context_dim` values."""

    extractor: CpcExtractorConfig = field(default_factory=CpcExtractorConfig)
    context_dim: int = 256

    @property
    def num_layers(self) -> int:
        """Latents and contexts."""
        return 2


class CpcEncoder(nn.Module):
    """Waveforms to latents z_t, layer 1, and contexts c_t, layer 2.

    c_t is the output of a GRU over z_1 to z_t, whose state is zero before each waveform, so that it sees nothing that
    comes after the field of z_t. (With `log_mel` mean and variance of the bins are those of the whole waveform.)
    """

    def __init__(self, config: CpcEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.log_mel = LogMel(config.log_mel, config.cepstra) if config.log_mel else None
        self.extractor = FeatureExtractor(config.extractor)
        self.context = nn.GRU(config.extractor.dim, config.context_dim, batch_first=True)

    def forward(self, waveforms: Tensor, lengths: Tensor, count: int | None = None) -> Hidden:
        """Latents, and contexts unless `count` is 1."""
        x = waveforms
        if self.log_mel is not None:
            x, lengths = self.log_mel(waveforms, lengths)
        latents, lengths = self.extractor(x, lengths)
        layers = [latents] if count == 1 else [latents, self.context(latents)[0]]
        return Hidden(layers, lengths, self.config.frame_rate)


@dataclass(frozen=True, kw_only=True)
class CpcConfig:
    """`steps` are K, the frames ahead that are predicted."""

    encoder: CpcEncoderConfig = field(default_factory=CpcEncoderConfig)
    steps: int = 12
    negatives: NegativesConfig = field(default_factory=NegativesConfig)

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, not {self.steps}")


@dataclass(frozen=True)
class CpcLoss:
    """InfoNCE averaged over the frames of each step, and over steps; `count` are the frames of the first step."""

    steps: StepSums

    @property
    def count(self) -> int:
        """Frames that predict something."""
        return int(self.steps.count[0])

    @property
    def total(self) -> Tensor:
        """The average times `count`."""
        return self.count * self._average(self.steps.loss)

    def _average(self, sums: Tensor) -> Tensor:
        """Of the steps that have frames: windows may be shorter than some."""
        present = self.steps.count > 0
        return (sums[present] / self.steps.count[present]).sum() / present.sum().clamp(min=1)

    def figures(self) -> dict[str, float]:
        """The loss, and how often the positive is preferred, by chance 1 / (negatives + 1): on average and by step."""
        shares = (self.steps.right / self.steps.count.clamp(min=1)).tolist()
        by_step = {f"accuracy_{step}": share for step, share in enumerate(shares, start=1)}
        loss = float(self._average(self.steps.loss.detach()))
        return {"loss_m": loss, "accuracy": float(self._average(self.steps.right)), **by_step}


class Cpc(nn.Module):
    """The encoder with a linear predictor W_k, without bias, for each step; `encoder` is what is kept."""

    encoder_type = CpcEncoder
    wants_plain = False
    wants_labels = False

    def __init__(self, config: CpcConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = CpcEncoder(config.encoder)
        context, latent = config.encoder.context_dim, config.encoder.extractor.dim
        self.predictors = nn.ModuleList(nn.Linear(context, latent, bias=False) for _ in range(config.steps))

    @staticmethod
    def inputs(batch: "WaveformBatch", update: int) -> dict[str, Any]:
        """Arguments of `forward`."""
        return {"waveforms": batch.waveforms, "lengths": batch.lengths, "speakers": batch.speakers}

    def collapse(self) -> Collapse:
        """A loss as of equal scores."""
        return Collapse(math.log(self.config.negatives.count + 1), ADVICE)

    def forward(self, waveforms: Tensor, lengths: Tensor, speakers: Tensor | None = None) -> CpcLoss:
        """The loss of a batch.

        Args:
            waveforms: `(N, S)`.
            lengths: `(N,)` samples.
            speakers: `(N,)`, equal for the same speaker; for negatives of the same speaker.
        """
        (latents, context), frames, _ = self.encoder(waveforms, lengths)
        return CpcLoss(info_nce(context, latents, frames, self.predictors, self.config.negatives, speakers))
