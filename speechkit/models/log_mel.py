"""Log-mel energies in place of the first layers of an extractor (Lin, Lee and Tang 2022, MelHuBERT)."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from speechkit.features.fbank import Fbank, FbankConfig
from speechkit.features.mfcc import cosine_transform
from speechkit.nn.lengths import valid_mask, zero_padding

LEAST_VARIANCE = 1e-3  # of silence; that of speech is about 10


class LogMel(nn.Module):
    """Waveforms to log-mel energies, each bin of an utterance at zero mean and unit variance. Learns nothing.

    With `cepstra` it gives that many coefficients of the cosine transform of those bins.
    """

    def __init__(self, config: FbankConfig, cepstra: int | None = None) -> None:
        super().__init__()
        self._fbank = Fbank(config)
        self.config = config
        self.cosines: Tensor | None
        cosines = None if cepstra is None else cosine_transform(config.num_bins, cepstra).float()
        self.register_buffer("cosines", cosines, persistent=False)

    @torch.no_grad()
    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Waveforms `(N, S)` of `lengths (N,)` samples to frames `(N, T, C)`, zero on padding, and lengths."""
        found = [self._fbank.extract(row[:length]) for row, length in zip(waveforms, lengths.tolist(), strict=True)]
        frames = torch.tensor([len(each) for each in found], device=lengths.device)
        x = pad_sequence(found, batch_first=True)
        mask, count = valid_mask(frames, x.shape[1]), frames.clamp(min=1)[:, None, None]
        x = zero_padding(x - x.sum(1, keepdim=True) / count, mask)
        variance = x.square().sum(1, keepdim=True) / count
        x = x * variance.clamp(min=LEAST_VARIANCE).rsqrt()
        return x if self.cosines is None else x @ self.cosines, frames
