"""The units that have models, and how a transcript becomes sequences of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from speechkit.common.errors import SpeechkitError
from speechkit.text.lang import Lang
from speechkit.text.lexicon import Lexicon
from speechkit.text.phones import fold
from speechkit.text.tokens import WORD_BOUNDARY

SILENCE = "sil"
TIMIT_SILENCES = ("h#", "pau", SILENCE)
Pronunciation = tuple[int, ...]


class OutOfVocabularyError(SpeechkitError):
    """Words of a transcript that the lexicon lacks; the message names them."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = sorted(set(words))
        super().__init__(f"out of vocabulary: {' '.join(self.words)}")


@dataclass(frozen=True)
class Transcript:
    """Words of an utterance, each with its pronunciations in unit ids."""

    words: tuple[str, ...]
    pronunciations: tuple[tuple[Pronunciation, ...], ...]

    @property
    def first_choice(self) -> list[int]:
        """Units of the first pronunciation of every word."""
        return [unit for alternatives in self.pronunciations for unit in alternatives[0]]

    @property
    def shortest(self) -> int:
        """Fewest units that any choice of pronunciations has."""
        return sum(min(map(len, alternatives)) for alternatives in self.pronunciations)


@dataclass(frozen=True)
class Units:
    """Units with a model each, numbered by their place in `names`.

    Attributes:
        names: the units.
        silences: those of them that are silence; where `lexicon` is given, the first may come around every word.
        lexicon: words in units; None where transcripts consist of units, silences included.
        field: the supervision field that holds the transcript.
        phone_set: TIMIT phones are folded to this set; None for other transcripts.
        characters: each character of a transcript is a word.
        spelled: units are letters, so that words that `lexicon` lacks have a spelling too.
    """

    names: tuple[str, ...]
    silences: tuple[str, ...]
    lexicon: Lexicon | None
    field: str = "text"
    phone_set: int | None = None
    characters: bool = False
    spelled: bool = False

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Number of each unit."""
        return {name: number for number, name in enumerate(self.names)}

    @property
    def silence_ids(self) -> tuple[int, ...]:
        """Numbers of the silences."""
        return tuple(self.ids[name] for name in self.silences)

    @property
    def optional_silence(self) -> int | None:
        """The silence that may come around words, None where transcripts say where silence is."""
        return None if self.lexicon is None else self.silence_ids[0]

    def silence_last(self) -> "Units":
        """The same units with silences behind the others."""
        spoken = tuple(name for name in self.names if name not in self.silences)
        return replace(self, names=(*spoken, *self.silences))

    @classmethod
    def of_lexicon(cls, lexicon: Lexicon) -> "Units":
        """Units that spell the words of a lexicon, and a silence."""
        spoken = tuple(unit for unit in lexicon.tokens if unit != SILENCE)
        return cls((*spoken, SILENCE), (SILENCE,), lexicon)

    @classmethod
    def of_lang(cls, lang: Lang) -> "Units":
        """Units of a language folder: TIMIT phones, else the phones or letters that spell its words.

        TIMIT's transcripts tell where silence is. Those of a model whose blank is silence do not: it may be anywhere.
        Pieces of words are no units of sound: their words are spelled in letters.
        """
        if lang.phone_set:
            names = tuple(lang.tokens)[1:]
            silences = tuple(name for name in names if name in TIMIT_SILENCES)
            if not silences:
                return replace(cls.of_lexicon(lang.lexicon), field="phones", phone_set=lang.phone_set)
            return cls(names, silences, None, "phones", lang.phone_set)
        if lang.unit == "word" or lang.pieces or lang.boundary == "none":
            letters = cls.of_lexicon(Lexicon((word, tuple(word)) for word in lang.lexicon.words))
            return replace(letters, characters=lang.boundary == "none", spelled=True)
        spellings = ((word, [unit for unit in units if unit != WORD_BOUNDARY]) for word, units in lang.lexicon.entries)
        return replace(cls.of_lexicon(Lexicon(spellings)), spelled=lang.unit == "char")

    def transcript(self, fields: Mapping[str, str | None]) -> Transcript:
        """What was said in an utterance.

        Raises:
            OutOfVocabularyError: the lexicon lacks a word, and it cannot be spelled.
            SpeechkitError: there is no transcript, or it holds a phone of another set.
        """
        text = (fields.get(self.field) or "").split()
        if self.characters:
            text = list("".join(text))
        if not text:
            raise SpeechkitError(f"no transcript: its '{self.field}' is empty")
        words = tuple(fold(text, self.phone_set) if self.phone_set else text)
        found = [self._pronunciations(word) for word in words]
        unknown = [word for word, pronunciations in zip(words, found, strict=True) if not pronunciations]
        if unknown:
            raise OutOfVocabularyError(unknown)
        return Transcript(words, tuple(found))

    def _pronunciations(self, word: str) -> tuple[Pronunciation, ...]:
        """Those of a word in unit ids, none where it is not known."""
        spellings: Sequence[Sequence[str]] = ()
        if self.lexicon is None:
            spellings = ((word,),)
        elif word in self.lexicon:
            spellings = self.lexicon.spellings(word)
        elif self.spelled:
            spellings = (tuple(word),)
        known = (spelling for spelling in spellings if all(unit in self.ids for unit in spelling))
        return tuple(tuple(self.ids[unit] for unit in spelling) for spelling in known)

    def state(self) -> dict[str, Any]:
        """Everything as JSON-able values, for checkpoints."""
        entries = None if self.lexicon is None else [[word, list(units)] for word, units in self.lexicon.entries]
        return {
            "names": list(self.names),
            "silences": list(self.silences),
            "lexicon": entries,
            "field": self.field,
            "phone_set": self.phone_set,
            "characters": self.characters,
            "spelled": self.spelled,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Units":
        """The inverse of `state`."""
        entries = state["lexicon"]
        lexicon = None if entries is None else Lexicon((word, tuple(units)) for word, units in entries)
        names, silences = tuple(state["names"]), tuple(state["silences"])
        kinds = state.get("characters", False), state.get("spelled", False)
        return cls(names, silences, lexicon, state["field"], state["phone_set"], *kinds)
