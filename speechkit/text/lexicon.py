"""Pronunciation lexicons in Kaldi's text form, `word token token ...`."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import write_text
from speechkit.text.lines import numbered_lines

Entry = tuple[str, tuple[str, ...]]


class Lexicon:
    """Words with one or more spellings in tokens, in the order given; an entry given twice counts once."""

    def __init__(self, entries: Iterable[tuple[str, Iterable[str]]]) -> None:
        self._spellings: dict[str, list[tuple[str, ...]]] = {}
        for word, tokens in entries:
            spellings = self._spellings.setdefault(word, [])
            spelling = tuple(tokens)
            if not spelling:
                raise SpeechkitError(f"word '{word}' of the lexicon has no tokens; add its pronunciation or remove it")
            if spelling not in spellings:
                spellings.append(spelling)

    def __len__(self) -> int:
        """Number of words."""
        return len(self._spellings)

    def __contains__(self, word: object) -> bool:
        return word in self._spellings

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Lexicon) and self._spellings == other._spellings

    __hash__ = None  # type: ignore[assignment]

    @property
    def words(self) -> list[str]:
        """All words, in the order of their first entry."""
        return list(self._spellings)

    @property
    def entries(self) -> Iterator[Entry]:
        """Every (word, tokens) pair, the spellings of a word together."""
        return ((word, spelling) for word, spellings in self._spellings.items() for spelling in spellings)

    @property
    def tokens(self) -> list[str]:
        """The tokens used, sorted."""
        return sorted({token for _, spelling in self.entries for token in spelling})

    def spellings(self, word: str) -> list[tuple[str, ...]]:
        """All spellings of `word`; an unknown word is a `SpeechkitError`."""
        if word not in self._spellings:
            raise SpeechkitError(f"word '{word}' is not in the lexicon; add it with its pronunciation")
        return self._spellings[word]

    def write(self, path: Path) -> None:
        """Write one `word token token ...` line per entry."""
        write_text(path, "".join(f"{word} {' '.join(spelling)}\n" for word, spelling in self.entries))

    @classmethod
    def read(cls, path: Path) -> "Lexicon":
        """Read `word token token ...` lines; empty lines are skipped, a word without tokens is a `SpeechkitError`."""
        entries: list[Entry] = []
        for number, line in numbered_lines(path, "correct --lexicon, or run `speechkit lang` (stage 2)"):
            word, *tokens = line.split() or [""]
            if word and not tokens:
                raise SpeechkitError(
                    f"{path}:{number}: word '{word}' has no tokens; add its pronunciation or remove the line"
                )
            if word:
                entries.append((word, tuple(tokens)))
        if not entries:
            raise SpeechkitError(f"{path} holds no words; each line is `word token token ...`")
        return cls(entries)
