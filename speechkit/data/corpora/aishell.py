"""AISHELL-1 (OpenSLR 33): 340 training, 40 development and 20 test speakers of Mandarin.

Lhotse's own recipe does not fit: it passes over recordings without transcript, does not see transcripts without
recording, and joins the words of a transcript.
"""

import gzip
import logging
import re
import tarfile
import unicodedata
import zlib
from functools import partial
from pathlib import Path

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import atomic_path, write_text
from speechkit.common.progress import progress
from speechkit.data.corpora.announced import NO_TRANSCRIPT, Announced, assemble
from speechkit.data.corpora.published import Counts, compare
from speechkit.data.corpora.recognise import wrong_corpus
from speechkit.data.manifests import SPLITS, Split
from speechkit.data.parallel import parallel_map
from speechkit.text.lines import numbered_lines
from speechkit.text.normalise import CHINESE

log = logging.getLogger(__name__)
TRANSCRIPT = "aishell_transcript_v0.8.txt"
ID = re.compile(r"BAC009(S(\d{4}))W\d{4}")
PACKED = re.compile(r"(?:\./)?(?:wav/)?(train|dev|test)/(S\d{4})/(BAC009S\d{4}W\d{4})\.wav")
SPEAKER = re.compile(r"\s*S?(\d{4})\s+([FM])\b.*")
SEXES = {"F": "female", "M": "male"}
NOT_WORDS = ("SIL", "<SPOKEN_NOISE>")
FIRST_DEV_SPEAKER, FIRST_TEST_SPEAKER = 724, 764
COUNTS = {
    "train": Counts(120098, 340, 150.85),
    "dev": Counts(14326, 40, 18.1),
    "test": Counts(7176, 20, 10.0),
}


def prepare(root: Path, out: Path, seed: int, nj: int) -> dict[str, Split]:
    """Manifests of the three sets.

    Supervisions hold the words of the transcript in `text`. Latin letters and digits stay in it, in ASCII and as
    capitals, and are recognised and scored one by one like Chinese characters; who says some is named. Where the
    speakers' recordings are still packed (`wav/S0002.tar.gz`) they are unpacked to `out/audio`; the words of
    `resource_aishell/lexicon.txt` go to `out/lexicon.txt`. Raises `SpeechkitError` where `root` is not AISHELL-1.
    """
    top = _find_top(root)
    _copy_lexicon(top, out / "lexicon.txt")
    genders = _read_genders(top)
    transcripts, repeated = _read_transcripts(top / "transcript" / TRANSCRIPT)
    _name_other_scripts(transcripts)
    recordings = _find_recordings(top / "wav", out / "audio", nj)
    announced: dict[str, list[Announced]] = {split: [] for split in SPLITS}
    for name in sorted(transcripts.keys() | recordings.keys()):
        split, path = recordings.get(name) or _expected(name, top / "wav")
        text, reason = transcripts.get(name, ""), ""
        if not text:
            reason = NO_TRANSCRIPT
        elif name in repeated:
            reason = f"duplicate id: {TRANSCRIPT} has it twice, with different words"
        speaker = path.parent.name
        announced[split].append(Announced(name, path, speaker, text, reason, genders.get(speaker)))
    splits = {split: assemble(split, items, "Chinese", nj) for split, items in announced.items()}
    for split, content in splits.items():
        _name_absent_speakers(split, announced[split], content)
        if not content.recordings:
            raise SpeechkitError(f"{root} has no usable utterance of the {split} set; complete the corpus")
    compare(root, splits, COUNTS, "AISHELL-1")
    return splits


def _find_top(root: Path) -> Path:
    """The folder that holds `wav` and `transcript`: `root`, or `data_aishell` at most two levels below."""
    for folder in (root, *sorted(root.glob("data_aishell")), *sorted(root.glob("*/data_aishell"))):
        if (folder / "wav").is_dir():
            if (folder / "transcript" / TRANSCRIPT).is_file():
                return folder
            raise SpeechkitError(f"{folder} has no transcript/{TRANSCRIPT}; unpack all of data_aishell.tgz there")
    raise wrong_corpus(root, "AISHELL-1", "no folder data_aishell with wav and transcript in it")


def _read_transcripts(path: Path) -> tuple[dict[str, str], set[str]]:
    """The words of each utterance, and the ids that stand there again with other words."""
    transcripts: dict[str, str] = {}
    repeated = set()
    for _, line in numbered_lines(path):
        name, _, words = line.strip().partition(" ")
        text = " ".join(unicodedata.normalize("NFKC", words).upper().split())
        if name and transcripts.setdefault(name, text) != text:
            repeated.add(name)
    return transcripts, repeated


def _name_other_scripts(transcripts: dict[str, str]) -> None:
    found = [name for name, text in transcripts.items() if CHINESE.sub("", text).strip()]
    if found:
        more = f" and {len(found) - 20} more" if len(found) > 20 else ""
        log.warning(
            "%d transcripts have Latin letters, digits or signs, each taken for a character: %s%s",
            len(found),
            " ".join(found[:20]),
            more,
        )


def _find_recordings(wav: Path, unpacked: Path, nj: int) -> dict[str, tuple[str, Path]]:
    """Set and file of every recording, by id; those of speakers who are still packed are unpacked."""
    archives = [path for path in sorted(wav.glob("S*.tar.gz")) if not any(wav.glob(f"*/{path.name[:5]}"))]
    if archives:
        log.info("unpacking the recordings of %d speakers to %s", len(archives), unpacked)
        work = parallel_map(partial(_unpack, folder=unpacked), archives, min(nj, len(archives)))
        for _ in progress(work, len(archives), "unpack"):
            pass
    return {
        path.stem: (split, path)
        for top in (wav, unpacked)
        for split in SPLITS
        for path in sorted((top / split).glob("*/*.wav"))
    }


def _unpack(archive: Path, folder: Path) -> None:
    try:
        with tarfile.open(archive) as packed:
            for member in packed:
                match = PACKED.fullmatch(member.name)
                stream = packed.extractfile(member) if match else None
                if match is None or stream is None:
                    continue
                path = folder / match[1] / match[2] / f"{match[3]}.wav"
                if not path.exists() or path.stat().st_size != member.size:
                    with atomic_path(path) as temporary:
                        temporary.write_bytes(stream.read())
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise SpeechkitError(f"{archive} is damaged ({error}); download and unpack data_aishell.tgz again") from error


def _expected(name: str, wav: Path) -> tuple[str, Path]:
    """Set and file that an utterance without recording should have: the speaker's number tells the set."""
    match = ID.fullmatch(name)
    if match is None:
        return "train", wav / "train" / f"{name}.wav"
    number = int(match[2])
    split = "train" if number < FIRST_DEV_SPEAKER else "dev" if number < FIRST_TEST_SPEAKER else "test"
    return split, wav / split / match[1] / f"{name}.wav"


def _name_absent_speakers(split: str, announced: list[Announced], content: Split) -> None:
    present = {item.speaker for item in content.supervisions}
    absent = sorted({item.speaker for item in announced if item.text} - present)
    if absent:
        more = f" and {len(absent) - 10} more" if len(absent) > 10 else ""
        log.warning("the set %s lacks all recordings of %s%s", split, " ".join(absent[:10]), more)


def _resource(top: Path, name: str) -> Path | None:
    """A file of `resource_aishell`, which lies beside `data_aishell`, in it or one level above; None with a warning."""
    for parent in (top.parent, top, top.parent.parent):
        if (parent / "resource_aishell" / name).is_file():
            return parent / "resource_aishell" / name
    log.warning("%s has no resource_aishell/%s; unpack resource_aishell.tgz there", top.parent, name)
    return None


def _read_genders(top: Path) -> dict[str, str]:
    """Gender by speaker, from rows `0002 F`."""
    path = _resource(top, "speaker.info")
    matches = [SPEAKER.fullmatch(line) for _, line in numbered_lines(path)] if path else []
    return {f"S{match[1]}": SEXES[match[2]] for match in matches if match}


def _copy_lexicon(top: Path, out: Path) -> None:
    """Write the words of the lexicon with their initials and finals, if the resources are there."""
    path = _resource(top, "lexicon.txt")
    if path is None:
        return
    words: dict[tuple[str, ...], None] = {}
    for number, line in numbered_lines(path):
        fields = line.split()
        if len(fields) == 1:
            raise SpeechkitError(f"{path}:{number} has a word without phones; unpack resource_aishell.tgz again")
        if fields and fields[0] not in NOT_WORDS:
            words[tuple(fields)] = None
    write_text(out, "".join(f"{' '.join(fields)}\n" for fields in words))
