"""Token tables: the symbols a model scores, numbered from the blank at 0."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import write_text
from speechkit.text.lines import numbered_lines

BLANK = "<blk>"
WORD_BOUNDARY = "|"


class TokenTable:
    """Symbols numbered 0, 1, ...; number 0 is the blank `<blk>`.

    Args:
        symbols: the symbols in order, without the blank.

    Raises:
        SpeechkitError: a symbol is empty, holds white space, is the blank, or comes twice.
    """

    def __init__(self, symbols: Iterable[str]) -> None:
        self._symbols = [BLANK, *symbols]
        self._ids = {symbol: index for index, symbol in enumerate(self._symbols)}
        if len(self._ids) != len(self._symbols):
            twice = next(symbol for index, symbol in enumerate(self._symbols) if self._ids[symbol] != index)
            raise SpeechkitError(f"token '{twice}' comes twice in the token table; keep one")
        bad = next((symbol for symbol in self._symbols if symbol.split() != [symbol]), None)
        if bad is not None:
            raise SpeechkitError(f"token {bad!r} is empty or holds white space; a token table cannot hold it")

    def __len__(self) -> int:
        return len(self._symbols)

    def __iter__(self) -> Iterator[str]:
        return iter(self._symbols)

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TokenTable) and self._symbols == other._symbols

    def __hash__(self) -> int:
        return hash(tuple(self._symbols))

    def ids(self, symbols: Sequence[str]) -> list[int]:
        """Numbers of `symbols`; unknown ones are a `SpeechkitError` that lists them."""
        try:
            return [self._ids[symbol] for symbol in symbols]
        except KeyError:
            unknown = sorted({symbol for symbol in symbols if symbol not in self._ids})
            raise SpeechkitError(f"not in the token table: {', '.join(map(repr, unknown))}") from None

    def symbols(self, ids: Iterable[int]) -> list[str]:
        """Symbols of `ids`; a number outside the table is a `SpeechkitError`."""
        found = list(ids)
        outside = next((index for index in found if not 0 <= index < len(self)), None)
        if outside is not None:
            raise SpeechkitError(
                f"token id {outside} is outside the token table of {len(self)} symbols; model and table differ"
            )
        return [self._symbols[index] for index in found]

    def write(self, path: Path) -> None:
        """Write one `token id` line per symbol, the blank first."""
        write_text(path, "".join(f"{symbol} {index}\n" for index, symbol in enumerate(self._symbols)))

    @classmethod
    def read(cls, path: Path) -> "TokenTable":
        """Read `token id` lines in any order; ids must be 0 to the number of lines less one, 0 the blank."""
        found: dict[int, str] = {}
        for number, line in numbered_lines(path, "run `speechkit lang` (stage 2)"):
            parts = line.split()
            if not parts:
                continue
            if len(parts) != 2 or not parts[1].isdecimal():
                raise SpeechkitError(f"{path}:{number}: expected `token id`, found '{line}'")
            if int(parts[1]) in found:
                raise SpeechkitError(f"{path}:{number}: id {parts[1]} was given before, to '{found[int(parts[1])]}'")
            found[int(parts[1])] = parts[0]
        if sorted(found) != list(range(len(found))) or found.get(0) != BLANK:
            raise SpeechkitError(
                f"{path}: ids must run from 0 without a gap, and 0 must be {BLANK}; run `speechkit lang` again"
            )
        try:
            return cls(found[index] for index in range(1, len(found)))
        except SpeechkitError as error:
            raise SpeechkitError(f"{path}: {error}") from None
