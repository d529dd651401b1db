"""Acoustic models that are convolutions only, as the papers put them on frozen features."""

from dataclasses import dataclass

from torch import Tensor, nn

from speechkit.nn.conv import Activation, ConvLayer


@dataclass(frozen=True, kw_only=True)
class ConvModelConfig:
    """One layer for each entry of `channels`, `kernels` and `strides`, then a linear one to the tokens.

    The defaults are the model of wav2vec for TIMIT (Schneider et al. 2019, section 3.2): 7 layers of kernel 5 with 1000
    channels, PReLU and dropout 0.7. With `activation: glu` it is the gated convolutional model of wav2letter, whose
    `channels` are those behind the gates, half of what the convolutions give. `conf/paper/gated-conv.yaml` of the WSJ
    recipe has the 17 layers, the linear one included, that wav2letter published for WSJ
    (recipes/models/conv_glu/wsj/network.arch).
    """

    in_dim: int = 80
    channels: tuple[int, ...] = (1000,) * 7
    kernels: tuple[int, ...] = (5,) * 7
    strides: tuple[int, ...] = (1,) * 7
    activation: Activation = "prelu"
    weight_norm: bool = False
    dropout: float = 0.7

    def __post_init__(self) -> None:
        if not 0 < len(self.channels) == len(self.kernels) == len(self.strides):
            raise ValueError(
                f"channels ({len(self.channels)}), kernels ({len(self.kernels)}) and strides ({len(self.strides)}) "
                "need an entry for each layer"
            )
        if min(*self.channels, *self.kernels, *self.strides) < 1:
            raise ValueError("channels, kernels and strides are at least 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), not {self.dropout}")


class ConvModel(nn.Module):
    """Features `(N, T, in_dim)` to log-probabilities `(N, T', num_tokens)`, blank is token 0.

    T' is T divided by each of the strides in turn, rounded up. Without `log_softmax` the outputs are those of the last
    layer.
    """

    def __init__(self, config: ConvModelConfig, num_tokens: int, *, log_softmax: bool = True) -> None:
        super().__init__()
        self.log_softmax = log_softmax
        in_dims = (config.in_dim, *config.channels)
        shapes = zip(in_dims[:-1], config.channels, config.kernels, config.strides, strict=True)
        self.layers = nn.ModuleList(
            ConvLayer(*shape, config.activation, config.dropout, weight_norm=config.weight_norm) for shape in shapes
        )
        self.output = nn.Linear(config.channels[-1], num_tokens)

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Number of output frames for `lengths (N,)` feature frames."""
        for layer in self.layers:
            lengths = layer.output_lengths(lengths)  # type: ignore[operator]
        return lengths

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-probabilities (or raw outputs) `(N, T', num_tokens)` and their lengths `(N,)`."""
        x = features
        for layer in self.layers:
            x, lengths = layer(x, lengths)
        outputs = self.output(x).float()
        return outputs.log_softmax(dim=-1) if self.log_softmax else outputs, lengths
