"""Speech of which the truth is known: every unit has a spectrum of its own."""

from dataclasses import dataclass

import numpy as np
import torch

from speechkit.align.hmm import HmmConfig
from speechkit.align.models import CepstraConfig, Utterance
from speechkit.align.train import GmmConfig, TrainingSet
from speechkit.align.units import Units
from speechkit.features.cmvn import CmvnStats
from speechkit.features.fbank import FbankConfig
from speechkit.text.lexicon import Lexicon

BINS = 12
WORDS = (("ab", "a b"), ("ba", "b a"), ("cab", "c a b"), ("or", "a c"), ("or", "c b a"))
FBANK = FbankConfig(num_bins=BINS)


@dataclass
class Speech:
    """Utterances with the words, units and first frames of both that were said."""

    units: Units
    utterances: list[Utterance]
    words: list[list[tuple[str, int, int]]]
    phones: list[list[tuple[str, int, int]]]


def make_speech(count: int, seed: int = 0, silence: float = 0.5) -> Speech:
    """Utterances of two to five words, silence at both ends and with a probability between words."""
    rng = np.random.default_rng(seed)
    units = Units.of_lexicon(Lexicon((word, spelling.split()) for word, spelling in WORDS))
    spectra = np.random.default_rng(7).normal(0, 3, size=(len(units), BINS))
    speech = Speech(units, [], [], [])
    for number in range(count):
        sequence: list[tuple[str, str]] = [("", "sil")]
        words = []
        for _ in range(rng.integers(2, 6)):
            word, spelling = WORDS[rng.integers(len(WORDS))]
            words.append(word)
            sequence.append((word, spelling))
            if rng.random() < silence:
                sequence.append(("", "sil"))
        if sequence[-1][0]:
            sequence.append(("", "sil"))
        frames, said, phones = [], [], []
        place = 0
        for word, spelling in sequence:
            first = place
            for unit in spelling.split():
                length = int(rng.integers(6, 16))
                phones.append((unit, place, place + length))
                frames.append(np.repeat(spectra[units.ids[unit], None], length, axis=0))
                place += length
            if word:
                said.append((word, first, place))
        log_mel = torch.from_numpy(np.concatenate(frames) + rng.normal(0, 0.7, size=(place, BINS))).float()
        fields = {"text": " ".join(words)}
        duration = (place - 1) * 0.01 + 0.025
        speech.utterances.append(
            Utterance(f"u{number}", log_mel, CmvnStats.of(log_mel), duration, units.transcript(fields))
        )
        speech.words.append(said)
        speech.phones.append(phones)
    return speech


def training_set(speech: Speech, config: GmmConfig, hmm: HmmConfig | None = None) -> TrainingSet:
    features = [config.features.features(each) for each in speech.utterances]
    return TrainingSet(features, [each.transcript for each in speech.utterances], speech.units, hmm or HmmConfig())


QUICK = GmmConfig(features=CepstraConfig(cepstra=BINS), iterations=12, growth_iterations=8, gaussians=20)
