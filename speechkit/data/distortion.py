"""Speed, noise and reverberation for training audio, drawn anew for every batch and the same in every run.

Lhotse's own are not used: its random rooms differ from run to run whatever the seed, so a training could not be resumed
exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speechkit.common.errors import SpeechkitError
from speechkit.data.audio import BadAudioError, read_audio, read_header
from speechkit.data.manifests import read_cuts

Samples = NDArray[np.float32]
SUFFIXES = (".wav", ".flac", ".ogg")
TAIL_BEGINS_SECONDS = 0.002
DIRECT_TO_REVERBERANT_DB = (0.0, 12.0)
COLOURS = (0.0, 2.0)  # of synthesised noise: power falls with frequency to this power
QUIETEST = 1e-5  # root mean square below which an utterance gets no noise


@dataclass(frozen=True, kw_only=True)
class DistortionConfig:
    """What is done to the waveforms of a batch.

    Attributes:
        speeds: one of these is drawn for each utterance, which plays so many times as fast, pitch included.
        noise_share: part of the utterances that get noise.
        noise: folder of mono recordings of noise, or a manifest of cuts of them; synthesised noise where left out.
        snr: least and largest ratio of speech to noise in decibels.
        reverb_share: part of the utterances that are put into a room.
        reverb_seconds: shortest and longest time in which the sound of a room falls by 60 dB.
    """

    speeds: tuple[float, ...] = (1.0,)
    noise_share: float = 0.0
    noise: str | None = None
    snr: tuple[float, float] = (5.0, 20.0)
    reverb_share: float = 0.0
    reverb_seconds: tuple[float, float] = (0.1, 0.6)

    def __post_init__(self) -> None:
        for name in ("noise_share", "reverb_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} lies between 0 and 1, not at {getattr(self, name):g}")
        if not self.speeds or not all(0.5 <= speed <= 2 for speed in self.speeds):
            raise ValueError("speeds lie between 0.5 and 2")
        if not 0 < self.reverb_seconds[0] <= self.reverb_seconds[1]:
            raise ValueError("reverb_seconds are two times above 0, the shorter first")


class Distortion:
    """Distorts waveforms at one sampling rate in Hz."""

    def __init__(self, config: DistortionConfig, rate: int) -> None:
        self.config, self.rate = config, rate
        self.noises = _noises(Path(config.noise), rate) if config.noise and config.noise_share else []

    def __call__(self, samples: Samples, rng: np.random.Generator) -> Samples:
        """Samples `(S,)` at another speed, in a room, with noise, or as they are; their loudness stays."""
        speed = self.speed(rng)
        return self.surround(change_speed(samples, speed, round(len(samples) / speed)), rng)

    def speed(self, rng: np.random.Generator) -> float:
        """One of the configured speeds."""
        return float(rng.choice(self.config.speeds))

    def surround(self, samples: Samples, rng: np.random.Generator) -> Samples:
        """Samples `(S,)` in a room, with noise, or as they are; their loudness stays, and no sound comes later."""
        config = self.config
        if rng.random() < config.reverb_share:
            samples = reverberated(samples, room(rng.uniform(*config.reverb_seconds), self.rate, rng))
        if rng.random() < config.noise_share:
            samples = with_noise(samples, self._noise(len(samples), rng), rng.uniform(*config.snr))
        return samples

    def _noise(self, count: int, rng: np.random.Generator) -> Samples:
        """`count` samples, from a random place of a random recording on, which begins again where it ends."""
        if not self.noises:
            return coloured_noise(count, rng.uniform(*COLOURS), rng)
        path, size = self.noises[int(rng.integers(len(self.noises)))]
        start = int(rng.integers(max(1, size - count + 1)))
        try:
            samples, _ = read_audio(path, start, min(count, size - start))
        except BadAudioError as error:
            raise SpeechkitError(f"noise {path}: {error}; remove it from batches of noise") from error
        return np.resize(samples, count)


def change_speed(samples: Samples, speed: float, num_samples: int) -> Samples:
    """Play `(S,)` samples `speed` times as fast, pitch included; `num_samples`, about S / speed, are returned."""
    from scipy.signal import resample_poly

    if speed == 1:
        return samples
    ratio = Fraction(speed).limit_denominator(1000)
    changed: Samples = resample_poly(samples, ratio.denominator, ratio.numerator)
    padded: Samples = np.pad(changed[:num_samples], (0, max(0, num_samples - len(changed))))
    return padded


def room(seconds: float, rate: int, rng: np.random.Generator) -> Samples:
    """A random impulse response that falls by 60 dB in `seconds`: the direct sound, then noise that dies away."""
    count = max(2, round(seconds * rate))
    response: Samples = rng.standard_normal(count, dtype=np.float32)
    response *= np.exp(-3 * np.log(10) * np.arange(count, dtype=np.float32) / count)
    response[: max(1, round(TAIL_BEGINS_SECONDS * rate))] = 0
    direct = 10 ** (rng.uniform(*DIRECT_TO_REVERBERANT_DB) / 20)
    response /= direct * max(float(np.sqrt(np.sum(np.square(response)))), 1e-12)
    response[0] = 1
    return response


def reverberated(samples: Samples, response: Samples) -> Samples:
    """`samples` convolved with a room's response, as many and as loud as before."""
    from scipy.signal import oaconvolve

    wet: Samples = oaconvolve(samples, response)[: len(samples)].astype(np.float32)
    loudness = _loudness(wet)
    wet *= _loudness(samples) / loudness if loudness > 0 else 1
    return wet


def with_noise(samples: Samples, noise: Samples, snr: float) -> Samples:
    """The sum at a ratio of `snr` decibels, as loud as `samples` were; silence stays silent."""
    speech, loudness = _loudness(samples), _loudness(noise)
    if speech < QUIETEST or loudness == 0:
        return samples
    mixed: Samples = samples + noise * np.float32(speech / loudness * 10 ** (-snr / 20))
    mixed *= speech / _loudness(mixed)
    return mixed


def coloured_noise(count: int, colour: float, rng: np.random.Generator) -> Samples:
    """Gaussian noise whose power falls with frequency to the power of `colour`, above half a percent of the rate."""
    from scipy.fft import irfft, next_fast_len

    size = next_fast_len(max(count, 2), real=True)
    bins = np.arange(size // 2 + 1, dtype=np.float32) + size / 200
    spectrum = rng.standard_normal((2, len(bins)), dtype=np.float32)
    noise: Samples = irfft((spectrum[0] + 1j * spectrum[1]) * bins ** np.float32(-colour / 2), size)[:count]
    return noise.astype(np.float32)


def _loudness(samples: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(samples), dtype=np.float64))) if len(samples) else 0.0


def _noises(source: Path, rate: int) -> Sequence[tuple[Path, int]]:
    """Recordings of noise and how many samples they have."""
    if source.is_dir():
        paths = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES)
    else:
        paths = [Path(cut.recording.sources[0].source) for cut in read_cuts(source)]
    if not paths:
        raise SpeechkitError(f"{source} holds no recording of noise ({' '.join(SUFFIXES)}); correct the path")
    found = []
    for path in paths:
        header = read_header(path)
        if (header.sampling_rate, header.num_channels) != (rate, 1):
            raise SpeechkitError(
                f"noise {path} is not mono at {rate} Hz; convert it: ffmpeg -i OLD -ac 1 -ar {rate} NEW.wav"
            )
        found.append((path, header.num_samples))
    return found
