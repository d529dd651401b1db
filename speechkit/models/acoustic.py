"""The acoustic model of the fbank baseline: convolutions, a small transformer, one output per token."""

from dataclasses import dataclass, field

from torch import Tensor, nn

from speechkit.features.mfcc import cosine_transform
from speechkit.nn.conv import ConvBlock, ConvSubsampling
from speechkit.nn.lengths import valid_mask
from speechkit.nn.transformer import TransformerConfig, TransformerEncoder


@dataclass(frozen=True, kw_only=True)
class AcousticModelConfig:
    """`strides` subsample the feature frames; `dilations` has one residual convolution per entry.

    With `cepstra` the model sees only that many coefficients of a cosine transform over the `in_dim` log-mel bins, a
    smooth spectrum without the harmonics of the voice: on few speakers it generalises better.
    """

    in_dim: int = 80
    cepstra: int | None = None
    strides: tuple[int, ...] = (1, 2)
    dilations: tuple[int, ...] = (1, 1, 2)
    kernel: int = 5
    dropout: float = 0.1
    transformer: TransformerConfig = field(default_factory=TransformerConfig)


class AcousticModel(nn.Module):
    """Features `(N, T, in_dim)` to log-probabilities `(N, T', num_tokens)`, blank is token 0.

    Without `log_softmax` the outputs are those of the last layer.
    """

    def __init__(self, config: AcousticModelConfig, num_tokens: int, *, log_softmax: bool = True) -> None:
        super().__init__()
        self.log_softmax = log_softmax
        dim = config.transformer.dim
        cosines = None if config.cepstra is None else cosine_transform(config.in_dim, config.cepstra).float()
        self.cosines: Tensor | None
        self.register_buffer("cosines", cosines, persistent=False)
        self.subsampling = ConvSubsampling(config.cepstra or config.in_dim, dim, config.strides, config.dropout)
        self.conv_blocks = nn.ModuleList(
            ConvBlock(dim, config.kernel, dilation, config.dropout) for dilation in config.dilations
        )
        self.encoder = TransformerEncoder(config.transformer)
        self.output = nn.Linear(dim, num_tokens)

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Number of output frames for `lengths (N,)` feature frames."""
        return self.subsampling.output_lengths(lengths)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-probabilities (or raw outputs) `(N, T', num_tokens)` and their lengths `(N,)`."""
        x = features if self.cosines is None else features @ self.cosines
        x, lengths = self.subsampling(x, lengths)
        mask = valid_mask(lengths, x.shape[1])
        for block in self.conv_blocks:
            x = block(x, mask)
        x = self.encoder(x, lengths)
        outputs = self.output(x).float()
        return outputs.log_softmax(dim=-1) if self.log_softmax else outputs, lengths
