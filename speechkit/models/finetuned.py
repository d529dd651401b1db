"""A pre-trained encoder with one output per token, for fine-tuning (wav2vec 2.0, section 3.3)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechkit.models.speech_encoder import SpeechEncoder, SpeechEncoderConfig
from speechkit.nn.lengths import valid_mask
from speechkit.nn.masking import span_mask


class FinetunedEncoder(nn.Module):
    """Waveforms `(N, S)` to log-probabilities `(N, T, num_tokens)`, blank is token 0, certain on padding.

    Without `log_softmax` the outputs are those of the last layer. In training frames and channels are masked as
    `config` says.

    Attributes:
        head_only: whether the output layer alone learns; nothing is kept for the way back through the encoder then.
    """

    def __init__(self, config: SpeechEncoderConfig, num_tokens: int, *, log_softmax: bool = True) -> None:
        super().__init__()
        self.log_softmax = log_softmax
        self.head_only = False
        self.skips_parameters = True  # in the updates of the output layer alone
        self.encoder = SpeechEncoder(config)
        self.output = nn.Linear(config.transformer.dim, num_tokens)

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Number of output frames for waveforms of `lengths (N,)` samples."""
        return self.encoder.output_lengths(lengths)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-probabilities (or raw outputs) `(N, T, num_tokens)` and their lengths `(N,)`."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.head_only):
            frames, lengths, _ = self.encoder.extract(waveforms, lengths)
            mask = None
            if self.training:
                mask = span_mask(lengths.tolist(), frames.shape[1], self.encoder.config.time_mask).to(frames.device)
            x = self.encoder.encode(frames, lengths, mask)
        x = F.dropout(x, self.encoder.config.transformer.dropout, self.training)
        outputs = self.output(x).float()
        return (_blank_padding(outputs.log_softmax(dim=-1), lengths) if self.log_softmax else outputs), lengths


def _blank_padding(log_probs: Tensor, lengths: Tensor) -> Tensor:
    """The log-probabilities with 0 for the blank and -inf for all else on padding."""
    certain = log_probs.new_full(log_probs.shape[2:], -torch.inf)
    certain[0] = 0.0
    return torch.where(valid_mask(lengths, log_probs.shape[1]).unsqueeze(-1), log_probs, certain)
