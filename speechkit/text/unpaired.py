"""Text that belongs to no recording, as phones and silences: all that an unsupervised recogniser knows of a language.

wav2vec-U (Baevski, Hsu, Conneau and Auli 2021, "Unsupervised speech recognition") leaves out rare words and phones with
the lines that hold them, and puts silences at both ends of each line and between some of its words, as in speech.
"""

import contextlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import atomic_path, write_json
from speechkit.common.seeds import derive
from speechkit.text.lang import Lang
from speechkit.text.lexicon import Lexicon
from speechkit.text.lines import numbered_lines
from speechkit.text.phones import fold
from speechkit.text.tokens import BLANK, TokenTable

SILENCE = "<SIL>"
TIMIT_SILENCE = "sil"  # of the sets of 48 and 39 phones
PHONES, LM_TEXT, WORDS, REPORT = "phones.txt", "lm_text.txt", "words.txt", "text.json"
LANG, PHONE_LANG = "lang", "phone_lang"
_RESERVED = (SILENCE, BLANK, "<unk>", "<s>", "</s>")
Sentences = Callable[[], Iterable[Sequence[str]]]
"""Gives the sentences of a text, from their beginning each time; a word `<SIL>` is a silence that the text tells."""
Spellings = Mapping[str, Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """What becomes of a text.

    Attributes:
        silence: probability of a silence between two words.
        least_words: words that come less often are left out with their lines.
        least_phones: phones that come less often are left out with their words and lines.
        seed: of the silences.
    """

    silence: float = 0.25
    least_words: int = 2
    least_phones: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.silence <= 1:
            raise ValueError(f"silence is a probability between 0 and 1, not {self.silence:g}")
        if self.least_words < 1 or self.least_phones < 1:
            raise ValueError("words and phones that are kept come at least once")


@dataclass
class TextCounts:
    """Lines of a text: all that hold words, what was left out for which reason, and what was kept."""

    lines: int = 0
    rare_words: int = 0
    no_pronunciation: int = 0
    rare_phones: int = 0
    kept: int = 0


def timit_sentences(path: Path, phone_set: int) -> Iterator[list[str]]:
    """Lines of TIMIT phones, folded to the set of 48 or 39, silences as `<SIL>`; others are a `SpeechkitError`."""
    for number, line in numbered_lines(path, "correct --text"):
        try:
            phones = fold(line.split(), phone_set)
        except SpeechkitError as error:
            raise SpeechkitError(f"{path}:{number}: {error}") from None
        yield [SILENCE if phone == TIMIT_SILENCE else phone for phone in phones]


def word_counts(sentences: Sentences) -> Counter[str]:
    """How often each word comes, silences apart."""
    counts = Counter(word for sentence in sentences() for word in sentence)
    del counts[SILENCE]
    return counts


def own_spellings(words: Iterable[str]) -> Lexicon:
    """The lexicon of text whose words are phones."""
    return Lexicon((word, (word,)) for word in words)


def with_silences(sentence: Sequence[str], spellings: Spellings, probability: float, draw: random.Random) -> list[str]:
    """Phones of a sentence with `<SIL>` at both ends, where it says so, and by chance between words; never twice."""
    phones = [SILENCE]
    for place, word in enumerate(sentence):
        if word == SILENCE or (place and draw.random() < probability):
            phones += [SILENCE] if phones[-1] != SILENCE else []
        if word != SILENCE:
            phones += spellings[word]
    return phones if phones[-1] == SILENCE else [*phones, SILENCE]


def frequent_phones(
    sentences: Sentences, spellings: Spellings, least: int
) -> tuple[dict[str, Sequence[str]], list[str]]:
    """Spellings without the phones that come less than `least` times, and the phones that are left, sorted.

    A line goes with any of its words, and a word with any of its phones, so what is left is counted again until every
    phone comes often enough in what is left.
    """
    left = dict(spellings)
    while True:
        words = Counter(word for sentence in sentences() if _spelled(sentence, left) for word in sentence)
        counts: Counter[str] = Counter()
        for word, times in words.items():
            counts.update({phone: times * found for phone, found in Counter(left.get(word, ())).items()})
        rare = {phone for phone, times in counts.items() if times < least}
        if not rare:
            return {word: phones for word, phones in left.items() if counts.keys() >= set(phones)}, sorted(counts)
        left = {word: phones for word, phones in left.items() if rare.isdisjoint(phones)}


def _spelled(sentence: Sequence[str], spellings: Spellings) -> bool:
    return all(word in spellings or word == SILENCE for word in sentence)


def write_unpaired(
    sentences: Sentences, counts: Mapping[str, int], lexicon: Lexicon, out: Path, config: TextConfig,
    phone_set: int | None = None, score_silence: bool = False,
) -> TextCounts:  # fmt: skip
    """Write a text to the folder `out`.

    `phones.txt` has a sentence's phones with silences on each line, `lm_text.txt` those of them that are recognised,
    for a language model of phones (silence only with `score_silence`), `words.txt` the same sentence in words,
    `tokens.txt` the symbols of `phones.txt`, `lexicon.txt` the words, `text.json` the counts. `lang` is a language
    folder for decoding, of the phones in the same order: its blank stands for `<SIL>`. Where words are not phones
    themselves, `phone_lang` is another one, in which phones are what is recognised.

    Args:
        counts: how often each word comes.
        lexicon: words with their pronunciations, of which the first makes the text.
        phone_set: 48 or 39 for TIMIT phones, which the lexicon spells by themselves.
        score_silence: silence is a phone like others, TIMIT's `sil`, and the last one: no symbol is the blank then.

    Raises:
        SpeechkitError: there is no text, or nothing of it is left.
    """
    frequent = {word for word, times in counts.items() if times >= config.least_words}
    spoken = {word: lexicon.spellings(word)[0] for word in lexicon.words if word in frequent}
    reserved = sorted({phone for phones in spoken.values() for phone in phones if phone in _RESERVED})
    if reserved:
        raise SpeechkitError(f"'{reserved[0]}' cannot be a phone: it has a meaning of its own; rename it")
    spellings, phones = frequent_phones(sentences, spoken, config.least_phones)
    words = _usable(lexicon, spellings, phones)
    silence = TIMIT_SILENCE if score_silence else SILENCE
    (out / REPORT).unlink(missing_ok=True)
    with (
        atomic_path(out / PHONES) as phone_lines,
        atomic_path(out / LM_TEXT) as lm_lines,
        atomic_path(out / WORDS) as word_lines,
    ):
        paths = (phone_lines, lm_lines, word_lines)
        found = _write_lines(sentences, (frequent, spoken, spellings), config, silence, paths)
    tokens = TokenTable([*phones, silence] if score_silence else phones)
    (tokens if score_silence else TokenTable([silence, *phones])).write(out / "tokens.txt")
    recognised = own_spellings(list(tokens)[1:])
    words = recognised if phone_set else words
    words.write(out / "lexicon.txt")
    Lang("phone", tokens, words, phone_set).save(out / LANG)
    if any(spelling != (word,) for word, spelling in words.entries):
        Lang("phone", tokens, recognised).save(out / PHONE_LANG)
    write_json(out / REPORT, {**asdict(found), "words": len(words), "phones": len(phones), "config": asdict(config)})
    return found


def _usable(lexicon: Lexicon, spellings: Spellings, phones: Sequence[str]) -> Lexicon:
    """All pronunciations of the words that are left, in phones that are left."""
    known = set(phones)
    return Lexicon(
        (word, spelling) for word in spellings for spelling in lexicon.spellings(word) if known.issuperset(spelling)
    )


def _write_lines(
    sentences: Sentences,
    stages: tuple[set[str], Spellings, Spellings],
    config: TextConfig,
    silence: str,
    paths: tuple[Path, Path, Path],
) -> TextCounts:
    """Write what is left of the text to the files of phones, of the language model and of words, and say why the rest
    is not, by the words that each of the `stages` has left."""
    frequent, spoken, spellings = stages
    draw, found = random.Random(derive(config.seed, "silences")), TextCounts()
    with contextlib.ExitStack() as files:
        phone_lines, lm_lines, word_lines = (files.enter_context(path.open("w", encoding="utf-8")) for path in paths)
        for sentence in sentences():
            said = [word for word in sentence if word != SILENCE]
            found.lines += bool(said)
            if not said:
                continue
            if not frequent.issuperset(said):
                found.rare_words += 1
            elif not all(word in spoken for word in said):
                found.no_pronunciation += 1
            elif not all(word in spellings for word in said):
                found.rare_phones += 1
            else:
                found.kept += 1
                said_phones = with_silences(sentence, spellings, config.silence, draw)
                named = [silence if each == SILENCE else each for each in said_phones]
                phone_lines.write(" ".join(named) + "\n")
                lm_lines.write(" ".join(each for each in named if each != SILENCE) + "\n")
                word_lines.write(" ".join(said) + "\n")
    if not found.kept:
        raise SpeechkitError(_nothing(found))
    return found


def _nothing(found: TextCounts) -> str:
    if not found.lines:
        return "the text holds no words; check --text"
    return (
        f"nothing is left of {found.lines} lines: {found.rare_words} have rare words, {found.no_pronunciation} words "
        f"without a pronunciation, {found.rare_phones} rare phones; give more text, a better lexicon, or lower counts"
    )
