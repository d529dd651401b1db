"""A small network as emission model: trained on alignments, its posteriors divided by priors are likelihoods.

Hybrid models: Bourlard and Morgan, "Connectionist Speech Recognition" (1994).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from speechkit.config.load import from_dict, to_dict
from speechkit.features.cmvn import normalise
from speechkit.nn.conv import ConvBlock, ConvSubsampling
from speechkit.nn.lengths import valid_mask

if TYPE_CHECKING:
    from speechkit.align.models import Utterance

LOG_PRIOR = "log_prior"
FRAMES_PER_PASS = 20_000


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Convolutions over frames of 10 ms: `dilations` has one residual block per entry."""

    in_dim: int = 80
    dim: int = 96
    kernel: int = 3
    dilations: tuple[int, ...] = (1, 1, 2)
    dropout: float = 0.1

    @property
    def reach(self) -> int:
        """Frames to either side that an output frame sees."""
        return ConvSubsampling.kernel // 2 + sum(dilation * (self.kernel // 2) for dilation in self.dilations)


class FrameNetwork(nn.Module):
    """Normalised log-mel energies `(N, T, in_dim)` to log posteriors of states `(N, T, num_pdfs)`."""

    def __init__(self, config: NetworkConfig, num_pdfs: int) -> None:
        super().__init__()
        self.config, self.num_pdfs = config, num_pdfs
        self.input = ConvSubsampling(config.in_dim, config.dim, (1,), config.dropout)
        self.blocks = nn.ModuleList(
            ConvBlock(config.dim, config.kernel, dilation, config.dropout) for dilation in config.dilations
        )
        self.norm = nn.LayerNorm(config.dim)
        self.output = nn.Linear(config.dim, num_pdfs)

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Log posteriors; undefined on padding."""
        x, lengths = self.input(features, lengths)
        mask = valid_mask(lengths, x.shape[1])
        for block in self.blocks:
            x = block(x, mask)
        return torch.log_softmax(self.output(self.norm(x)).float(), dim=-1)


class NeuralEmissions:
    """A network with the log prior `(P,)` of its states."""

    kind: ClassVar[str] = "neural"

    def __init__(self, network: FrameNetwork, log_prior: Tensor) -> None:
        self.network, self.log_prior = network.eval(), log_prior

    @torch.no_grad()
    def log_likelihoods(self, utterances: "Sequence[Utterance]") -> list[Tensor]:
        """Log posteriors minus log priors."""
        features = [normalise(each.log_mel, each.speaker) for each in utterances]
        order = sorted(range(len(features)), key=lambda index: len(features[index]))
        found: dict[int, Tensor] = {}
        rows: list[int] = []
        for place, row in enumerate(order):
            rows.append(row)
            last = place + 1 == len(order)
            if last or len(features[order[place + 1]]) * (len(rows) + 1) > FRAMES_PER_PASS:
                found.update(zip(rows, self._passed([features[each] for each in rows]), strict=True))
                rows = []
        return [found[row] - self.log_prior for row in range(len(features))]

    def _passed(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Log posteriors of some utterances; a long one goes through in overlapping pieces, which changes nothing."""
        if len(features) == 1 and len(features[0]) > FRAMES_PER_PASS:
            return [self._in_pieces(features[0])]
        lengths = torch.tensor([len(each) for each in features])
        outputs = self.network(pad_sequence(list(features), batch_first=True), lengths)
        return [outputs[row, :length] for row, length in enumerate(lengths.tolist())]

    def _in_pieces(self, features: Tensor) -> Tensor:
        reach, count = self.network.config.reach, len(features)
        pieces = []
        for start in range(0, count, FRAMES_PER_PASS):
            first, last = max(0, start - reach), min(count, start + FRAMES_PER_PASS + reach)
            output = self.network(features[None, first:last], torch.tensor([last - first]))[0]
            pieces.append(output[start - first : start - first + FRAMES_PER_PASS])
        return torch.cat(pieces)

    def log_posteriors(self, log_likelihoods: Tensor) -> Tensor:
        """The network's own."""
        return log_likelihoods + self.log_prior

    def tensors(self) -> dict[str, Tensor]:
        """Weights and priors."""
        return {**self.network.state_dict(), LOG_PRIOR: self.log_prior}

    def state(self) -> dict[str, Any]:
        """The configuration of the network."""
        return to_dict(self.network.config)

    @classmethod
    def load(cls, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "NeuralEmissions":
        """The inverse of `state` and `tensors`."""
        weights = dict(tensors)
        prior = weights.pop(LOG_PRIOR)
        network = FrameNetwork(from_dict(NetworkConfig, state, "aligner.json"), len(prior))
        network.load_state_dict(weights)
        return cls(network, prior)
