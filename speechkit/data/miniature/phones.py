"""From espeak's phoneme events to TIMIT's 61 phones with true boundaries.

espeak tells where each phoneme starts. Three things are missing for TIMIT's way of labelling. Two are read from the
clean signal: the silent closure before a voiceless stop (espeak counts it to the phoneme before) and the burst inside a
voiced stop (espeak counts closure and release as one). Syllable-final `l`, to which espeak gives no length of its own,
and vowel pairs that it counts as one take fixed shares.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.fft import irfft, next_fast_len, rfft

from speechkit.common.errors import SpeechkitError
from speechkit.data.miniature.espeak import SAMPLE_RATE, Speech

SILENCE = "h#"
PAUSE = "pau"
EPENTHETIC = "epi"
CLOSURES = {"b": "bcl", "d": "dcl", "g": "gcl", "p": "pcl", "t": "tcl", "k": "kcl", "ch": "tcl", "jh": "dcl"}

# espeak's mnemonics of General American (voice en-us) without stress marks -> TIMIT phones.
TIMIT_PHONES: dict[str, tuple[str, ...]] = {
    "_": (PAUSE,), "_:": (PAUSE,),
    "b": ("b",), "d": ("d",), "g": ("g",), "p": ("p",), "t": ("t",), "t2": ("t",), "k": ("k",),
    "t#": ("dx",), "?": ("q",), "tS": ("ch",), "dZ": ("jh",),
    "s": ("s",), "S": ("sh",), "z": ("z",), "Z": ("zh",), "f": ("f",), "T": ("th",), "v": ("v",), "D": ("dh",),
    "m": ("m",), "n": ("n",), "N": ("ng",), "n-": ("en",),
    "l": ("l",), "@L": ("el",), "r": ("r",), "r-": ("r",), "w": ("w",), "j": ("y",), ";": ("y",), "h": ("hh",),
    "i": ("iy",), "i:": ("iy",), "I": ("ih",), "I2": ("ih",), "I#": ("ix",), "E": ("eh",), "eI": ("ey",),
    "a": ("ae",), "aa": ("ae",),
    "A:": ("aa",), "0": ("aa",), "O:": ("ao",), "O2": ("ao",), "V": ("ah",), "U": ("uh",), "u:": ("uw",),
    "aI": ("ay",), "aU": ("aw",), "OI": ("oy",), "oU": ("ow",),
    "3:": ("er",), "3": ("axr",), "@": ("ax",), "@2": ("ax",), "a#": ("ax",),
    "A@": ("aa", "r"), "O@": ("ao", "r"), "o@": ("ao", "r"), "e@": ("eh", "r"), "i@3": ("ih", "r"), "U@": ("uh", "r"),
    "i@": ("iy", "ax"), "aI@": ("ay", "ax"), "aI3": ("ay", "axr"),
}  # fmt: skip

_STRESS_MARKS = "',%="
_FIRST_OF_TWO = 0.6  # share of the first phone where espeak gives two as one
_FINAL_L = 0.35  # share of a syllable-final l in the vowel that holds it
_BLOCK = SAMPLE_RATE // 500  # 2 ms
_SILENT = 0.006  # of the utterance's peak
_VOICE_BAR_HZ = 4500  # during a voiced closure there is no sound above
_BURST = 0.12  # of the highest level above the voice bar within the stop
_VOWEL_TAIL = 3  # blocks at the start of a stop into which the sound before reaches
_SHORTEST_PHONE = SAMPLE_RATE // 100
_SHORTEST_CLOSURE = SAMPLE_RATE // 100
_SHORTEST_EPENTHETIC = SAMPLE_RATE // 40


@dataclass(frozen=True)
class Segment:
    """One phone from sample `start` to before sample `end`; `word` is the index of its word, -1 for silence."""

    start: int
    end: int
    phone: str
    word: int


def segment(speech: Speech) -> list[Segment]:
    """Label all samples of an utterance: contiguous, from 0 to the last sample, `h#` at both ends.

    Raises:
        SpeechkitError: espeak used a phoneme that has no TIMIT phone in `TIMIT_PHONES`.
    """
    samples = speech.samples.astype(np.float32)
    level = _blocks(samples)
    release_level = _blocks(_above(samples, _VOICE_BAR_HZ))
    silent = level < _SILENT * level.max()
    result: list[Segment] = []
    for item in _events_to_segments(speech):
        result += _with_closure(item, _detach_silence(result, item, silent), release_level)
    return _merged(_lengthened(result), len(samples))


def _blocks(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Highest absolute value in each block."""
    padded = np.abs(np.pad(values, (0, -len(values) % _BLOCK)))
    highest: npt.NDArray[np.float32] = padded.reshape(-1, _BLOCK).max(axis=1)
    return highest


def _above(samples: npt.NDArray[np.float32], hertz: float) -> npt.NDArray[np.float32]:
    """The part of a signal above a frequency, without delay."""
    size = next_fast_len(len(samples), real=True)
    spectrum = rfft(samples, size)
    spectrum[: int(hertz / SAMPLE_RATE * size)] = 0
    result: npt.NDArray[np.float32] = irfft(spectrum, size)[: len(samples)]
    return result


def timit_phones(mnemonic: str) -> tuple[str, ...]:
    """TIMIT's phones for an espeak mnemonic, with or without stress marks."""
    phones = TIMIT_PHONES.get(mnemonic.lstrip(_STRESS_MARKS))
    if phones is None:
        raise SpeechkitError(
            f"espeak-ng said '{mnemonic}', which has no TIMIT phone; add it to TIMIT_PHONES in {__name__}"
        )
    return phones


def _events_to_segments(speech: Speech) -> list[Segment]:
    """One segment per phone from the events alone; one that espeak gives no time of its own is empty."""
    starts = [event.start for event in speech.phonemes]
    ends = [*starts[1:], len(speech.samples)]
    result = []
    for event, start, end, following in zip(speech.phonemes, starts, ends, [*speech.phonemes[1:], None], strict=True):
        phones = timit_phones(event.mnemonic)
        if phones[-1] == "r" and following is not None and timit_phones(following.mnemonic) == ("r",):
            phones = phones[:1]
        middle = start + round((end - start) * _FIRST_OF_TWO) if len(phones) == 2 else end
        for phone, left, right in zip(phones, (start, middle), (middle, end), strict=False):
            result.append(Segment(left, right, phone, -1 if phone == PAUSE else event.word))
    return [item for item in result if item.end > item.start or item.phone != PAUSE]


def _detach_silence(before: list[Segment], item: Segment, silent: npt.NDArray[np.bool_]) -> int:
    """Give silence at the end of the last segment to what it belongs to; return where `item` starts then."""
    if not before or before[-1].phone in (PAUSE, "q"):
        return item.start
    last = before[-1]
    block = item.start // _BLOCK
    while block > last.start // _BLOCK + 1 and silent[block - 1]:
        block -= 1
    edge = block * _BLOCK
    if item.start - edge < _SHORTEST_CLOSURE:
        return item.start
    if item.phone in CLOSURES or item.phone in ("q", "dx", PAUSE):
        before[-1] = replace(last, end=edge)
        return edge
    if item.start - edge >= _SHORTEST_EPENTHETIC:
        before[-1] = replace(last, end=edge)
        before.append(Segment(edge, item.start, EPENTHETIC, last.word))
    return item.start


def _with_closure(item: Segment, start: int, release_level: npt.NDArray[np.float32]) -> list[Segment]:
    """Split a stop or affricate that starts at `start`, its closure silence included, into closure and release."""
    if item.phone not in CLOSURES:
        return [replace(item, start=start)]
    first, last = item.start // _BLOCK, max(item.end // _BLOCK, item.start // _BLOCK + 1)
    loud = release_level[first:last] >= _BURST * release_level[first:last].max()
    burst = (
        (first + _VOWEL_TAIL + int(np.argmax(loud[_VOWEL_TAIL:]))) * _BLOCK if loud[_VOWEL_TAIL:].any() else item.start
    )
    if burst - item.start < _SHORTEST_CLOSURE:
        burst = item.start
    if burst == start:
        return [item]
    return [Segment(start, burst, CLOSURES[item.phone], item.word), replace(item, start=burst)]


def _lengthened(segments: list[Segment]) -> list[Segment]:
    """Give a sound that espeak merged into the one before it (a syllable-final `l`) the end of that one."""
    result: list[Segment] = []
    for item in segments:
        is_sound = item.phone not in CLOSURES and item.phone not in CLOSURES.values() and item.phone != PAUSE
        if is_sound and item.end - item.start < _SHORTEST_PHONE and result:
            middle = item.start - round((result[-1].end - result[-1].start) * _FINAL_L)
            result[-1] = replace(result[-1], end=middle)
            item = replace(item, start=middle)
        result.append(item)
    return result


def _merged(segments: list[Segment], length: int) -> list[Segment]:
    """Join neighbouring pauses, call those at the ends `h#`, and cover every sample."""
    result: list[Segment] = []
    if segments[0].start > 0:
        result.append(Segment(0, segments[0].start, SILENCE, -1))
    for item in segments:
        if item.phone == PAUSE and result and result[-1].phone == PAUSE:
            result[-1] = replace(result[-1], end=item.end)
        else:
            result.append(item)
    if result[-1].phone == PAUSE:
        result[-1] = replace(result[-1], phone=SILENCE)
    return [*result[:-1], replace(result[-1], end=length)]
