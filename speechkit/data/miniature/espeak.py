"""espeak-ng through ctypes: text to samples with the place of every word and phoneme.

The engine keeps random and phase state between calls, so each call loads the library anew (a third of a millisecond):
what a text sounds like depends on nothing that was said before it.
"""

import ctypes
import os
import tempfile
from _ctypes import dlclose
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from speechkit.common.errors import SpeechkitError

SAMPLE_RATE = 22050

_SYNCHRONOUS = 2
_PHONEME_EVENTS_AND_DONT_EXIT = 1 | 1 << 15
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_UNCLIPPED_VOLUME = 50  # the loudest variants overload at the default of 100
_UTF8 = 1
_LIST_TERMINATED, _WORD, _PHONEME = 0, 1, 7
_PAUSE = "_"
_LONGEST_DATA_PATH = 120  # espeak copies the path into a buffer of 160 bytes and appends file names


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True)
class Voice:
    """How a text is said: espeak voice with variant (`en-us+m3`), words per minute, pitch and pitch range (0-99)."""

    name: str
    rate: int
    pitch: int
    pitch_range: int


@dataclass(frozen=True)
class PhonemeEvent:
    """A phoneme in espeak's own spelling (stress marks kept), the sample where it starts, and the index of its word."""

    start: int
    mnemonic: str
    word: int


@dataclass(frozen=True)
class Speech:
    """What espeak said: samples (int16, `SAMPLE_RATE`), the words it announced and the phonemes, in order of time."""

    samples: npt.NDArray[np.int16]
    words: list[str]
    phonemes: list[PhonemeEvent]


def ends(speech: Speech) -> tuple[int, int]:
    """Samples where the first phoneme that is no pause starts and where the pause at the end does."""
    sounds = [index for index, event in enumerate(speech.phonemes) if not event.mnemonic.startswith(_PAUSE)]
    starts = [*(event.start for event in speech.phonemes), len(speech.samples)]
    return starts[sounds[0]], starts[sounds[-1] + 1]


def synthesise(text: str, voice: Voice) -> Speech:
    """Say one sentence.

    Raises:
        SpeechkitError: espeakng-loader is missing, its library does not start, or it has no such voice.
    """
    library_path, data_path = installation()
    library = ctypes.CDLL(library_path)
    try:
        return _say(library, data_path, text, voice)
    finally:
        library.espeak_Terminate()
        dlclose(library._handle)


def _say(library: ctypes.CDLL, data_path: bytes, text: str, voice: Voice) -> Speech:
    if library.espeak_Initialize(_SYNCHRONOUS, 0, data_path, _PHONEME_EVENTS_AND_DONT_EXIT) != SAMPLE_RATE:
        folder = os.fsdecode(data_path)
        raise SpeechkitError(f"espeak-ng does not start with the data in {folder}; reinstall espeakng-loader")
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))
    if library.espeak_SetVoiceByName(voice.name.encode()) != 0:
        raise SpeechkitError(
            f"espeak-ng has no voice '{voice.name}'; take the espeakng-loader of tools/constraints.txt"
        )
    settings = ((_RATE, voice.rate), (_VOLUME, _UNCLIPPED_VOLUME), (_PITCH, voice.pitch), (_RANGE, voice.pitch_range))
    for parameter, value in settings:
        library.espeak_SetParameter(parameter, value, 0)

    chunks: list[npt.NDArray[np.int16]] = []
    words: list[str] = []
    phonemes: list[PhonemeEvent] = []

    def receive(samples, count: int, events) -> int:  # type: ignore[no-untyped-def]
        if samples and count > 0:
            chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while (event := events[index]).type != _LIST_TERMINATED:
            if event.type == _WORD:
                words.append(text[event.text_position - 1 : event.text_position - 1 + event.length])
            elif event.type == _PHONEME:
                name = ctypes.string_at(ctypes.addressof(event.id), 8).split(b"\0")[0].decode()
                phonemes.append(PhonemeEvent(event.sample, name, len(words) - 1))
            index += 1
        return 0

    callback = _Callback(receive)
    library.espeak_SetSynthCallback(callback)
    encoded = text.encode()
    zero = ctypes.c_uint(0)
    size = ctypes.c_size_t(len(encoded) + 1)
    status = library.espeak_Synth(ctypes.c_char_p(encoded), size, zero, 1, zero, ctypes.c_uint(_UTF8), None, None)
    if status != 0 or not chunks:
        raise SpeechkitError(f"espeak-ng cannot say '{text}' with voice {voice.name}; reinstall espeakng-loader")
    return Speech(np.concatenate(chunks), words, phonemes)


@cache
def installation() -> tuple[str, bytes]:
    """Paths of the library and of its data; a missing espeakng-loader is a `SpeechkitError`."""
    try:
        import espeakng_loader
    except ImportError as error:
        remedy = "add it with: pip install espeakng-loader"
        raise SpeechkitError(f"miniature corpora need the voice of espeak-ng; {remedy}") from error
    data_path = os.fsencode(espeakng_loader.get_data_path())
    if len(data_path) > _LONGEST_DATA_PATH:
        data_path = os.fsencode(_short_link(Path(espeakng_loader.get_data_path())))
    return espeakng_loader.get_library_path(), data_path


def _short_link(target: Path) -> Path:
    """A short way to a folder whose path is too long for espeak; the link lives as long as this process."""
    folder = tempfile.TemporaryDirectory(prefix="espeak-")
    _LINK_FOLDERS.append(folder)
    link = Path(folder.name) / "espeak-ng-data"
    link.symlink_to(target, target_is_directory=True)
    return link


_LINK_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []
