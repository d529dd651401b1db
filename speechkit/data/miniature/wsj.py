"""A miniature WSJ: discs of LDC93S6A and LDC94S13A with index files, SPHERE audio, .dot transcripts and .ptx prompts.

Half of the speakers of wsj0's training set speak their punctuation, and .dot lines hold some of the marks that
transcribers made. The CSR language-model text shares no sentence with the sets. The audio is not compressed with
shorten, as that of the LDC is.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from speechkit.data.miniature import sphere
from speechkit.data.miniature.grammar import sentences, words
from speechkit.data.miniature.render import Plan, Recording, Utterance
from speechkit.data.miniature.speakers import generator, invent

_SPOKEN = {",": ("COMMA", "comma"), ".": ("PERIOD", "period"), "?": ("QUESTION-MARK", "question mark")}
_NOISES = ("[lip_smack]", "[loud_breath]", ".", "[door_slam>]")
_NOISES_PER_WORD = 0.04
_SUFFIXES = "0123456789abcdefghijklmnopqrstuvwxyz"
_FIRST_UTTERANCE = 1


@dataclass(frozen=True)
class _Set:
    """A folder of speakers: where its files lie and which index lists them.

    `speakers` is the beginning of their names, which `_SUFFIXES` completes; `parts` are the sets that it counts in.
    """

    audio: str
    dots: str
    index: str
    disc: str
    speakers: str
    parts: tuple[str, ...]
    suffix: str = ".wv1"


_WSJ0, _WSJ1 = "LDC93S6A", "LDC94S13A"
_SETS = (
    _Set(
        f"{_WSJ0}/11-1.1/wsj0/si_tr_s", f"{_WSJ0}/11-4.1/wsj0/transcrp/dots/si_tr_s",
        f"{_WSJ0}/11-13.1/wsj0/doc/indices/train/tr_s_wv1.ndx", "11_1_1", "0", ("si84", "si284"),
    ),
    _Set(
        f"{_WSJ0}/11-2.1/wsj0/si_tr_s", f"{_WSJ0}/11-4.1/wsj0/transcrp/dots/si_tr_s",
        f"{_WSJ0}/11-13.1/wsj0/doc/indices/train/tr_s_wv1.ndx", "11_2_1", "40", (),
    ),
    _Set(
        f"{_WSJ1}/13-1.1/wsj1/si_tr_s", f"{_WSJ1}/13-34.1/wsj1/trans/wsj1/si_tr_s",
        f"{_WSJ1}/13-34.1/wsj1/doc/indices/si_tr_s.ndx", "13_1_1", "4", ("si284",),
    ),
    _Set(
        f"{_WSJ1}/13-16.1/wsj1/si_dt_20", f"{_WSJ1}/13-34.1/wsj1/trans/wsj1/si_dt_20",
        f"{_WSJ1}/13-34.1/wsj1/doc/indices/h1_p0.ndx", "13_16_1", "4k", ("dev93",),
    ),
    _Set(
        f"{_WSJ0}/11-14.1/wsj0/si_et_20", f"{_WSJ0}/11-14.1/wsj0/si_et_20",
        f"{_WSJ0}/11-13.1/wsj0/doc/indices/test/nvp/si_et_20.ndx", "11_14_1", "44", ("eval92",), "",
    ),
    _Set(
        f"{_WSJ1}/13-33.1/wsj1/si_et_h1/wsj64k", f"{_WSJ1}/13-33.1/wsj1/si_et_h1/wsj64k",
        f"{_WSJ1}/13-32.1/wsj1/doc/indices/wsj1/eval/h1_p0.ndx", "13_32_1", "4o", ("eval93",),
    ),
)  # fmt: skip
_SPEAKERS = {
    "wsj0": Path(f"{_WSJ0}/11-13.1/wsj0/doc/spkrinfo.txt"),
    "wsj1": Path(f"{_WSJ1}/13-34.1/wsj1/doc/train/spkrinfo.txt"),
}
_LM_TEXT = f"{_WSJ1}/13-32.1/wsj1/doc/lng_modl/lm_train/np_data/87/w7_001.z"


@dataclass(frozen=True)
class Size:
    """Speakers and utterances of each, in the order of `_SETS`, and sentences of language-model text."""

    sets: tuple[tuple[int, int], ...]
    lm_sentences: int


SIZES = {
    "tiny": Size(((2, 6), (1, 2), (2, 6), (2, 3), (2, 3), (1, 3)), 300),
    "mini": Size(((30, 16), (1, 4), (40, 14), (8, 10), (8, 10), (6, 8)), 10000),
    "small": Size(((83, 20), (1, 10), (200, 18), (10, 50), (8, 42), (10, 21)), 30000),
}


@dataclass
class _Texts:
    """What is written besides audio: rows of indices and lines of transcripts and prompts, by file."""

    lines: dict[Path, list[str]] = field(default_factory=dict)

    def add(self, path: Path, line: str) -> None:
        self.lines.setdefault(path, []).append(f"{line}\n")


def plan(size: str, seed: int) -> Plan:
    """Plan the miniature WSJ of a size in `SIZES`."""
    wanted = SIZES[size]
    texts = sentences(generator(seed, "wsj sentences"), shortest=5, longest=12)
    marks = generator(seed, "wsj marks")
    utterances: list[Utterance] = []
    letters: set[str] = set()  # of the training sets: no other is in the rest, as in the real corpus
    files = _Texts()
    for one, (num_speakers, num_utterances) in zip(_SETS, wanted.sets, strict=True):
        files.lines[Path(one.index)] = files.lines.get(Path(one.index), [";; miniature\n"])
        training = "si_tr_s" in one.audio
        for number, name in enumerate(_names(one, num_speakers)):
            speaker = invent(name, "f" if number % 2 else "m", seed, held_out=not training)
            verbalised = one.parts[:1] == ("si84",) and number % 2 == 1
            for utterance in range(_FIRST_UTTERANCE, _FIRST_UTTERANCE + num_utterances):
                sentence = next(text for text in texts if training or letters.issuperset("".join(words(text))))
                letters.update("".join(words(sentence)))
                identity = f"{name}c02{_two_digits(utterance)}"
                path = Path(one.audio) / name / identity
                utterances.append(Utterance(path, _said(sentence) if verbalised else sentence, speaker, one.parts))
                prompt = _prompt(sentence, verbalised)
                session = Path(one.dots) / name / f"{name}c0200.dot"
                files.add(session, f"{' '.join(_marked(prompt, marks))} ({identity})")
                files.add(session.with_suffix(".ptx"), f"{' '.join(prompt)} ({identity})")
                place = path.relative_to(Path(*path.parts[:2])).as_posix()
                files.add(Path(one.index), f"{one.disc}:{place}{one.suffix}")
            files.add(_SPEAKERS[path.parts[2]], f"{name}  {speaker.sex.upper()}  synthesised, {speaker.voice.name}")
    documents = {path: "".join(lines) for path, lines in files.lines.items()}
    documents[Path(_LM_TEXT)] = "".join(_lm_lines(texts, wanted.lm_sentences))
    return Plan(utterances, 16000, (0.1, 0.3), write, labelled=False, documents=documents)


def _names(one: _Set, count: int) -> list[str]:
    """Three letters and digits for each speaker; speaker 401, whom everybody leaves out, is one of them."""
    if one.speakers == "40":
        return ["401"]
    if len(one.speakers) == 2:
        return [one.speakers + suffix for suffix in _SUFFIXES[:count]]
    taken = {"4k", "44", "4o", "40"}
    pairs = (one.speakers + first + second for first in _SUFFIXES for second in _SUFFIXES)
    return [name for name in pairs if name[:2] not in taken][:count]


def _two_digits(number: int) -> str:
    return _SUFFIXES[number // len(_SUFFIXES)] + _SUFFIXES[number % len(_SUFFIXES)]


def _said(sentence: str) -> str:
    """A sentence with its punctuation in words, as espeak is to read it."""
    for mark, (_, name) in _SPOKEN.items():
        sentence = sentence.replace(mark, f" {name}")
    return f"{sentence}."


def _prompt(sentence: str, verbalised: bool) -> list[str]:
    """The words of a prompt; punctuation is spelled out if it is to be read, else left out."""
    tokens = re.findall(r"[\w']+|[,.?]", sentence)
    spelled = [f"{token}{_SPOKEN[token][0]}" if token in _SPOKEN else token for token in tokens]
    return [token for token in spelled if verbalised or token[0] not in _SPOKEN]


def _marked(prompt: Sequence[str], rng: np.random.Generator) -> Iterator[str]:
    """The prompt as a transcriber writes it down: marks of punctuation escaped, noises and pauses noted."""
    for word in prompt:
        if rng.random() < _NOISES_PER_WORD:
            yield str(rng.choice(_NOISES))
        yield f"\\{word}" if word[0] in _SPOKEN else word


def _lm_lines(texts: Iterator[str], count: int) -> Iterator[str]:
    for number in range(count):
        if number % 10 == 0:
            yield f"<art 87.{number // 10:05d}>\n"
        yield " ".join(_prompt(next(texts), verbalised=False)).upper() + "\n"


def write(recording: Recording, utterance: Utterance, folder: Path) -> None:
    """Write one SPHERE file."""
    database = "WSJ1" if utterance.path.parts[0] == _WSJ1 else "WSJ0"
    content = sphere.encode(recording.samples, recording.sample_rate, database, "miniature-1", utterance.path.name)
    (folder / utterance.path).with_suffix(".wv1").write_bytes(content)
