"""When each token of an utterance is said, from the alignment in its supervision."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from speechkit.data.batches import text_fields
from speechkit.text.lang import Lang
from speechkit.text.tokens import WORD_BOUNDARY

TIER = "phone"
Item = tuple[str, float, float]


@dataclass(frozen=True)
class TokenTimes:
    """Token ids with their beginnings and ends in seconds from the start of the utterance."""

    tokens: list[int]
    starts: list[float]
    ends: list[float]


def token_times(cut: Any, lang: Lang) -> TokenTimes | None:
    """Times of a cut's tokens from the tier "phone" of its Lhotse alignment; None without one that fits the words.

    Word by word, the pronunciation that was aligned is looked up in the lexicon. What lies between words and is no
    token is silence. The boundary `|` of a word lasts from its last phone to the end of the item after it.
    """
    tier = (cut.supervisions[0].alignment or {}).get(TIER)
    if tier is None:
        return None
    items = [
        (symbol, float(item.start), float(item.end))
        for item in tier
        for symbol in (lang.split(item.symbol) if lang.phone_set else [item.symbol])
    ]
    found: list[Item] = []
    place = 0
    for word in lang.reference(text_fields(cut)):
        spellings = lang.lexicon.spellings(word) if word in lang.lexicon else []
        while not (match := _match(spellings, items, place)):
            if place >= len(items) or items[place][0] in lang.tokens:
                return None
            place += 1
        found += match
        place += sum(symbol != WORD_BOUNDARY for symbol, _, _ in match)
    if any(symbol in lang.tokens for symbol, _, _ in items[place:]):
        return None
    tokens = lang.tokens.ids([symbol for symbol, _, _ in found])
    return TokenTimes(tokens, [start for _, start, _ in found], [end for _, _, end in found])


def _match(spellings: Sequence[tuple[str, ...]], items: Sequence[Item], place: int) -> list[Item]:
    """The longest of `spellings` that the alignment reads from `place` on, with its times; empty if there is none."""
    for spelling in sorted(spellings, key=len, reverse=True):
        phones = [symbol for symbol in spelling if symbol != WORD_BOUNDARY]
        aligned = list(items[place : place + len(phones)])
        if phones and [symbol for symbol, _, _ in aligned] == phones:
            end = aligned[-1][2]
            following = items[place + len(phones)][2] if place + len(phones) < len(items) else end
            return aligned + [(WORD_BOUNDARY, end, following)] * (len(spelling) - len(phones))
    return []
