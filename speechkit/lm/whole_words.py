"""Whole-word masking of Chinese text (Cui et al., "Pre-training with whole word masking for Chinese BERT", 2019).

The model reads characters, but what is hidden are words: a character is hard to tell from the rest of its word. Words
are those that jieba finds with its hidden Markov model, which joins characters to words that its dictionary lacks, as
names. As in BERT a hidden character is mostly read as [MASK], sometimes as another character, sometimes as itself.
"""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from speechkit.common.errors import SpeechkitError

NO_WORD = -1  # of a place that is never hidden


@dataclass(frozen=True, kw_only=True)
class WordMaskConfig:
    """A word is chosen with `probability`; of its characters `masked` become [MASK], `random` another character.

    The others stay. All of them are predicted.
    """

    probability: float = 0.15
    masked: float = 0.8
    random: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.probability <= 1:
            raise ValueError(f"probability must be above 0 and at most 1, not {self.probability}")
        if min(self.masked, self.random) < 0 or self.masked + self.random > 1:
            raise ValueError(f"masked ({self.masked}) and random ({self.random}) are shares, at most 1 together")


def words_of(text: str) -> list[str]:
    """The words of a text without spaces, end to end.

    Raises:
        SpeechkitError: jieba is not installed.
    """
    found: list[str] = _jieba().lcut(text, HMM=True)
    return found


def word_numbers(text: str) -> npt.NDArray[np.int64]:
    """For each character of a text the number, from 0, of the word that it is in."""
    sizes = [len(word) for word in words_of(text)]
    return np.repeat(np.arange(len(sizes)), sizes)


def choose_words(words: Tensor, probability: float) -> Tensor:
    """Choose words of each sentence, at least one.

    Of W words p W are chosen, rounded up or down at random so that the mean is exact.

    Args:
        words: `(N, T)`, the number of the word that each place is in, `NO_WORD` where there is none.
        probability: p.

    Returns:
        `(N, T)`, True on all places of chosen words, drawn from torch's global generator of the CPU.
    """
    chosen = torch.zeros_like(words, dtype=torch.bool)
    for row, numbers in zip(chosen, words, strict=True):
        count = int(numbers.max()) + 1
        wanted = max(1, int(probability * count + float(torch.rand(()))))
        row[:] = torch.isin(numbers, torch.randperm(count)[:wanted])
    return chosen


def hide(tokens: Tensor, chosen: Tensor, config: WordMaskConfig, mask: int, characters: Tensor) -> Tensor:
    """What is read instead of the chosen tokens, each by its own lot as in BERT (Devlin et al. 2019, section 3.1).

    Args:
        tokens: `(N, T)`.
        chosen: `(N, T)`, True where tokens are predicted.
        config: which share becomes what.
        mask: the token of hidden ones.
        characters: `(K,)` tokens, of which a random one is drawn.

    Returns:
        `(N, T)`, drawn from torch's global generator of the CPU.
    """
    lots = torch.rand(tokens.shape)
    others = characters[torch.randint(len(characters), tokens.shape)]
    hidden = torch.where(lots < config.masked + config.random, others, tokens)
    return torch.where(chosen, hidden.masked_fill(lots < config.masked, mask), tokens)


def _jieba() -> Any:
    try:
        import jieba
    except ImportError as error:
        raise SpeechkitError(f"the words of Chinese text need jieba ({error}): `pip install jieba`") from error
    jieba.setLogLevel(logging.WARNING)
    return jieba
