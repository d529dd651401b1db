"""LibriSpeech (OpenSLR 12) with Libri-light's label splits of ten minutes, one hour and ten hours.

Lhotse's own recipe does not fit: it passes over transcripts without audio, does not see audio without transcript, and
does not know the label splits.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.common.names import nearest
from speechkit.data.corpora.announced import NO_TRANSCRIPT, Announced, assemble
from speechkit.data.corpora.published import Counts, compare, joined
from speechkit.data.corpora.recognise import wrong_corpus
from speechkit.data.manifests import Split
from speechkit.text.lines import numbered_lines

log = logging.getLogger(__name__)
# Hours as measured; the paper gives those of dev-other and test-other the other way round.
COUNTS = {
    "train-clean-100": Counts(28539, 251, 100.6),
    "train-clean-360": Counts(104014, 921, 363.6),
    "train-other-500": Counts(148688, 1166, 496.8),
    "dev-clean": Counts(2703, 40, 5.4),
    "dev-other": Counts(2864, 33, 5.1),
    "test-clean": Counts(2620, 40, 5.4),
    "test-other": Counts(2939, 33, 5.3),
    **{f"10min-{fold}": Counts(None, 4, 0.17) for fold in range(6)},
    "1h": Counts(None, 24, 1.0),
    "10h": Counts(None, 24, 10.0),
}
SUBSETS = tuple(name for name in COUNTS if "-clean" in name or "-other" in name)
# Folders of the label splits: six folds of ten minutes are the hour, and it belongs to the ten hours.
LABEL_SPLITS = {
    **{f"10min-{fold}": (f"1h/{fold}",) for fold in range(6)},
    "1h": ("1h",),
    "10h": ("1h", "9h"),
}
LIMITED = "librispeech_finetuning"
LM_TEXT = "librispeech-lm-norm.txt.gz"
LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ' ")
SEXES = {"F": "female", "M": "male"}


@dataclass(frozen=True)
class _Reader:
    """A row of SPEAKERS.TXT."""

    subset: str
    gender: str | None


def prepare(
    root: Path,
    out: Path,
    seed: int,
    nj: int,
    train_sets: Sequence[str] = ("train-clean-100",),
    dev_sets: Sequence[str] = ("dev-clean",),
    test_sets: Sequence[str] = ("test-clean",),
) -> dict[str, Split]:
    """Manifests of the sets chosen for training, development and test.

    Sets are the seven subsets, and of Libri-light's `librispeech_finetuning`, in `root` or beside it, the folds
    `10min-0` to `10min-5`, `1h` and `10h`. Nothing is written to `out`. Supervisions hold the transcript in `text`
    (capitals and apostrophes), the set in `custom["set"]`.

    Raises:
        UsageError: an unknown set.
        SpeechkitError: `root` is not LibriSpeech, or lacks a set.
    """
    chosen = {"train": train_sets, "dev": dev_sets, "test": test_sets}
    for name in (name for names in chosen.values() for name in names):
        if name not in COUNTS:
            raise UsageError(f"LibriSpeech has no set '{name}'{nearest(name, COUNTS)} (sets: {', '.join(COUNTS)})")
    top = _find_top(root)
    readers = _read_speakers(top)
    sets = {}
    for name in (name for names in chosen.values() for name in names):
        found = _subset(name, top, readers) if name in SUBSETS else _label_split(name, _find_limited(top), readers)
        sets[name] = assemble(name, sorted(found, key=lambda item: item.id), "English", nj)
        _name_absent_speakers(name, sets[name], readers)
    compare(root, sets, COUNTS, "LibriSpeech")
    if not any((folder / LM_TEXT).is_file() for folder in (root, top)):
        log.warning("%s has no %s; without it language models come from transcripts only", root, LM_TEXT)
    return {split: joined(split, {name: sets[name] for name in names}, root) for split, names in chosen.items()}


def _find_top(root: Path) -> Path:
    """The folder that holds subsets: `root`, or `LibriSpeech` at most two levels below."""
    for folder in (root, *sorted(root.glob("LibriSpeech")), *sorted(root.glob("*/LibriSpeech"))):
        if any((folder / name).is_dir() for name in SUBSETS):
            return folder
    raise wrong_corpus(root, "LibriSpeech", "no folder such as train-clean-100 in it or in LibriSpeech below it")


def _find_limited(top: Path) -> Path:
    for folder in (top, top.parent, top.parent.parent):
        if (folder / LIMITED).is_dir():
            return folder / LIMITED
    raise SpeechkitError(f"{top.parent} has no folder {LIMITED}; unpack Libri-light's {LIMITED}.tgz there")


def _read_speakers(top: Path) -> dict[str, _Reader]:
    """Subset and gender by speaker, from `id | sex | subset | minutes | name`; none where SPEAKERS.TXT is missing."""
    path = top / "SPEAKERS.TXT"
    if not path.is_file():
        log.warning("%s is missing: neither genders nor absent speakers are known", path)
        return {}
    readers = {}
    for number, line in numbered_lines(path):
        if line.strip() and not line.startswith(";"):
            fields = [text.strip() for text in line.split("|")]
            if len(fields) < 3:
                raise SpeechkitError(f"{path}:{number} is no row `id | sex | subset | ...`; unpack the corpus again")
            readers[fields[0]] = _Reader(fields[2], SEXES.get(fields[1]))
    return readers


def _subset(name: str, top: Path, readers: dict[str, _Reader]) -> Iterator[Announced]:
    """Utterances of a subset that its transcripts or its audio announce."""
    if not (top / name).is_dir():
        raise SpeechkitError(f"{top} has no folder {name}; unpack {name}.tar.gz of OpenSLR 12 there")
    for chapter in sorted((top / name).glob("*/*")):
        if chapter.is_dir():
            transcripts = _read_transcripts(chapter)
            audio = {path.stem for path in chapter.glob("*.flac")}
            for utterance in sorted(transcripts.keys() | audio):
                yield _announce(utterance, chapter, transcripts.get(utterance, ""), name, readers)


def _label_split(name: str, limited: Path, readers: dict[str, _Reader]) -> Iterator[Announced]:
    """Utterances of a label split: its audio tells which of a chapter's transcripts belong to it."""
    for place in LABEL_SPLITS[name]:
        paths = sorted((limited / place).rglob("*.flac"))
        if not paths:
            raise SpeechkitError(f"{limited / place} has no recordings; unpack Libri-light's {LIMITED}.tgz again")
        transcripts = {chapter: _read_transcripts(chapter) for chapter in {path.parent for path in paths}}
        for path in paths:
            yield _announce(path.stem, path.parent, transcripts[path.parent].get(path.stem, ""), name, readers)


def _read_transcripts(chapter: Path) -> dict[str, str]:
    """Text by utterance, of all transcripts in a chapter's folder."""
    transcripts = {}
    for path in sorted(chapter.glob("*.trans.txt")):
        for _, line in numbered_lines(path):
            utterance, _, text = line.strip().partition(" ")
            if utterance:
                transcripts[utterance] = " ".join(text.split())
    return transcripts


def _announce(utterance: str, chapter: Path, text: str, name: str, readers: dict[str, _Reader]) -> Announced:
    reason = "" if text else NO_TRANSCRIPT
    if not LETTERS.issuperset(text):
        reason = f"bad transcript: '{text}' has other characters than capitals and apostrophes"
    speaker = utterance.partition("-")[0]
    reader = readers.get(speaker)
    gender = reader.gender if reader else None
    return Announced(utterance, chapter / f"{utterance}.flac", speaker, text, reason, gender, {"set": name})


def _name_absent_speakers(name: str, content: Split, readers: dict[str, _Reader]) -> None:
    present = {item.speaker for item in content.supervisions}
    absent = sorted(
        (speaker for speaker, row in readers.items() if row.subset == name and speaker not in present), key=int
    )
    if absent:
        more = f" and {len(absent) - 10} more" if len(absent) > 10 else ""
        log.warning("the set %s lacks all recordings of the speakers %s%s", name, " ".join(absent[:10]), more)
