"""The ballast of each frame: how loud Kaldi's tracker believes the signal to be when it computes the frame.

Fed with a whole signal, the tracker knows all but the last samples, which its low-pass filter holds back; the frames
that look beyond the end come when it knows all. Fed in pieces, it knows what has come so far, and revises the first
frames once.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from speechkit.features.pitch_config import Chunk, PitchConfig

TOLERATED_CHANGE = 0.01  # of the mean square


def chunks_of(config: PitchConfig, num_samples: int) -> list[Chunk]:
    """The states of the tracker: after each piece of `frames_per_chunk`, or after all, and when it hears of the end."""
    size = int(config.frames_per_chunk * config.sample_frequency * config.frame_shift / 1000) or max(num_samples, 1)
    ends = [*range(size, num_samples, size), num_samples]
    samples = [(config.samples_available(end, finished=False), False) for end in ends]
    samples.append((config.samples_available(num_samples, finished=True), True))
    return [Chunk(count, config.frames_available(count, finished)) for count, finished in samples]


def ballasts(signal: Tensor, chunks: Sequence[Chunk], config: PitchConfig) -> tuple[Tensor, Tensor]:
    """What is added to products of window energies, `(mean square * window length)^2 * nccf_ballast`, float32.

    Args:
        signal: samples at the lower rate `(S,)`.
        chunks: what `chunks_of` gives for it.

    Returns:
        The ballast of each frame `(T,)`, and the one to which it is revised afterwards, -1 where it stays, `(T,)`.
    """
    revised = torch.full((chunks[-1].frames,), -1.0, device=signal.device)
    if config.nccf_ballast_online:
        levels = _mean_squares(signal, _online_scopes(chunks, config))
        return torch.tensor([_ballast(level, config) for level in levels], device=signal.device), revised
    levels = _mean_squares(signal, [chunk.samples for chunk in chunks])
    first, number = _revision(chunks, config)
    starts = [0, *(chunk.frames for chunk in chunks)]
    counts = [after - before for before, after in pairwise(starts)]
    known = [level for level, start, count in zip(levels, starts, counts, strict=False) if count and start < first]
    if any(abs(level - levels[number]) > TOLERATED_CHANGE * (level + levels[number]) for level in known):
        revised[:first] = _ballast(levels[number], config)
    each = torch.tensor([_ballast(level, config) for level in levels])
    return each.repeat_interleave(torch.tensor(counts)).to(signal.device), revised


def _ballast(mean_square: float, config: PitchConfig) -> float:
    return (mean_square * config.window_length) ** 2 * config.nccf_ballast


def _mean_squares(signal: Tensor, scopes: Sequence[int]) -> list[float]:
    """Variance of the first samples of the signal, for each number of samples in ascending `scopes`."""
    parts = [signal[first:last].double() for first, last in pairwise([0, *scopes])]
    sums = torch.stack([value for part in parts for value in (part.sum(), part.dot(part))]).view(-1, 2).cumsum(dim=0)
    counts = [max(scope, 1) for scope in scopes]
    rows = zip(sums.tolist(), counts, strict=True)
    return [max(squares / count - (total / count) ** 2, 0.0) for (total, squares), count in rows]


def _revision(chunks: Sequence[Chunk], config: PitchConfig) -> tuple[int, int]:
    """How many first frames are revised, and after which chunk."""
    for number, chunk in enumerate(chunks):
        if chunk.frames >= config.recompute_frame:
            return config.recompute_frame, number
    return chunks[-1].frames, len(chunks) - 1


def _online_scopes(chunks: Sequence[Chunk], config: PitchConfig) -> list[int]:
    """Samples up to the end of each frame, as far as they have come."""
    ends = range(config.first_start + config.full_length, 1 << 62, config.window_shift)
    scopes: list[int] = []
    for chunk in chunks:
        scopes.extend(min(ends[t], chunk.samples) for t in range(len(scopes), chunk.frames))
    return scopes
