"""A miniature AISHELL-1: `data_aishell/wav/{train,dev,test}/S0002/BAC009S0002W0122.wav`, transcript and lexicon.

Speakers bear the corpus's numbers (train up to S0723, dev S0724 to S0763, test from S0764 on); no two sets share a
speaker or a sentence, and dev and test have only words of the training set, whose characters a model can know.
espeak reads the characters.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from speechkit.data.miniature.mandarin import lexicon, sentences
from speechkit.data.miniature.render import Plan, Utterance
from speechkit.data.miniature.speakers import generator, invent
from speechkit.data.miniature.wav import write

_FIRST_SPEAKERS = {"train": 2, "dev": 724, "test": 764}
_FIRST_SENTENCE = 121
_FEMALE_EVERY = 2


@dataclass(frozen=True)
class Size:
    """Speakers and sentences of each speaker, by set, and how many words of a kind the sentences choose from."""

    train: tuple[int, int]
    dev: tuple[int, int]
    test: tuple[int, int]
    choices: int | None


SIZES = {
    "tiny": Size((4, 8), (2, 4), (2, 4), 10),
    "mini": Size((60, 18), (6, 12), (6, 12), 14),
    "small": Size((340, 18), (40, 14), (20, 18), None),
}


def plan(size: str, seed: int) -> Plan:
    """Plan the miniature AISHELL-1 of a size in `SIZES`."""
    utterances, lines, _ = _read(size, seed)
    spellings = "".join(f"{word} {' '.join(phones)}\n" for word, phones in lexicon().items())
    sexes = {utterance.speaker.name: utterance.speaker.sex.upper() for utterance in utterances}
    documents = {
        Path("data_aishell") / "transcript" / "aishell_transcript_v0.8.txt": "".join(lines),
        Path("resource_aishell") / "speaker.info": "".join(f"{name[1:]} {sex}\n" for name, sex in sexes.items()),
        Path("resource_aishell") / "lexicon.txt": f"SIL sil\n<SPOKEN_NOISE> sil\n{spellings}",
    }
    return Plan(utterances, 16000, (0.1, 0.3), write, labelled=False, documents=documents)


def unread(size: str, seed: int) -> Iterator[str]:
    """Sentences that nobody reads in the miniature of this size and seed, spaces between their words, without end.

    All words are of the training set.
    """
    _, _, further = _read(size, seed)
    return (" ".join(words) for words in further)


def _read(size: str, seed: int) -> tuple[list[Utterance], list[str], Iterator[list[str]]]:
    """What is read, its lines of the transcript, and further sentences of the training set's words."""
    texts = sentences(generator(seed, "aishell sentences"), SIZES[size].choices)
    utterances: list[Utterance] = []
    lines: list[str] = []
    known: set[str] = set()
    for part, first in _FIRST_SPEAKERS.items():
        num_speakers, num_sentences = getattr(SIZES[size], part)
        for number in range(first, first + num_speakers):
            name, sex = f"S{number:04d}", "f" if number % _FEMALE_EVERY else "m"
            speaker = invent(name, sex, seed, held_out=part != "train", language="cmn")
            for sentence in range(_FIRST_SENTENCE, _FIRST_SENTENCE + num_sentences):
                words = next(words for words in texts if part == "train" or known.issuperset(words))
                known.update(words)
                path = Path("data_aishell") / "wav" / part / name / f"BAC009{name}W{sentence:04d}"
                utterances.append(Utterance(path, "".join(words) + "。", speaker, (part,)))
                lines.append(f"{path.name} {' '.join(words)}\n")
    return utterances, lines, (words for words in texts if known.issuperset(words))
