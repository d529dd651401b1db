"""TIMIT (LDC93S1): 462 training, 50 development and 24 core-test speakers, without the SA sentences.

Lhotse's own recipe does not fit: it keeps the SA sentences, wants `data/TRAIN` in capitals, and passes over
utterances of which a file is missing.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lhotse import Recording, SupervisionSegment
from lhotse.supervision import AlignmentItem

from speechkit.common.errors import SpeechkitError
from speechkit.data.audio import BadAudioError
from speechkit.data.corpora.published import compare
from speechkit.data.corpora.recognise import wrong_corpus
from speechkit.data.manifests import Problem, Split, make_recording
from speechkit.data.miniature import MARKER
from speechkit.text.phones import PHONES_61


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


log = logging.getLogger(__name__)
UTTERANCES = {"train": 3696, "dev": 400, "test": 192}
SENTENCES_PER_SPEAKER = 8
TRAIN_SPEAKERS = 462
CORE_TEST_SPEAKERS = _names(
    "mdab0 mwbt0 felc0 mtas1 mwew0 fpas0 mjmp0 mlnt0 fpkt0 mlll0 mtls0 fjlm0 mbpm0 mklt0 fnlp0 mcmj0 mjdh0 fmgd0 mgrt0 "
    "mnjm0 fdhc0 mjln0 mpam0 fmld0"
)
DEV_SPEAKERS = _names(
    "faks0 fdac1 fjem0 mgwt0 mjar0 mmdb1 mmdm2 mpdf0 fcmh0 fkms0 mbdg0 mbwm0 mcsh0 fadg0 fdms0 fedw0 mgjf0 mglb0 mrtk0 "
    "mtaa0 mtdt0 mthc0 mwjg0 fnmr0 frew0 fsem0 mbns0 mmjr0 mdls0 mdlf0 mdvc0 mers0 fmah0 fdrw0 mrcs0 mrjm4 fcal1 mmwh0 "
    "fjsj0 majc0 mjsw0 mreb0 fgjd0 fjmg0 mroa0 mteb0 mjfc0 mrjr0 fmml0 mrws1"
)
LISTED = {"dev": DEV_SPEAKERS, "test": CORE_TEST_SPEAKERS}
KINDS = (".wav", ".phn", ".wrd", ".txt")
SENTENCE = re.compile(r"s[aix]\d+")


class _BadTranscriptError(Exception):
    """A transcript that cannot be read; the message is the reason."""


@dataclass
class _Utterance:
    """The files of one utterance by kind; any of them may be missing."""

    speaker: str
    sentence: str
    dialect: str
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.speaker}-{self.sentence}"


def prepare(root: Path, out: Path, seed: int, nj: int) -> dict[str, Split]:
    """Manifests of the three sets; nothing is written to `out`, and only headers of the audio are read.

    Supervisions hold the words in `text` and `alignment["word"]`, the 61-set phones in `custom["phones"]` and
    `alignment["phone"]`. Raises `SpeechkitError` where `root` is not TIMIT.
    """
    top = _find_top(root)
    parts = {child.name.lower(): child for child in sorted(top.iterdir())}
    splits = {}
    for split, part in (("train", "train"), ("dev", "test"), ("test", "test")):
        splits[split] = Split()
        for utterance in _utterances(parts[part]):
            if utterance.speaker in LISTED.get(split, (utterance.speaker,)):
                _describe(split, utterance, splits[split])
        if not splits[split].recordings:
            raise SpeechkitError(f"{root} has no usable utterance of the {split} set's speakers; complete the corpus")
    marked = next((folder for folder in (root, top) if (folder / MARKER).exists()), None)
    if marked:
        compare(marked, splits, {}, "TIMIT")
    else:
        compare_with_published_counts(splits)
    return splits


def _find_top(root: Path) -> Path:
    """The folder that holds TRAIN and TEST: `root` or at most two levels below."""
    level = [root]
    for _ in range(3):
        for folder in level:
            children = {child.name.lower(): child for child in folder.iterdir() if child.is_dir()}
            if {"train", "test"} <= set(children) and any(_speaker_folders(children["train"])):
                return folder
        level = [child for folder in level for child in sorted(folder.iterdir()) if child.is_dir()]
    raise wrong_corpus(root, "TIMIT", "no TRAIN and TEST folders with DR1 to DR8 in it or two levels below")


def _speaker_folders(part: Path) -> Iterator[Path]:
    for dialect in sorted(part.iterdir()):
        if dialect.is_dir() and re.fullmatch(r"dr\d", dialect.name.lower()):
            yield from (child for child in sorted(dialect.iterdir()) if child.is_dir())


def _utterances(part: Path) -> Iterator[_Utterance]:
    """Every utterance that any file announces, except the SA sentences."""
    for folder in _speaker_folders(part):
        found: dict[str, _Utterance] = {}
        for path in sorted(folder.iterdir()):
            sentence, _, kinds = path.name.lower().partition(".")
            kind = {"wav.wav": ".wav"}.get(kinds, f".{kinds}")
            if kind not in KINDS or not SENTENCE.fullmatch(sentence) or sentence.startswith("sa"):
                continue
            speaker = folder.name.lower()
            utterance = found.setdefault(sentence, _Utterance(speaker, sentence, folder.parent.name.lower()))
            utterance.files.setdefault(kind, path)
        yield from (found[sentence] for sentence in sorted(found))


def _describe(split: str, utterance: _Utterance, content: Split) -> None:
    """Add an utterance's recording and supervision to `content`, or the reason why it has none."""
    path = utterance.files.get(".wav") or _expected_audio(utterance)
    try:
        if ".wav" not in utterance.files:
            raise BadAudioError("no audio file: only its transcript is there")
        recording = make_recording(utterance.id, path)
        supervision = _supervision(utterance, recording)
    except (BadAudioError, _BadTranscriptError) as error:
        content.problems.append(Problem(split, utterance.id, str(path), str(error)))
    else:
        content.recordings.append(recording)
        content.supervisions.append(supervision)


def _expected_audio(utterance: _Utterance) -> Path:
    beside = next(iter(utterance.files.values()))
    return beside.with_suffix(".WAV" if beside.suffix.isupper() else ".wav")


def _supervision(utterance: _Utterance, recording: Recording) -> SupervisionSegment:
    files, rate = utterance.files, recording.sampling_rate
    if ".phn" not in files or not {".wrd", ".txt"} & set(files):
        missing = ".PHN" if ".phn" not in files else ".WRD and no .TXT"
        raise _BadTranscriptError(f"no transcript: there is no {missing} file")
    phones = _segments(files[".phn"], rate)
    unknown = [phone.symbol for phone in phones if phone.symbol not in PHONES_61]
    if unknown:
        raise _BadTranscriptError(
            f"bad transcript: {files['.phn'].name} has '{unknown[0]}', which is none of the 61 phones"
        )
    alignment = {"phone": phones}
    if ".wrd" in files:
        alignment["word"] = _segments(files[".wrd"], rate)
        text = " ".join(word.symbol for word in alignment["word"])
    else:
        text = _sentence(files[".txt"])
    return SupervisionSegment(
        id=utterance.id,
        recording_id=utterance.id,
        start=0.0,
        duration=recording.duration,
        text=text,
        language="English",
        speaker=utterance.speaker,
        gender="female" if utterance.speaker.startswith("f") else "male",
        custom={"phones": " ".join(phone.symbol for phone in phones), "dialect": utterance.dialect},
        alignment=alignment,
    )


def _segments(path: Path, rate: int) -> list[AlignmentItem]:
    """Lines `first-sample last-sample label` as times in seconds."""
    items = []
    for number, line in enumerate(_read(path).splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 3 or not (fields[0].isdigit() and fields[1].isdigit()):
            raise _BadTranscriptError(f"bad transcript: line {number} of {path.name} is not `start end label`")
        start, end = int(fields[0]), int(fields[1])
        items.append(AlignmentItem(fields[2].lower(), start / rate, (end - start) / rate))
    if not items:
        raise _BadTranscriptError(f"no transcript: {path.name} is empty")
    return items


def _sentence(path: Path) -> str:
    """The words of a .TXT file, `first-sample last-sample Sentence.`, as .WRD spells them."""
    words = re.findall(r"[a-z']+", " ".join(_read(path).split()[2:]).lower())
    if not words:
        raise _BadTranscriptError(f"no transcript: {path.name} is empty")
    return " ".join(words)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="latin-1")
    except OSError as error:
        raise _BadTranscriptError(f"unreadable: {path.name}: {error.strerror}") from error


def compare_with_published_counts(splits: dict[str, Split]) -> None:
    """Warn, set by set, where the counts are not those of the published corpus."""
    for split, expected in UTTERANCES.items():
        content = splits[split]
        ids = [item.id for item in (*content.supervisions, *content.problems)]
        if len(ids) == expected:
            continue
        spoken = Counter(name.partition("-")[0] for name in ids)
        absent = sorted(LISTED.get(split, frozenset()) - set(spoken))
        short = sorted(speaker for speaker, count in spoken.items() if count < SENTENCES_PER_SPEAKER)
        notes = [f"{len(ids)} utterances where TIMIT has {expected}"]
        if split == "train" and len(spoken) != TRAIN_SPEAKERS:
            notes.append(f"{len(spoken)} speakers where TIMIT has {TRAIN_SPEAKERS}")
        notes += [f"no {_some(absent)}"] if absent else []
        notes += [f"fewer than {SENTENCES_PER_SPEAKER} sentences of {_some(short)}"] if short else []
        log.warning("the %s set has %s", split, "; ".join(notes))


def _some(names: list[str]) -> str:
    return " ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
