"""The losses of wav2vec 2.0 (Baevski et al. 2020, section 3.2) and of masked prediction (HuBERT, section III)."""

import torch
from torch import Tensor
from torch.nn import functional as F


def sample_negatives(batch: int, frames: int, count: int, device: torch.device | str = "cpu") -> Tensor:
    """For each of `frames` frames of `batch` utterances, `count` other frames of the same one, with replacement.

    Returns:
        `(batch, frames, count)` int64, indices of frames; empty where there is no other frame.
    """
    if frames < 2:
        return torch.zeros(batch, frames, 0, dtype=torch.int64, device=device)
    other = torch.randint(frames - 1, (batch, frames, count), device=device)
    return other + (other >= torch.arange(frames, device=device)[:, None])


def contrastive_logits(
    context: Tensor, targets: Tensor, negatives: Tensor, temperature: float, codes: Tensor | None = None
) -> Tensor:
    """Cosine similarities over the temperature, the true target first (equation 3).

    All pairs of frames of an utterance are one matrix product; gathering the vectors of the negatives would take
    hundreds of times the memory.

    Args:
        context: `(N, M, D)`, what the model says about the masked frames.
        targets: `(N, M, D)`.
        negatives: `(N, M, K)`, indices of frames.
        temperature: kappa.
        codes: `(N, M, G)`, which targets are equal; distractors equal to the true target count for nothing. Without
            codes the targets themselves are compared.

    Returns:
        `(N, M, 1 + K)` float32.
    """
    with torch.autocast(context.device.type, enabled=False):
        similarity = _unit(context) @ _unit(targets).transpose(1, 2) / temperature
    positive = similarity.diagonal(dim1=1, dim2=2).unsqueeze(-1)
    distractors = similarity.gather(2, negatives)
    return torch.cat([positive, distractors.masked_fill(_equal(codes, targets, negatives), -torch.inf)], dim=2)


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x.float(), dim=-1, eps=1e-8)


def _equal(codes: Tensor | None, targets: Tensor, negatives: Tensor) -> Tensor:
    """Whether negatives `(N, M, K)` are the same as the target of their frame."""
    kinds = (targets.detach() if codes is None else codes).flatten(0, 1)
    number: Tensor = torch.unique(kinds, dim=0, return_inverse=True)[1].view(targets.shape[:2])
    return number.unsqueeze(1).expand(-1, number.shape[1], -1).gather(2, negatives).eq(number.unsqueeze(2))


def contrastive_loss(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Summed loss of logits `(N, M, 1 + K)` and how many frames prefer their true target to every distractor."""
    flat = logits.flatten(0, 1)
    target = torch.zeros(len(flat), dtype=torch.int64, device=flat.device)
    loss = F.cross_entropy(flat, target, reduction="sum")
    right = (flat[:, :1] > flat[:, 1:]).all(1).sum()
    return loss, right


def diversity_loss(mean: Tensor) -> Tensor:
    """(G V - sum over groups of exp H) / (G V) of code probabilities `(G, V)`: 0 if all codes are used alike."""
    entropy = -(mean * (mean + 1e-7).log()).sum(-1)
    loss: Tensor = (mean.numel() - entropy.exp().sum()) / mean.numel()
    return loss


def masked_prediction_logits(projected: Tensor, classes: Tensor, temperature: float) -> Tensor:
    """Cosine similarities `(F, C)` over the temperature of frames `(F, D)` and class vectors `(C, D)`."""
    with torch.autocast(projected.device.type, enabled=False):
        return _unit(projected) @ _unit(classes).T / temperature
