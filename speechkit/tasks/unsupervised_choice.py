"""Choice among decodings without any transcript: what reads like the language, and is near to the labels before.

wav2vec-U chooses the language-model weight of its hidden Markov models by the least ln(perplexity) * max(error rate
against the labels that they were trained on, floor) (Baevski et al. 2021, in its published scripts).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechkit.common.errors import SpeechkitError
from speechkit.lm.perplexity import perplexity_of
from speechkit.metrics.error_rate import count_corpus

Texts = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Candidate:
    """A decoding: perplexity of its text by the language model, and its errors for each word of the labels."""

    name: str
    perplexity: float
    error_rate: float
    score: float


def choice_score(perplexity: float, error_rate: float, floor: float) -> float:
    """What is least for the best decoding; a decoding that is not nearer than `floor` to the labels gains nothing."""
    return math.log(perplexity) * max(error_rate, floor)


def candidate(name: str, heard: Texts, labels: Texts, lm: Path, floor: float) -> Candidate:
    """Figures of a decoding with words `heard`.

    Raises:
        SpeechkitError: the labels are of other utterances, or as `perplexity_of`.
    """
    if heard.keys() != labels.keys():
        raise SpeechkitError(
            f"{name} and the labels are of different utterances; decode the cuts that the labels are of"
        )
    sentences = [heard[utterance] for utterance in labels]
    perplexity = perplexity_of(lm, sentences).value
    errors = count_corpus([list(words) for words in labels.values()], [list(words) for words in sentences]).rate / 100
    return Candidate(name, perplexity, errors, choice_score(perplexity, errors, floor))
