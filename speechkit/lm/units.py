"""Units of a neural language model: words, characters or word pieces, and the tokens of any word sequence.

Number 0 is the sentence end, which stands before the first word too; number 1 is `<unk>`, an unknown word. Every word
has one spelling, so that a sentence has one token sequence, and the probabilities of all sentences sum to one at most:

- "word": each word of the training text is a token, or each that it has often enough, the most frequent first;
- "char": the characters of the word and then `|`;
- "bpe", "unigram": SentencePiece pieces, of which the first of a word begins with `▁`.

A word that cannot be spelled, because it was not in the training text ("word") or one of its characters was not, is a
single `<unk>`. Where the training text holds none, the model gives it a probability that is small, but never zero;
where rare words are left out it stands for them, and as in an n-gram each of them has all of its probability.
"""

import base64
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.lm.counts import SPECIAL, UNKNOWN
from speechkit.text.pieces import Pieces, learn_pieces
from speechkit.text.tokens import WORD_BOUNDARY, TokenTable

Unit = Literal["word", "char", "bpe", "unigram"]
END_ID, UNKNOWN_ID = 0, 1


class Units:
    """Spells words in tokens.

    Args:
        tokens: the table; number 0, elsewhere the blank, is the sentence end, number 1 `<unk>`.
        pieces: what spells words in the units "bpe" and "unigram".
    """

    def __init__(self, unit: Unit, tokens: TokenTable, pieces: Pieces | None = None) -> None:
        self.unit, self.tokens, self.pieces = unit, tokens, pieces
        self._known: dict[str, list[int]] = {}

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, words: Sequence[str]) -> list[int]:
        """Token numbers of a sentence, its end included."""
        return [token for word in words for token in self.encode_word(word)] + [END_ID]

    def encode_word(self, word: str) -> list[int]:
        """Token numbers of one word."""
        ids = self._known.get(word)
        if ids is None:
            try:
                ids = self.tokens.ids(self._spelled(word))
            except SpeechkitError:
                ids = [UNKNOWN_ID]
            self._known[word] = ids
        return ids

    def encode_begun(self, letters: str) -> list[int]:
        """Token numbers that every word with these first letters begins with, as far as they tell."""
        if self.unit != "char" or not all(letter in self.tokens for letter in letters):
            return []
        return self.tokens.ids([*letters])

    def _spelled(self, word: str) -> list[str]:
        if self.pieces:
            return self.pieces.spelled(word)
        return [*word, WORD_BOUNDARY] if self.unit == "char" else [word]

    def state(self) -> dict[str, Any]:
        """Everything as JSON-able values, for checkpoints."""
        pieces = base64.b64encode(self.pieces.model).decode() if self.pieces else None
        return {"unit": self.unit, "tokens": list(self.tokens)[1:], "pieces": pieces}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Units":
        """The inverse of `state`."""
        pieces = Pieces(base64.b64decode(state["pieces"])) if state["pieces"] else None
        return cls(state["unit"], TokenTable(state["tokens"]), pieces)


def learn_units(unit: Unit, sentences: Iterable[Sequence[str]], size: int, least: int = 1) -> Units:
    """Units from the words of a training text, which is read once.

    Args:
        size: tokens of "bpe" and "unigram", besides `<unk>`; the others have as many as the text holds.
        least: times that the text holds a word which is a token of "word".

    Raises:
        SpeechkitError: no words, one of <unk>, <s>, </s> among them, or one that holds the mark of word boundaries.
        UsageError: the words allow no pieces of that size.
    """
    counts = Counter(word for words in sentences for word in words)
    if not counts:
        raise SpeechkitError("the text of the language model holds no words; check the stage that writes it")
    if found := [word for word in SPECIAL if word in counts]:
        raise SpeechkitError(f"the text of the language model holds the word {found[0]}; remove it")
    if unit == "word":
        kept = (word for word in counts if counts[word] >= least)
        return Units(unit, TokenTable([UNKNOWN, *sorted(kept, key=lambda word: (-counts[word], word))]))
    if unit == "char":
        letters = {letter for word in counts for letter in word}
        if WORD_BOUNDARY in letters:
            raise SpeechkitError(f"a word of the text holds '{WORD_BOUNDARY}', which ends words; normalise the text")
        return Units(unit, TokenTable([UNKNOWN, WORD_BOUNDARY, *sorted(letters)]))
    try:
        pieces = learn_pieces(unit, counts, size)
    except UsageError as error:  # names the option of `speechkit lang`
        raise UsageError(str(error).replace("--vocab-size", "vocab_size")) from error
    return Units(unit, TokenTable([UNKNOWN, *pieces.symbols]), pieces)
