"""What lies between a clean voice and a recording: sampling rate, vocal tract, room, noise and gain."""

from fractions import Fraction
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import firwin, resample_poly

from speechkit.data.miniature.speakers import Speaker

Signal = npt.NDArray[np.float32]
_TAPS_PER_PHASE = 20


def resample(signal: Signal, ratio: Fraction) -> Signal:
    """Change the number of samples by `ratio` without aliasing; sample n moves to n * ratio."""
    result: Signal = resample_poly(signal, ratio.numerator, ratio.denominator, window=_low_pass(ratio))
    return result.astype(np.float32, copy=False)


@cache
def _low_pass(ratio: Fraction) -> Signal:
    widest = max(ratio.numerator, ratio.denominator)
    taps: Signal = firwin(_TAPS_PER_PHASE * widest + 1, 1.0 / widest, window=("kaiser", 5.0)).astype(np.float32)
    return taps


def record(speech: Signal, sample_rate: int, speaker: Speaker, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """Put clean speech into the speaker's room with noise and a random gain; returns as many 16-bit samples."""
    size = next_fast_len(len(speech) + int(speaker.reverberation_s * sample_rate), real=True)
    room = rfft(_room(speaker, sample_rate, rng), size) * _microphone(speaker, size // 2 + 1)
    wet = irfft(rfft(speech, size) * room, size)[: len(speech)]
    noise = _coloured_noise(size, speaker.noise_colour, rng)[: len(speech)]
    snr_db = speaker.snr_db + rng.uniform(-3, 3)
    loudness = np.sqrt(np.mean(np.square(wet[np.abs(speech) > 0.01 * np.abs(speech).max()])))
    wet += noise * (loudness / np.sqrt(np.mean(np.square(noise))) * 10 ** (-snr_db / 20))
    peak = rng.uniform(0.15, 0.8)
    samples: npt.NDArray[np.int16] = np.rint(wet * (peak * 32767 / np.abs(wet).max())).astype(np.int16)
    return samples


def _room(speaker: Speaker, sample_rate: int, rng: np.random.Generator) -> Signal:
    """Impulse response: the direct sound, then exponentially falling noise from 2 ms on."""
    count = int(speaker.reverberation_s * sample_rate)
    seconds = np.arange(count, dtype=np.float32) / sample_rate
    tail = rng.standard_normal(count, dtype=np.float32) * np.exp(-3 * np.log(10) * seconds / speaker.reverberation_s)
    tail[: sample_rate // 500] = 0
    tail *= 10 ** (-speaker.direct_db / 20) / np.sqrt(np.sum(np.square(tail)))
    tail[0] = 1
    response: Signal = tail.astype(np.float32)
    return response


def _microphone(speaker: Speaker, bins: int) -> Signal:
    """Gain at each frequency from 0 to half the sampling rate."""
    order = np.arange(1, len(speaker.microphone_db) + 1)
    cosines = np.cos(np.pi * order * np.linspace(0, 1, bins)[:, None])
    gain: Signal = 10 ** (cosines @ np.asarray(speaker.microphone_db) / 20)
    return gain.astype(np.float32)


def _coloured_noise(size: int, colour: float, rng: np.random.Generator) -> Signal:
    """Gaussian noise whose power falls with frequency to the power of `colour`."""
    bins = np.arange(size // 2 + 1, dtype=np.float32) + size / 200  # flat below half a percent of the sampling rate
    spectrum = rng.standard_normal(len(bins), dtype=np.float32) + 1j * rng.standard_normal(len(bins), dtype=np.float32)
    noise: Signal = irfft(spectrum * bins ** (-colour / 2), size).astype(np.float32)
    return noise
