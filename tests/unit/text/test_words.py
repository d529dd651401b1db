"""Words of transcripts as people write them."""

import pytest

from speechkit.text.words import words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello, WORLD -- don't re-open “U.S.A.”!", ["hello", "world", "don't", "re-open", "u.s.a"]),
        ("it’s 'quoted' text... and more", ["it's", "quoted", "text", "and", "more"]),
        ("Grüße\tan E\u0301mile\n", ["grüße", "an", "émile"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("你好 world", ["你", "好", "world"]),
        ("3.5 km", ["3.5", "km"]),
        (" -- ... !", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words
