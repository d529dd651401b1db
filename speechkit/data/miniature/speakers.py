"""Invented speakers: who has which voice, in which room."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from speechkit.data.miniature.espeak import Voice

# Variants of espeak's American voice, without those that add an echo, a robot or a whisper. All speak with the same
# phoneme inventory; other accents do not map to TIMIT's phones one to one. Held-out speakers have their own variants.
_VARIANTS = {
    ("m", False): (
        "m1 m4 m5 m6 m8 max Andy Denis Gene Jacky Mario Michael antonio ed grandpa iven3 iven4 john "
        "marcelo paul rob robert victor Nguyen"
    ),
    ("f", False): "Andrea aunty belinda steph steph2 steph3 grandma shelby",
    ("m", True): "m3 m7 Alex ian norbert quincy sandro travis pedro",
    ("f", True): "f1 Annie anika",
}
_MICROPHONE_DB = 6.0  # standard deviation of the lowest cosine of a varied speaker's microphone


@dataclass(frozen=True)
class Speaker:
    """A speaker and the place of recording.

    `stretch` scales all frequencies, as a shorter (above 1) or longer vocal tract does; `reverberation_s` is the time
    in which the room's echo falls by 60 dB, `direct_db` the level of the direct sound above all echoes, `snr_db` the
    level of speech above the noise, `noise_colour` the exponent of the noise spectrum (0 white, 1 pink, 2 brown).
    `microphone_db` is the frequency response, the amplitudes of cosines over the spectrum; none for an even one.
    """

    name: str
    sex: str
    voice: Voice
    stretch: float
    reverberation_s: float
    direct_db: float
    snr_db: float
    noise_colour: float
    microphone_db: tuple[float, ...] = ()


def generator(seed: int, name: str) -> np.random.Generator:
    """Random numbers that depend on the seed and on a name only."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def invent(name: str, sex: str, seed: int, held_out: bool, language: str = "en-us") -> Speaker:
    """Invent the speaker called `name`, of sex `m` or `f`; no other speaker has the voice variant of a held-out one."""
    rng = generator(seed, f"speaker {name}")
    variants = _VARIANTS[sex, held_out].split()
    voice = Voice(
        name=f"{language}+{rng.choice(variants)}",
        rate=int(rng.integers(140, 201)),
        pitch=int(rng.integers(25, 76)),
        pitch_range=int(rng.integers(25, 76)),
    )
    return Speaker(
        name=name,
        sex=sex,
        voice=voice,
        stretch=float(rng.uniform(0.94, 1.06)),
        reverberation_s=float(rng.uniform(0.08, 0.3)),
        direct_db=float(rng.uniform(8, 18)),
        snr_db=float(rng.uniform(18, 32)),
        noise_colour=float(rng.uniform(0.3, 1.6)),
    )


def invent_varied(name: str, languages: Sequence[str], seed: int) -> Speaker:
    """Invent a speaker whose voice speaks one of espeak's `languages`; a crowd of them differs more than `invent`'s."""
    rng = generator(seed, f"varied speaker {name}")
    sex = str(rng.choice(["m", "f"]))
    variants = f"{_VARIANTS[sex, False]} {_VARIANTS[sex, True]}".split()
    voice = Voice(
        name=f"{rng.choice(languages)}+{rng.choice(variants)}",
        rate=int(rng.integers(120, 231)),
        pitch=int(rng.integers(10, 81)),
        pitch_range=int(rng.integers(10, 81)),
    )
    return Speaker(
        name=name,
        sex=sex,
        voice=voice,
        stretch=float(rng.uniform(0.86, 1.14)),
        reverberation_s=float(rng.uniform(0.05, 0.25)),
        direct_db=float(rng.uniform(8, 22)),
        snr_db=float(rng.uniform(12, 40)),
        noise_colour=float(rng.uniform(0.3, 1.6)),
        microphone_db=tuple((rng.standard_normal(5) * _MICROPHONE_DB / np.sqrt(np.arange(1, 6))).tolist()),
    )
