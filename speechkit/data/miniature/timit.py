"""A miniature TIMIT: `TRAIN/DR1/FCJF0/SA1.WAV` in SPHERE with `.PHN`, `.WRD` and `.TXT`.

As in TIMIT each speaker reads ten sentences: the two SA ones that all read, five SX ones that some speakers share and
three SI ones of their own. Train, dev and core-test speakers have no SX or SI sentence in common. Dev and core-test
speakers bear names from TIMIT's own lists, because data preparation selects them by these; train speakers are invented.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechkit.data.miniature import sphere
from speechkit.data.miniature.espeak import Voice
from speechkit.data.miniature.grammar import SHARED_SENTENCES, sentences
from speechkit.data.miniature.render import Label, Plan, Recording, Utterance, varied
from speechkit.data.miniature.speakers import Speaker, generator, invent

_CORE_TEST_NAMES = (
    "mdab0 mwbt0 felc0 mtas1 mwew0 fpas0 mjmp0 mlnt0 fpkt0 mlll0 mtls0 fjlm0 mbpm0 mklt0 fnlp0 mcmj0 mjdh0 fmgd0 "
    "mgrt0 mnjm0 fdhc0 mjln0 mpam0 fmld0"
)
_DEV_NAMES = (
    "faks0 fdac1 fjem0 mgwt0 mjar0 mmdb1 mmdm2 mpdf0 fcmh0 fkms0 mbdg0 mbwm0 mcsh0 fadg0 fdms0 fedw0 mgjf0 mglb0 "
    "mrtk0 mtaa0 mtdt0 mthc0 mwjg0 fnmr0 frew0 fsem0 mbns0 mmjr0 mdls0 mdlf0 mdvc0 mers0 fmah0 fdrw0 mrcs0 mrjm4 "
    "fcal1 mmwh0 fjsj0 majc0 mjsw0 mreb0 fgjd0 fjmg0 mroa0 mteb0 mjfc0 mrjr0 fmml0 mrws1"
)
CORE_TEST, DEV = tuple(_CORE_TEST_NAMES.split()), tuple(_DEV_NAMES.split())
REGIONS = 8
_SX_PER_SPEAKER, _SI_PER_SPEAKER = 5, 3
_SPEAKERS_PER_SX = 6
_FIRST_SI = 451  # TIMIT numbers its SX sentences 1 to 450
_FEMALE_SHARE = 0.3
_DATABASE, _VERSION = "TIMIT", "miniature-1"


@dataclass(frozen=True)
class Size:
    """Numbers of speakers, and the range of words in a sentence."""

    train: int
    dev: int
    test: int
    shortest: int = 4
    longest: int = 9


SIZES = {"tiny": Size(8, 2, 2), "mini": Size(96, 8, 8), "small": Size(462, 50, 24, shortest=7, longest=12)}


@dataclass
class _Numbers:
    """Hands out sentences with TIMIT's numbers; none is given twice."""

    texts: Iterator[str]
    next_sx: int = 1
    next_si: int = _FIRST_SI

    def sx(self, count: int) -> list[tuple[str, str]]:
        self.next_sx += count
        return [(f"SX{number}", next(self.texts)) for number in range(self.next_sx - count, self.next_sx)]

    def si(self, count: int) -> list[tuple[str, str]]:
        self.next_si += count
        return [(f"SI{number}", next(self.texts)) for number in range(self.next_si - count, self.next_si)]


def plan(size: str, seed: int) -> Plan:
    """Plan the miniature TIMIT of a size in `SIZES`."""
    utterances, rows, _ = _read(size, seed)
    documents = {Path("DOC") / "SPKRINFO.TXT": "; ID Sex DR Use Comments\n" + "".join(sorted(rows))}
    return Plan(utterances, sample_rate=16000, silence_s=(0.08, 0.25), write=write, documents=documents)


def unread(size: str, seed: int) -> Iterator[tuple[str, Voice]]:
    """Sentences that nobody reads in the miniature of this size and seed, without end, and how one of its training
    speakers would say each."""
    utterances, _, further = _read(size, seed)
    speakers = {each.speaker.name: each.speaker for each in utterances if "train" in each.parts}
    rng = generator(seed, "timit unread")
    for text, speaker in zip(further, itertools.cycle(speakers.values()), strict=False):
        yield text, varied(speaker.voice, rng)


def _read(size: str, seed: int) -> tuple[list[Utterance], list[str], Iterator[str]]:
    """Who reads what, the rows of the list of speakers, and the sentences that are left."""
    wanted = SIZES[size]
    groups = (
        ("train", "TRAIN", _train_names(wanted.train, seed)),
        ("dev", "TEST", _spread(DEV, wanted.dev)),
        ("test", "TEST", _spread(CORE_TEST, wanted.test)),
    )
    numbers = _Numbers(sentences(generator(seed, "timit sentences"), wanted.shortest, wanted.longest))
    utterances: list[Utterance] = []
    rows: list[str] = []
    for part, side, names in groups:
        speakers = [invent(name, name[0], seed, held_out=side == "TEST") for name in names]
        shared = numbers.sx(max(_SX_PER_SPEAKER, len(speakers) * _SX_PER_SPEAKER // _SPEAKERS_PER_SX))
        for index, speaker in enumerate(speakers):
            region = 1 + index * REGIONS // len(speakers) if len(speakers) >= REGIONS else 1 + index
            read = [(f"SA{number}", text) for number, text in enumerate(SHARED_SENTENCES, start=1)]
            read += [shared[(index * _SX_PER_SPEAKER + offset) % len(shared)] for offset in range(_SX_PER_SPEAKER)]
            read += numbers.si(_SI_PER_SPEAKER)
            folder = Path(side) / f"DR{region}" / speaker.name.upper()
            utterances += [
                Utterance(folder / name, text, speaker, () if name.startswith("SA") else (part,)) for name, text in read
            ]
            rows.append(_row(speaker, region, side))
    return utterances, rows, numbers.texts


def _train_names(count: int, seed: int) -> list[str]:
    """Speaker names in TIMIT's manner (sex, three initials, a digit) that are in neither of its lists."""
    rng = generator(seed, "timit names")
    letters = list("abcdefghijklmnoprstvw")
    taken = {*CORE_TEST, *DEV}
    names: list[str] = []
    num_female = max(1, round(count * _FEMALE_SHARE))
    while len(names) < count:
        name = ("f" if len(names) < num_female else "m") + "".join(rng.choice(letters, 3)) + "0"
        if name not in taken:
            taken.add(name)
            names.append(name)
    return [names[index] for index in rng.permutation(count)]


def _spread(names: Sequence[str], count: int) -> list[str]:
    """`count` names evenly spread over a list."""
    return [names[round(index * (len(names) - 1) / max(1, count - 1))] for index in range(count)]


def _row(speaker: Speaker, region: int, side: str) -> str:
    use = "TRN" if side == "TRAIN" else "TST"
    return f"{speaker.name[1:].upper()}  {speaker.sex.upper()}  {region}  {use}  synthesised, {speaker.voice.name}\n"


def write(recording: Recording, utterance: Utterance, folder: Path) -> None:
    """Write the four files of an utterance."""
    stem = folder / utterance.path
    name = f"{utterance.speaker.name[1:]}_{utterance.path.name.lower()}"
    audio = sphere.encode(recording.samples, recording.sample_rate, _DATABASE, _VERSION, name)
    stem.with_suffix(".WAV").write_bytes(audio)
    stem.with_suffix(".PHN").write_text(_lines(recording.phones), encoding="ascii")
    stem.with_suffix(".WRD").write_text(_lines(recording.words), encoding="ascii")
    stem.with_suffix(".TXT").write_text(f"0 {len(recording.samples)} {utterance.text}\n", encoding="ascii")


def _lines(labels: Iterable[Label]) -> str:
    return "".join(f"{label.start} {label.end} {label.text}\n" for label in labels)
