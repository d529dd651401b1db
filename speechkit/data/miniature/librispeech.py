"""A miniature LibriSpeech with Libri-light's label splits and language-model text.

`LibriSpeech/train-clean-100/1001/121001/1001-121001-0000.flac` with `.trans.txt` and SPEAKERS.TXT,
`librispeech_finetuning/{1h/{0..5},9h}/{clean,other}` with copies of training utterances, and
`librispeech-lm-norm.txt.gz`. The other sets have more noise and British and Caribbean accents. No two subsets share a
speaker or a sentence.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from speechkit.data.miniature.grammar import sentences, words
from speechkit.data.miniature.render import Plan, Recording, Utterance
from speechkit.data.miniature.speakers import Speaker, generator, invent

_TOP, _LIMITED = Path("LibriSpeech"), Path("librispeech_finetuning")
_LM_TEXT = Path("librispeech-lm-norm.txt.gz")
_SUBSETS = (
    "train-clean-100",
    "train-clean-360",
    "train-other-500",
    "dev-clean",
    "dev-other",
    "test-clean",
    "test-other",
)
_ACCENTS = ("en", "en-gb-scotland", "en-029")
_NOISIER_DB = 8.0
_UTTERANCES_PER_CHAPTER = 8
_FOLDS, _SPEAKERS_PER_FOLD, _MOST_9H_SPEAKERS = 6, 2, 12


@dataclass(frozen=True)
class Size:
    """Speakers and utterances of each, in the order of `_SUBSETS`; utterances of a speaker in a ten-minute fold."""

    subsets: tuple[tuple[int, int], ...]
    per_fold: int
    lm_sentences: int


SIZES = {
    "tiny": Size(((4, 4), (1, 2), (4, 4), (2, 2), (1, 2), (2, 2), (1, 2)), 1, 300),
    "mini": Size(((60, 14), (8, 6), (24, 8), (4, 9), (4, 9), (4, 9), (4, 9)), 4, 10000),
    "small": Size(((100, 24), (60, 16), (80, 24), (10, 24), (10, 24), (10, 24), (10, 24)), 6, 30000),
}


def plan(size: str, seed: int) -> Plan:
    """Plan the miniature LibriSpeech of a size in `SIZES`."""
    wanted = SIZES[size]
    texts = sentences(generator(seed, "librispeech sentences"), shortest=6, longest=12)
    letters: set[str] = set()  # of train-clean-100: no other is in dev and test, as in the real corpus
    subsets: dict[str, list[list[Utterance]]] = {}
    for index, (subset, (num_speakers, num_utterances)) in enumerate(zip(_SUBSETS, wanted.subsets, strict=True)):
        subsets[subset] = []
        for number in range(num_speakers):
            speaker = _speaker(f"{1000 * (index + 1) + number + 1}", number, subset, seed)
            read = []
            for _ in range(num_utterances):
                text = next(text for text in texts if "train" in subset or letters.issuperset("".join(words(text))))
                if subset == "train-clean-100":
                    letters.update("".join(words(text)))
                read.append(text)
            subsets[subset].append(_read_by(speaker, read, subset))
    for kind, subset in (("clean", "train-clean-100"), ("other", "train-other-500")):
        subsets[subset] = _with_label_splits(subsets[subset], kind, wanted.per_fold)
    utterances = [utterance for speakers in subsets.values() for read in speakers for utterance in read]
    documents = _transcripts(utterances)
    documents[_TOP / "SPEAKERS.TXT"] = "".join(_speaker_rows(subsets))
    documents[_LM_TEXT] = "".join(f"{_normalised(next(texts))}\n" for _ in range(wanted.lm_sentences))
    return Plan(utterances, 16000, (0.1, 0.4), write, labelled=False, documents=documents)


def _speaker(name: str, number: int, subset: str, seed: int) -> Speaker:
    sex, held_out = "fm"[number % 2], "train" not in subset
    if "clean" in subset:
        return invent(name, sex, seed, held_out)
    speaker = invent(name, sex, seed, held_out, language=_ACCENTS[number % len(_ACCENTS)])
    return replace(speaker, snr_db=speaker.snr_db - _NOISIER_DB)


def _read_by(speaker: Speaker, texts: Sequence[str], subset: str) -> list[Utterance]:
    utterances = []
    for number, text in enumerate(texts):
        chapter = f"{120000 + int(speaker.name) + 10000 * (number // _UTTERANCES_PER_CHAPTER)}"
        name = f"{speaker.name}-{chapter}-{number % _UTTERANCES_PER_CHAPTER:04d}"
        path = _TOP / subset / speaker.name / chapter / name
        utterances.append(Utterance(path, text, speaker, (subset,)))
    return utterances


def _with_label_splits(speakers: list[list[Utterance]], kind: str, per_fold: int) -> list[list[Utterance]]:
    """Copy utterances to the six ten-minute folds, which are the hour, and more of some speakers to the 9 hours."""
    taken = [0] * len(speakers)
    result = [list(read) for read in speakers]

    def copy(speaker: int, place: Path, parts: tuple[str, ...]) -> None:
        utterance = result[speaker][taken[speaker]]
        target = _LIMITED / place / kind / Path(*utterance.path.parts[2:])
        result[speaker][taken[speaker]] = replace(utterance, parts=utterance.parts + parts, copies=(target,))
        taken[speaker] += 1

    for fold in range(_FOLDS):
        for offset in range(_SPEAKERS_PER_FOLD):
            for _ in range(per_fold):
                speaker = (fold * _SPEAKERS_PER_FOLD + offset) % len(speakers)
                copy(speaker, Path("1h") / str(fold), (f"10min-{fold}", "1h", "10h"))
    for speaker, read in enumerate(result[:_MOST_9H_SPEAKERS]):
        for _ in range(taken[speaker], len(read)):
            copy(speaker, Path("9h"), ("10h",))
    return result


def _transcripts(utterances: Sequence[Utterance]) -> dict[Path, str]:
    lines: dict[Path, str] = {}
    for utterance in utterances:
        for path in (utterance.path, *utterance.copies):
            file = path.with_name(f"{path.name.rpartition('-')[0]}.trans.txt")
            lines[file] = lines.get(file, "") + f"{path.name} {_normalised(utterance.text)}\n"
    return lines


def _normalised(text: str) -> str:
    return " ".join(words(text)).upper()


def _speaker_rows(subsets: dict[str, list[list[Utterance]]]) -> Iterator[str]:
    """As in the corpus; minutes are those of a reader of 150 words a minute."""
    yield "; synthesised by espeak-ng\n;ID  |SEX| SUBSET           |MINUTES| NAME\n"
    for subset, speakers in subsets.items():
        for read in speakers:
            speaker, minutes = read[0].speaker, sum(len(words(each.text)) for each in read) / 150
            yield f"{speaker.name:<5}| {speaker.sex.upper()} | {subset:<17}| {minutes:<6.2f}| {speaker.voice.name}\n"


def write(recording: Recording, utterance: Utterance, folder: Path) -> None:
    """Write one FLAC file, and its copies."""
    import soundfile

    for path in (utterance.path, *utterance.copies):
        target = (folder / path).with_suffix(".flac")
        soundfile.write(str(target), recording.samples, recording.sample_rate, subtype="PCM_16", format="FLAC")
