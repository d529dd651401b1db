"""Symbols for repeated letters: "ann" as a n 1; none follows itself (Schneider et al. 2019, section 3.1)."""

from collections.abc import Iterable


def symbols(most: int) -> list[str]:
    """The symbols `1` to the number of repetitions that one symbol tells at most."""
    return [str(count) for count in range(1, most + 1)]


def folded(word: str, most: int) -> list[str]:
    """Letters of a word; a number tells how often the letter before it is repeated, at most `most` times."""
    found: list[str] = []
    run = 0
    for place, letter in enumerate(word):
        run = run + 1 if place and letter == word[place - 1] and run < most else 0
        if run > 1:
            found.pop()
        found.append(str(run) if run else letter)
    return found


def unfolded(symbols_of_words: Iterable[str], most: int) -> list[str]:
    """The letters again; a number without a letter before it is left out."""
    numbers, found = symbols(most), list[str]()
    for symbol in symbols_of_words:
        if symbol in numbers:
            found += found[-1:] * int(symbol)
        else:
            found.append(symbol)
    return found
