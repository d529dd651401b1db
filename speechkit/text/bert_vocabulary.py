"""The vocabulary of a Chinese BERT: a token for each character, and five that stand for none."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import write_text
from speechkit.text.lines import numbered_lines

PAD, UNKNOWN, CLS, SEP, MASK = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class BertVocabulary:
    """Tokens by their number, in the order of BERT's vocab.txt.

    Characters are looked up in lower case, in which bert-base-chinese has them.

    Attributes:
        tokens: all of them.
        pad, unknown, cls, sep, mask: numbers of those that stand for no character.

    Raises:
        SpeechkitError: one of these is missing, or a token comes twice.
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = list(tokens)
        self._ids = {token: number for number, token in enumerate(self.tokens)}
        if missing := [token for token in SPECIAL if token not in self._ids]:
            raise SpeechkitError(f"the vocabulary lacks {' '.join(missing)}; take that of a Chinese BERT")
        if len(self._ids) != len(self.tokens):
            twice = next(token for number, token in enumerate(self.tokens) if self._ids[token] != number)
            raise SpeechkitError(f"token '{twice}' comes twice in the vocabulary; keep one")
        self.pad, self.unknown, self.cls, self.sep, self.mask = (self._ids[token] for token in SPECIAL)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def single(self) -> list[int]:
        """Numbers of the tokens that are one character."""
        return [number for number, token in enumerate(self.tokens) if len(token) == 1]

    def encode(self, characters: Iterable[str]) -> list[int]:
        """One number for each character; one without a token is `[UNK]`."""
        return [self._ids.get(character.lower(), self.unknown) for character in characters]

    def missing(self, characters: Iterable[str]) -> list[str]:
        """The different characters that have no token, in the order in which they come."""
        return list(dict.fromkeys(each for each in characters if each.lower() not in self._ids))

    def characters(self, ids: Iterable[int]) -> list[str]:
        """The tokens of some numbers; of one that stands for no character its name, as `[UNK]`."""
        return [self.tokens[number] for number in ids]

    def write(self, path: Path) -> None:
        """Write one token a line."""
        write_text(path, "".join(f"{token}\n" for token in self.tokens))

    @classmethod
    def read(cls, path: Path) -> "BertVocabulary":
        """Read what `write` wrote, or the vocab.txt of another BERT.

        Raises:
            SpeechkitError: there is no such file, or it is no vocabulary of a BERT.
        """
        tokens = [line for _, line in numbered_lines(path, "it belongs to every BERT, beside its weights")]
        try:
            return cls(tokens)
        except SpeechkitError as error:
            raise SpeechkitError(f"{path}: {error}") from None

    @classmethod
    def learn(cls, texts: Iterable[str]) -> "BertVocabulary":
        """The characters of some texts in lower case, white space left out, the most frequent first."""
        counts = Counter(each.lower() for text in texts for each in text if not each.isspace())
        return cls([*SPECIAL, *sorted(counts, key=lambda each: (-counts[each], each))])
