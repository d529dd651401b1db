"""Perplexity of a text under an n-gram model, by KenLM."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechkit.common.errors import SpeechkitError
from speechkit.lm.counts import read_sentences


@dataclass(frozen=True)
class Perplexity:
    """log10 probability of a text of `tokens` words and sentence ends, `unknown` of which the model has not."""

    log10_prob: float
    tokens: int
    unknown: int

    @property
    def value(self) -> float:
        """Perplexity per token, unknown words (as <unk>) and sentence ends included."""
        return float(10 ** (-self.log10_prob / max(self.tokens, 1)))


def perplexity(model: Path, text: Path) -> Perplexity:
    """Score every line of `text` as a sentence; all else is as in `perplexity_of`."""
    return perplexity_of(model, read_sentences(text))


def perplexity_of(model: Path, sentences: Iterable[Sequence[str]]) -> Perplexity:
    """Score sentences with the ARPA or KenLM binary file `model`.

    Raises:
        SpeechkitError: a file is missing or not a model, or the kenlm package is not installed.
    """
    try:
        import kenlm
    except ImportError as error:
        raise SpeechkitError("perplexity needs KenLM: pip install kenlm") from error
    config = kenlm.Config()
    config.show_progress, config.arpa_complain = False, kenlm.ARPALoadComplain.NONE
    try:
        loaded = kenlm.Model(str(model), config)
    except OSError as error:
        raise SpeechkitError(
            f"{model} is not a language model that KenLM reads; estimate it again ({error})"
        ) from error
    total, tokens, unknown = 0.0, 0, 0
    for words in sentences:
        scores = list(loaded.full_scores(" ".join(words)))
        total += sum(score for score, _, _ in scores)
        tokens += len(scores)
        unknown += sum(is_unknown for _, _, is_unknown in scores)
    return Perplexity(total, tokens, unknown)
