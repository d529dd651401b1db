"""InfoNCE of CPC (van den Oord, Li and Vinyals 2018, section 2.3), with the sources of negatives of its table 2."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from speechkit.common.errors import SpeechkitError
from speechkit.losses.contrastive import contrastive_loss

LARGE = 2**40  # draws of many more numbers than there are frames: their remainders are as good as uniform


@dataclass(frozen=True, kw_only=True)
class NegativesConfig:
    """Where the `count` negatives of a frame are drawn from, uniformly and with replacement, anew for every step.

    `source` is all sequences of the batch ("mixed"), those of the same speaker ("speaker") or the current one
    ("sequence"). Without `current` the current sequence gives none; otherwise all its frames but the positive may be.
    """

    count: int = 128
    source: Literal["mixed", "speaker", "sequence"] = "mixed"
    current: bool = True

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count of negatives must be at least 1, not {self.count}")
        if self.source == "sequence" and not self.current:
            raise ValueError("source: sequence is the current sequence; set current to true")


@dataclass(frozen=True)
class StepSums:
    """Of each step `(K,)`: the summed `loss`, how many frames are `right` to prefer their positive, and the `count`."""

    loss: Tensor
    right: Tensor
    count: Tensor


@dataclass(frozen=True)
class Pool:
    """Sequences that take negatives of each other.

    Attributes:
        members: `(n,)`, their numbers in the batch.
        starts, lengths: `(n,)`, where each lies among the frames of all of them, and how many it has.
    """

    members: Tensor
    starts: Tensor
    lengths: Tensor

    @property
    def frames(self) -> int:
        """How many there are."""
        return int(self.lengths.sum())

    def anchors(self, step: int) -> tuple[Tensor, Tensor]:
        """Frames that have one `step` later, `(A,)` places among those of the pool, and their sequences in it."""
        owner = torch.repeat_interleave(torch.arange(len(self.members), device=self.starts.device), self.lengths)
        place = torch.arange(len(owner), device=owner.device)
        kept = place + step < (self.starts + self.lengths)[owner]
        return place[kept], owner[kept]

    def negatives(self, positives: Tensor, owners: Tensor, config: NegativesConfig) -> Tensor:
        """Places of negatives `(A, count)` for positives `(A,)` of sequences `(A,)`."""
        if config.current:
            left_out, width = positives, torch.ones_like(positives)
        else:
            left_out, width = self.starts[owners], self.lengths[owners]
        shape = (len(positives), config.count)
        drawn = torch.randint(LARGE, shape, device=positives.device) % (self.frames - width).unsqueeze(1)
        return drawn + width.unsqueeze(1) * (drawn >= left_out.unsqueeze(1))


def pools(lengths: Tensor, speakers: Tensor | None, config: NegativesConfig) -> Iterator[Pool]:
    """The sequences of a batch by what they take negatives of, without those that would find none.

    Args:
        lengths: `(N,)` frames.
        speakers: `(N,)`, equal for the same speaker; only for `source: speaker`.
        config: where negatives come from.

    Raises:
        SpeechkitError: no sequence of the batch finds any.
    """
    numbers = torch.arange(len(lengths), device=lengths.device)
    if config.source == "mixed":
        groups: Sequence[Tensor] = [numbers]
    elif config.source == "sequence":
        groups = list(numbers.unsqueeze(1))
    else:
        assert speakers is not None
        groups = [numbers[speakers == speaker] for speaker in sorted(set(speakers.tolist()))]
    found = False
    for group in groups:
        members = group[lengths[group] > 0]
        own = lengths[members]
        if int(own.sum()) > 1 and (config.current or len(members) > 1):
            found = True
            yield Pool(members, own.cumsum(0) - own, own)
    if not found:
        raise SpeechkitError(
            "no utterance of a batch has another one to take negatives of; raise batches.max_duration, or set "
            "batches.speakers"
        )


def info_nce(
    context: Tensor,
    latents: Tensor,
    lengths: Tensor,
    predictors: Sequence[nn.Module] | nn.ModuleList,
    config: NegativesConfig,
    speakers: Tensor | None = None,
) -> StepSums:
    """Each frame's context tells the latent k frames later from negatives, for every step k from 1 to K.

    The score is the paper's log f_k = z^T W_k c, a sum over dimensions; other code takes their mean, which is a
    temperature as large as there are dimensions. Scores of all pairs of a pool are one matrix product, of which those
    of the negatives are picked; their latents, hundreds of times as many as there are frames, are never copied.

    Args:
        context: `(N, T, C)`, c_t.
        latents: `(N, T, D)`, z_t.
        lengths: `(N,)` frames; the last k of each sequence have no step k.
        predictors: W_1 to W_K, from C to D.
        config: how many negatives, and where they come from.
        speakers: `(N,)`, for `source: speaker`.

    Returns:
        Sums over all frames of each step; cross entropies with the positive at index 0.
    """
    sums = torch.zeros(3, len(predictors), dtype=torch.promote_types(latents.dtype, torch.float32)).to(latents.device)
    for pool in pools(lengths, speakers, config):
        c, z = (_frames(x, pool).to(sums.dtype) for x in (context, latents))
        parts = []
        for step, predictor in enumerate(predictors, start=1):
            places, owners = pool.anchors(step)
            negatives = pool.negatives(places + step, owners, config)
            with torch.autocast(z.device.type, enabled=False):
                scores = predictor(c[places]) @ z.T
            logits = scores.gather(1, torch.cat([(places + step).unsqueeze(1), negatives], dim=1))
            loss, right = contrastive_loss(logits.unsqueeze(0))
            parts.append(torch.stack([loss, right.to(loss), loss.new_tensor(len(places))]))
        sums = sums + torch.stack(parts, dim=1)
    return StepSums(sums[0], sums[1].detach(), sums[2].detach())


def _frames(x: Tensor, pool: Pool) -> Tensor:
    """The valid frames `(F, C)` of the sequences in a pool, end to end."""
    members = zip(pool.members.tolist(), pool.lengths.tolist(), strict=True)
    return torch.cat([x[member, :length] for member, length in members])
