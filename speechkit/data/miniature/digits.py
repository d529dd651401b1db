"""Miniature digits in the manner of the Free Spoken Digit Dataset.

One folder of `{digit}_{speaker}_{take}.wav`, 8 kHz, 16-bit, mono, without silence at the ends. The size "voices" is no
corpus of its own: hundreds of speakers of all accents with few takes each, to join the training of real recordings.
"""

from collections.abc import Sequence
from pathlib import Path

from speechkit.data.miniature.render import Plan, Utterance
from speechkit.data.miniature.speakers import Speaker, invent, invent_varied
from speechkit.data.miniature.wav import write

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
VOICES = "voices"
SIZES = {"tiny": (2, 12), "mini": (6, 20), "small": (12, 50), VOICES: (350, 3)}  # speakers, takes of a digit by each
# English as espeak's voices of other languages read it, in their spelling: foreign accents.
_FOREIGN = {
    "de": "siero uann tuh srih fohr faif ssiks sewwen eht nain",
    "el": "ζίροου γουάν του θρι φορ φάιβ σιξ σέβεν έιτ νάιν",
    "es": "siro uan tu tri for faif siks seven eit nain",
    "fr": "ziro ouane tou sri for faïve sixe sévène éïte naïne",
    "it": "ziro uan tu tri for faiv sics seven eit nain",
    "nl": "ziero wan toe srie for faajf siks seven eet najn",
    "pl": "ziro łan tu sri for fajw siks sewen ejt najn",
}
_ENGLISH = ("en-us", "en", "en-gb-scotland", "en-029", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd")
_SPEAKERS = (
    ("anna", "f"), ("boris", "m"), ("clara", "f"), ("dmitri", "m"), ("elena", "f"), ("felix", "m"),
    ("greta", "f"), ("henry", "m"), ("irene", "f"), ("jonas", "m"), ("karla", "f"), ("louis", "m"),
)  # fmt: skip


def plan(size: str, seed: int) -> Plan:
    """Plan the miniature digits of a size in `SIZES`; takes 0 to 4 are the test set by the corpus's own rule."""
    num_speakers, num_takes = SIZES[size]
    if size == VOICES:
        languages = (*_ENGLISH, *_FOREIGN)
        speakers = [invent_varied(f"voice{number:03d}", languages, seed) for number in range(num_speakers)]
    else:
        speakers = [invent(name, sex, seed, held_out=False) for name, sex in _SPEAKERS[:num_speakers]]
    utterances = [
        Utterance(Path(f"{digit}_{speaker.name}_{take}"), f"{word}.", speaker, (speaker.name,))
        for speaker in speakers
        for digit, word in enumerate(_words(speaker))
        for take in range(num_takes)
    ]
    return Plan(utterances, sample_rate=8000, silence_s=(0.0, 0.0), write=write, labelled=size != VOICES)


def _words(speaker: Speaker) -> Sequence[str]:
    """The digits as the speaker's language spells their English names."""
    foreign = _FOREIGN.get(speaker.voice.name.partition("+")[0])
    return foreign.split() if foreign else DIGITS
