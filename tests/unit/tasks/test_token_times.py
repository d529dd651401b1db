"""Times of tokens from the alignments in supervisions."""

import pytest
from lhotse import MonoCut, SupervisionSegment
from lhotse.supervision import AlignmentItem

from speechkit.tasks.token_times import TokenTimes, token_times
from speechkit.text.lang import Lang, make_lang
from speechkit.text.lexicon import Lexicon


def cut(text: str, tier: list[tuple[str, float, float]] | None, phones: str | None = None) -> MonoCut:
    items = (
        None if tier is None else {"phone": [AlignmentItem(symbol, start, end - start) for symbol, start, end in tier]}
    )
    custom = {"phones": phones} if phones else None
    segment = SupervisionSegment("u", "u", 0, 2, text=text, alignment=items, custom=custom)
    return MonoCut("u", 0, 2, 0, supervisions=[segment])


@pytest.fixture
def digits() -> Lang:
    return make_lang("phone", [], lexicon=Lexicon([("two", ["t", "uw"]), ("the", ["dh", "ah"]), ("the", ["dh"])]))


def test_boundaries_last_until_the_next_item(digits: Lang) -> None:
    tier = [("SIL", 0.0, 0.1), ("t", 0.1, 0.2), ("uw", 0.2, 0.4), ("SIL", 0.4, 0.6), ("dh", 0.6, 0.7), ("ah", 0.7, 0.8)]
    found = token_times(cut("two the", tier), digits)
    assert found is not None
    assert digits.tokens.symbols(found.tokens) == ["t", "uw", "|", "dh", "ah", "|"]
    assert found.starts == pytest.approx([0.1, 0.2, 0.4, 0.6, 0.7, 0.8])
    assert found.ends == pytest.approx([0.2, 0.4, 0.6, 0.7, 0.8, 0.8])


def test_the_pronunciation_that_was_aligned_is_taken(digits: Lang) -> None:
    found = token_times(cut("the two", [("dh", 0.0, 0.1), ("t", 0.1, 0.2), ("uw", 0.2, 0.3)]), digits)
    assert found is not None
    assert digits.tokens.symbols(found.tokens) == ["dh", "|", "t", "uw", "|"]


@pytest.mark.parametrize(
    "tier",
    [
        None,
        [],
        [("t", 0.0, 0.1), ("t", 0.1, 0.2), ("uw", 0.2, 0.3)],
        [("t", 0.0, 0.1), ("uw", 0.1, 0.2), ("dh", 0.2, 0.3)],
    ],
)
def test_an_alignment_of_other_words_is_none(digits: Lang, tier: list[tuple[str, float, float]] | None) -> None:
    assert token_times(cut("two", tier), digits) is None
    assert token_times(cut("six", [("t", 0.0, 0.1)]), digits) is None


def test_phones_of_timit_are_folded() -> None:
    tier = [("h#", 0.0, 0.1), ("q", 0.1, 0.2), ("ux", 0.2, 0.5), ("h#", 0.5, 0.7)]
    found = token_times(cut("you", tier, "h# q ux h#"), make_lang("phone", [], phone_set=48))
    assert found is not None
    assert isinstance(found, TokenTimes)
    assert make_lang("phone", [], phone_set=48).tokens.symbols(found.tokens) == ["sil", "uw", "sil"]
    assert found.starts == pytest.approx([0.0, 0.2, 0.5])
