"""WSJ (LDC93S6A, LDC94S13A): read newspaper sentences; the sets are those of the discs' own index files.

Training sets are si84 and si284 (without speaker 401, as everybody does), test sets dev93, eval92 and eval93 of 20,000
words and more, and with `-5k` those of 5,000 words. Lhotse has no recipe for WSJ.
"""

import gzip
import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from speechkit.common.errors import UsageError
from speechkit.common.files import atomic_path
from speechkit.common.names import nearest
from speechkit.data.corpora import wsj_text
from speechkit.data.corpora.announced import NO_AUDIO, Announced, assemble
from speechkit.data.corpora.lm_text import read_packed
from speechkit.data.corpora.published import Counts, compare, joined
from speechkit.data.corpora.recognise import wrong_corpus
from speechkit.data.corpora.shorten import unpack_compressed
from speechkit.data.corpora.wsj_discs import Discs, Row, read_index, release, scan
from speechkit.data.manifests import Split

log = logging.getLogger(__name__)
WSJ0_TRAIN = ("wsj0/doc/indices/train/tr_s_wv1.ndx", "11-13.1")
INDICES = {
    "si84": (WSJ0_TRAIN,),
    "si284": (WSJ0_TRAIN, ("wsj1/doc/indices/si_tr_s.ndx", "13-34.1")),
    "dev93": (("wsj1/doc/indices/h1_p0.ndx", "13-34.1"),),
    "dev93-5k": (("wsj1/doc/indices/h2_p0.ndx", "13-34.1"),),
    "eval92": (("wsj0/doc/indices/test/nvp/si_et_20.ndx", "11-13.1"),),
    "eval92-5k": (("wsj0/doc/indices/test/nvp/si_et_05.ndx", "11-13.1"),),
    "eval93": (("wsj1/doc/indices/wsj1/eval/h1_p0.ndx", "13-32.1"),),
    "eval93-5k": (("wsj1/doc/indices/wsj1/eval/h2_p0.ndx", "13-32.1"),),
}
COUNTS = {
    "si84": Counts(7138, 83, None),
    "si284": Counts(37416, None, 81.2),
    "dev93": Counts(503, 10, None),
    "dev93-5k": Counts(513, 10, None),
    "eval92": Counts(333, 8, None),
    "eval92-5k": Counts(330, 8, None),
    "eval93": Counts(213, 10, None),
}
LEFT_OUT = "wsj0/si_tr_s/401/"
LM_TEXT = "wsj1/doc/lng_modl/lm_train/np_data/"
VERBALISED = ("keep", "drop")
SPEAKER = re.compile(r"(\w{3})\s+([fm])\b", re.IGNORECASE)  # a row of a spkrinfo.txt
SEXES = {"f": "female", "m": "male"}
MISNAMED_DISCS = {"13-32.1": "13-33.1"}  # the indices of eval93 name the disc that they are on, not that of the audio


@dataclass
class _Transcripts:
    """Lines of .dot files, each file read when its first utterance is looked up, and speakers' genders."""

    discs: Discs
    genders: dict[str, str]
    files: dict[str, Path] = field(init=False)
    lines: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        places = sorted((place for place in self.discs.files if place.endswith(".dot")), reverse=True)
        self.files = {place.rpartition("/")[2]: self.discs.files[place] for place in places}

    def find(self, utterance: str) -> tuple[str, str]:
        """Transcription of an utterance such as 011c0201, or an empty one and the reason why there is none."""
        name = f"{utterance[:6]}00.dot"
        if name not in self.files:
            return "", f"no transcript: there is no {name}"
        if name not in self.lines:
            try:
                text = self.files[name].read_text(encoding="latin-1")
            except OSError as error:
                return "", f"unreadable: {name}: {error.strerror}"
            self.lines[name] = dict(filter(None, map(wsj_text.parse_line, text.splitlines())))
        if utterance not in self.lines[name]:
            return "", f"no transcript: {name} has no line for it"
        return self.lines[name][utterance], ""


def prepare(
    root: Path,
    out: Path,
    seed: int,
    nj: int,
    train_sets: Sequence[str] = ("si284",),
    dev_sets: Sequence[str] = ("dev93",),
    test_sets: Sequence[str] = ("eval92",),
    verbalised: str = "keep",
) -> dict[str, Split]:
    """Manifests of the sets chosen for training, development and test.

    Supervisions hold what was said in `text` (capitals, apostrophes, periods of abbreviations), the words as in the
    CMU dictionary in `custom["words"]`, the 31 graphemes in `custom["graphemes"]` and the set in `custom["set"]`.
    Audio that is compressed with shorten is unpacked to `out/audio`; the CSR language-model text, without verbalised
    punctuation, goes to `out/lm_text.txt.gz`. With `verbalised` drop, training utterances with verbalised punctuation
    are left out.

    Raises:
        UsageError: an unknown set, or another value of `verbalised`.
        SpeechkitError: `root` is not WSJ, an index file is missing, or audio is compressed and nothing can unpack it.
    """
    chosen = {"train": train_sets, "dev": dev_sets, "test": test_sets}
    for names in chosen.values():
        _require_known(names)
    if verbalised not in VERBALISED:
        raise UsageError(f"--verbalised is one of {', '.join(VERBALISED)}, not '{verbalised}'")
    discs = scan(root)
    if not any(place.endswith(".ndx") for place in discs.files):
        raise wrong_corpus(root, "WSJ", "no index file (.ndx) below wsj0 or wsj1 in it")
    transcripts = _Transcripts(discs, _genders(discs))
    sets = {
        name: _prepare_set(name, discs, transcripts, out / "audio", nj) for names in chosen.values() for name in names
    }
    compare(root, sets, COUNTS, "WSJ")
    if verbalised == "drop":
        for name in train_sets:
            _drop_verbalised(name, sets[name])
    _write_lm_text(discs, out / "lm_text.txt.gz")
    return {split: joined(split, {name: sets[name] for name in names}, root) for split, names in chosen.items()}


def _require_known(names: Sequence[str]) -> None:
    for name in names:
        if name not in INDICES:
            raise UsageError(f"WSJ has no set '{name}'{nearest(name, INDICES)} (sets: {', '.join(INDICES)})")


def _prepare_set(name: str, discs: Discs, transcripts: _Transcripts, unpacked: Path, nj: int) -> Split:
    rows = [row for place, disc in INDICES[name] for row in read_index(discs.index(place, disc))]
    rows = [row for row in rows if not row.place.startswith(LEFT_OUT)]
    _name_missing_discs(name, rows, discs)
    present = {row.place: discs.files[row.place] for row in rows if row.place in discs.files}
    targets = {path: (unpacked / place).with_suffix(".flac") for place, path in present.items()}
    unusable = unpack_compressed(targets, nj)
    announced = []
    for row in sorted(rows, key=lambda row: row.place.rpartition("/")[2]):
        path = present.get(row.place, Path(row.disc) / row.place)
        reason = "" if row.place in present else NO_AUDIO
        if path in unusable:
            reason, path = unusable[path], path if unusable[path] else targets[path]
        announced.append(_announce(name, row, path, reason, transcripts))
    return assemble(name, announced, "English", nj)


def _announce(name: str, row: Row, path: Path, reason: str, transcripts: _Transcripts) -> Announced:
    utterance = row.place.rpartition("/")[2].removesuffix(".wv1")
    transcription, no_transcript = transcripts.find(utterance)
    words = wsj_text.words(transcription)
    text = wsj_text.spoken(words)
    if not no_transcript and not text:
        no_transcript = "no transcript: its .dot line has no words"
    if not no_transcript and not wsj_text.is_spelled(text):
        no_transcript = f"bad transcript: '{text}' has other characters than letters, apostrophes and periods"
    speaker = utterance[:3]
    custom = {"words": " ".join(words), "graphemes": " ".join(wsj_text.graphemes(text)), "set": name}
    return Announced(utterance, path, speaker, text, reason or no_transcript, transcripts.genders.get(speaker), custom)


def _genders(discs: Discs) -> dict[str, str]:
    """Gender by speaker, of all spkrinfo.txt on the discs; that of wsj0's training speakers is not on any disc."""
    genders = {}
    for place, path in discs.files.items():
        if place.endswith("spkrinfo.txt"):
            for line in path.read_text(encoding="latin-1").splitlines():
                if match := SPEAKER.match(line):
                    genders[match[1].lower()] = SEXES[match[2].lower()]
    return genders


def _name_missing_discs(name: str, rows: Sequence[Row], discs: Discs) -> None:
    missing = [MISNAMED_DISCS.get(row.disc, row.disc) for row in rows if row.place not in discs.files]
    for disc, count in sorted(Counter(missing).items()):
        what = "files of disc" if disc in discs.names else "disc"
        log.warning("the set %s lacks %d utterances: copy %s %s of %s", name, count, what, disc, release(disc))


def _drop_verbalised(name: str, content: Split) -> None:
    kept = [
        not any(wsj_text.is_punctuation(word) for word in item.custom["words"].split()) for item in content.supervisions
    ]
    content.recordings = [item for item, keep in zip(content.recordings, kept, strict=True) if keep]
    content.supervisions = [item for item, keep in zip(content.supervisions, kept, strict=True) if keep]
    log.info("the set %s: %d utterances with verbalised punctuation left out", name, kept.count(False))


def _write_lm_text(discs: Discs, out: Path) -> None:
    files = [path for place, path in sorted(discs.files.items()) if place.startswith(LM_TEXT)]
    if not files:
        log.warning("%s is missing: there is no language-model text without disc 13-32.1 of LDC94S13A", LM_TEXT)
        return
    sentences = 0
    with atomic_path(out) as temporary, gzip.GzipFile(temporary, "wb", compresslevel=4, mtime=0) as stream:
        for line in _lm_sentences(files):
            stream.write(f"{line}\n".encode())
            sentences += 1
    log.info("%d sentences of language-model text in %s", sentences, out)


def _lm_sentences(files: Sequence[Path]) -> Iterator[str]:
    """Sentences as `text` of supervisions has them; lines that begin with `<` are marks between them."""
    for path in files:
        for line in read_packed(path):
            sentence = "" if line.startswith("<") else wsj_text.spoken(line.upper().split())
            if sentence:
                yield sentence
