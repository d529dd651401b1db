"""The language folder: which units a model predicts, and how text becomes units and units become words."""

import base64
import contextlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.common.files import read_json, write_json
from speechkit.common.names import nearest
from speechkit.text.lexicon import Lexicon
from speechkit.text.phones import PHONE_SETS, fold
from speechkit.text.pieces import KINDS, WORD_START, Pieces, learn_pieces
from speechkit.text.repetitions import folded, unfolded
from speechkit.text.repetitions import symbols as repetition_symbols
from speechkit.text.segment import Segmenter
from speechkit.text.tokens import WORD_BOUNDARY, TokenTable

UNITS = ("phone", "char", "word", *KINDS)
BOUNDARIES = ("word", "none")
SCORED_PHONES = 39
DEFAULT_VOCAB_SIZE = 500
PIECES = "pieces.model"


@dataclass(frozen=True)
class Lang:
    """Tokens, lexicon and the rules between text, tokens and words.

    Attributes:
        unit: "phone", "char", "word", "bpe" or "unigram".
        tokens: what the model predicts.
        lexicon: the words that decoding may give, spelled in tokens. For phone recognition each phone is a word.
        phone_set: 61, 48 or 39 when TIMIT phones are recognised as such, else None (also for words spelled in phones).
        boundary: "none" for characters that are words themselves, as for Mandarin: text is recognised without spaces.
        pieces: what spells words in the units "bpe" and "unigram".
        repetitions: of a letter that one symbol tells at most, in unit "char"; 0 where letters are repeated themselves.
    """

    unit: str
    tokens: TokenTable
    lexicon: Lexicon
    phone_set: int | None = None
    boundary: str = "word"
    pieces: Pieces | None = None
    repetitions: int = 0

    @property
    def field(self) -> str:
        """The supervision field that is encoded: the custom field "phones" for phone recognition, else "text"."""
        return "phones" if self.phone_set else "text"

    @property
    def scored_phones(self) -> int | None:
        """The phone set that errors are counted on (39 for TIMIT phones), None for other units."""
        return SCORED_PHONES if self.phone_set else None

    @property
    def scored_unit(self) -> str:
        """What errors are counted on: "phone", "char" or "word"."""
        return "phone" if self.phone_set else "char" if self.boundary == "none" else "word"

    def reference(self, fields: Mapping[str, str | None]) -> list[str]:
        """Words of the lexicon said in one utterance.

        Args:
            fields: the supervision's text fields by name, such as {"text": "seven one", "phones": "h# s eh ..."}.
        """
        text = fields.get(self.field)
        if text is None:
            raise SpeechkitError(
                f"a supervision has no '{self.field}', which unit {self.unit} needs; prepare the corpus with it"
            )
        return self.split(text)

    def split(self, text: str) -> list[str]:
        """The words of `text`, the content of `field`: phones folded to `phone_set`, other words as they are.

        Without word boundaries each character is a word.
        """
        if self.boundary == "none":
            return list("".join(text.split()))
        return fold(text.split(), self.phone_set) if self.phone_set else text.split()

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, the content of `field`.

        `|` follows every word that is spelled in characters or phones, the last one too, as lexicon decoding needs it.
        The first piece of a word begins with `▁`. Words spelled in phones take the first spelling of the lexicon.

        Raises:
            SpeechkitError: a character or word has no token; the message names text, symbol and remedy.
        """
        words = self.split(text)
        try:
            return self.tokens.ids([token for word in words for token in self._spelled(word)])
        except SpeechkitError as error:
            raise SpeechkitError(
                f"cannot encode '{text}': {error}; build the language folder from text that has it"
            ) from None

    def encode_known(self, text: str) -> list[int]:
        """As `encode`, without the words and symbols that have no token: for what is recognised, not trained on."""
        found: list[str] = []
        for word in self.split(text):
            with contextlib.suppress(SpeechkitError):
                found += [token for token in self._spelled(word) if token in self.tokens]
        return self.tokens.ids(found)

    def words(self, token_ids: Iterable[int]) -> list[str]:
        """Words of a sequence of token ids (no blanks, repeats already merged).

        Phones and word tokens are words themselves, and so are characters without boundary. Others are split at `|`,
        pieces at `▁`, and phones of a word lexicon are cut into words with the fewest edits.
        """
        symbols = self.tokens.symbols(token_ids)
        if self.pieces:
            return "".join(symbols).replace(WORD_START, " ").split()
        if self.unit == "char" and self.boundary == "word":
            letters = unfolded(symbols, self.repetitions)
            return "".join(letters).replace(WORD_BOUNDARY, " ").split()
        if self._spelled_in_phones:
            return self._segmenter.words(symbols)
        return symbols

    @property
    def _spelled_in_phones(self) -> bool:
        return self.unit == "phone" and self.phone_set is None

    @cached_property
    def _segmenter(self) -> Segmenter:
        return Segmenter(self.lexicon)

    def _spelled(self, word: str) -> Sequence[str]:
        if self.pieces:
            return self.pieces.spelled(word)
        if self.unit == "char":
            return [*folded(word, self.repetitions), WORD_BOUNDARY] if self.boundary == "word" else [word]
        return self.lexicon.spellings(word)[0] if self._spelled_in_phones else [word]

    def state(self) -> dict[str, Any]:
        """Everything as JSON-able values, for checkpoints."""
        lexicon = [[word, list(spelling)] for word, spelling in self.lexicon.entries]
        return {
            "unit": self.unit,
            "phone_set": self.phone_set,
            "boundary": self.boundary,
            "repetitions": self.repetitions,
            "pieces": base64.b64encode(self.pieces.model).decode() if self.pieces else None,
            "tokens": list(self.tokens)[1:],
            "lexicon": lexicon,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Lang":
        """The inverse of `state`; older checkpoints lack some of its values."""
        lexicon = Lexicon((word, tuple(spelling)) for word, spelling in state["lexicon"])
        pieces = Pieces(base64.b64decode(state["pieces"])) if state.get("pieces") else None
        tokens, boundary = TokenTable(state["tokens"]), state.get("boundary", "word")
        repetitions = state.get("repetitions", 0)
        return cls(state["unit"], tokens, lexicon, state["phone_set"], boundary, pieces, repetitions)

    def save(self, folder: Path) -> None:
        """Write `tokens.txt`, `lexicon.txt`, `lang.json` and, where there are pieces, `pieces.model`."""
        self.tokens.write(folder / "tokens.txt")
        self.lexicon.write(folder / "lexicon.txt")
        if self.pieces:
            self.pieces.write(folder / PIECES)
        description = {
            "unit": self.unit,
            "boundary": self.boundary,
            "repetitions": self.repetitions,
            "field": self.field,
            "phone_set": self.phone_set,
            "scored_phones": self.scored_phones,
            "scored_unit": self.scored_unit,
        }
        write_json(folder / "lang.json", description)

    @classmethod
    def load(cls, folder: Path) -> "Lang":
        """Read what `save` wrote."""
        if not (folder / "lang.json").exists():
            raise SpeechkitError(f"{folder} has no lang.json; run `speechkit lang` (stage 2)")
        description = read_json(folder / "lang.json")
        tokens, lexicon = TokenTable.read(folder / "tokens.txt"), Lexicon.read(folder / "lexicon.txt")
        unknown = [token for token in lexicon.tokens if token not in tokens]
        if unknown:
            raise SpeechkitError(
                f"{folder}/lexicon.txt uses '{unknown[0]}', which tokens.txt lacks; run `speechkit lang` again"
            )
        pieces = Pieces.read(folder / PIECES) if description["unit"] in KINDS else None
        boundary, repetitions = description.get("boundary", "word"), description.get("repetitions", 0)
        return cls(description["unit"], tokens, lexicon, description["phone_set"], boundary, pieces, repetitions)


def make_lang(
    unit: str,
    texts: Iterable[str],
    phone_set: int = 48,
    lexicon: Lexicon | None = None,
    boundary: str = "word",
    vocab_size: int | None = None,
    repetitions: int = 0,
) -> Lang:
    """Build the language of a recipe from its training text.

    Args:
        unit: "phone" (TIMIT phones of `phone_set`; with `lexicon`, the phones that spell its words), "char", "word",
            "bpe" or "unigram".
        texts: the words of every training utterance; not read for phones.
        phone_set: 61, 48 or 39; all its phones get a token, seen in training or not.
        lexicon: words spelled in phones, with unit "phone" only.
        boundary: "none" makes a word of each character, with unit "char" only.
        vocab_size: tokens with the blank, for "bpe" and "unigram" only (500 where left out).
        repetitions: of a letter that one symbol tells at most, with unit "char" and boundaries only.

    Raises:
        UsageError: unknown unit or phone set, or an option of another unit.
        SpeechkitError: no words in `texts`.
    """
    _check_options(unit, lexicon, boundary, vocab_size)
    if repetitions and (unit != "char" or boundary == "none"):
        raise UsageError(f"repetitions go with unit char and boundary word, not with {unit} and {boundary}")
    if unit == "phone":
        return _lang_of_phones(phone_set) if lexicon is None else _lang_of_lexicon(lexicon)
    counts = Counter(word for text in texts for word in text.split())
    if not counts:
        raise SpeechkitError("the training text holds no words; check the transcripts of the training cuts")
    words = sorted(counts)
    if unit == "word":
        return Lang(unit, TokenTable(words), _own_words(words))
    letters = sorted({letter for word in words for letter in word})
    if boundary == "none":
        return Lang(unit, TokenTable(letters), _own_words(letters), boundary=boundary)
    if unit == "char":
        return _lang_of_characters(words, letters, repetitions)
    pieces = learn_pieces(unit, counts, vocab_size or DEFAULT_VOCAB_SIZE)
    spelled = Lexicon((word, pieces.spelled(word)) for word in words)
    return Lang(unit, TokenTable(pieces.symbols), spelled, pieces=pieces)


def _check_options(unit: str, lexicon: Lexicon | None, boundary: str, vocab_size: int | None) -> None:
    if unit not in UNITS:
        raise UsageError(f"unknown unit '{unit}'{nearest(unit, UNITS)}; one of {', '.join(UNITS)}")
    if lexicon is not None and unit != "phone":
        raise UsageError(f"a lexicon of phones goes with unit phone, not {unit}")
    if boundary not in BOUNDARIES:
        raise UsageError(f"unknown boundary '{boundary}'{nearest(boundary, BOUNDARIES)}; word or none")
    if boundary == "none" and unit != "char":
        raise UsageError(f"boundary none goes with unit char, not {unit}")
    if vocab_size is not None and unit not in KINDS:
        raise UsageError(f"a vocabulary size goes with the units {' and '.join(KINDS)}, not {unit}")


def _lang_of_phones(phone_set: int) -> Lang:
    if phone_set not in PHONE_SETS:
        raise UsageError(f"there is no TIMIT set of {phone_set} phones; take 61, 48 or 39")
    phones = PHONE_SETS[phone_set]
    return Lang("phone", TokenTable(phones), _own_words(phones), phone_set)


def _lang_of_lexicon(lexicon: Lexicon) -> Lang:
    spelled = Lexicon((word, (*spelling, WORD_BOUNDARY)) for word, spelling in lexicon.entries)
    return Lang("phone", TokenTable([WORD_BOUNDARY, *lexicon.tokens]), spelled)


def _lang_of_characters(words: Sequence[str], letters: Sequence[str], repetitions: int) -> Lang:
    marked = next((word for word in words if WORD_BOUNDARY in word), None)
    numbers = repetition_symbols(repetitions)
    if found := [number for number in numbers if number in letters]:
        raise SpeechkitError(f"a word holds '{found[0]}', which stands for repeated letters; leave out --repetitions")
    if marked is not None:
        raise SpeechkitError(
            f"word '{marked}' holds '{WORD_BOUNDARY}', which marks word boundaries; normalise the transcripts"
        )
    spelled = Lexicon((word, (*folded(word, repetitions), WORD_BOUNDARY)) for word in words)
    tokens = TokenTable([WORD_BOUNDARY, *letters, *numbers])
    return Lang("char", tokens, spelled, repetitions=repetitions)


def _own_words(symbols: Iterable[str]) -> Lexicon:
    return Lexicon((symbol, (symbol,)) for symbol in symbols)
