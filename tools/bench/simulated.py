"""Log-probabilities and targets for benches of losses and alignments."""

import torch
from torch import Tensor


def simulate(
    num_utterances: int, frames: int, size: int, tokens: int, peaky: bool, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Log-probabilities `(N, T, V)` and targets `(N, U)`.

    Random ones are normal logits. Peaky ones look like a trained model's: 10 more for the label of the frame on one
    alignment of the targets, where most frames are blank.
    """
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(1, size, (num_utterances, tokens), generator=generator)
    logits = torch.randn(num_utterances, frames, size, generator=generator)
    if peaky:
        for logit, target in zip(logits, targets, strict=True):
            # Every token has a frame of its own; none is beside another's, so that equal neighbours have a blank.
            places = torch.randperm(frames - tokens, generator=generator)[:tokens].sort().values + torch.arange(tokens)
            labels = torch.zeros(frames, dtype=torch.int64)
            labels[places] = target
            logit[torch.arange(frames), labels] += 10
    return logits.log_softmax(-1), targets
