"""Words of transcripts as people write them, by language."""

from dataclasses import replace

import pytest

from speechkit.common.errors import UsageError
from speechkit.text.normalise import GENERAL, LANGUAGES, not_spelled_out, rules_of, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello, WORLD -- don't re-open “U.S.A.”!", ["hello", "world", "don't", "re-open", "u.s.a"]),
        ("it’s 'quoted' text... and more", ["it's", "quoted", "text", "and", "more"]),
        ("Grüße\tan E\u0301mile\n", ["grüße", "an", "émile"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("你好 world", ["你", "好", "world"]),
        ("3.5 km, 10,000 m", ["3.5", "km", "10,000", "m"]),
        ("\ufeffso\u00adft \u200bhyphen\r\n", ["soft", "hyphen"]),
        ("ﬁne ｆｕｌｌ", ["ﬁne", "ｆｕｌｌ"]),
        (" -- ... !", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@pytest.mark.parametrize(
    ("language", "text", "words"),
    [
        ("en", "Mr. O’Neil re-opened the U.S. office at 9 a.m.", "mr o'neil re opened the us office at 9 am"),
        ("en-GB", "The end. A b. ﬁne ｆｕｌｌ nai\u0308ve", "the end a b fine full naïve"),
        ("en", "rock 'n' roll, e.g. (this) [noise]", "rock n roll eg this noise"),
        ("zh", "今天，天气ＡＢ很好。iPhone！", "今 天 天 气 ab 很 好 iphone"),
        ("zh-cn", "「你好」—— OK？", "你 好 ok"),
    ],
)
def test_rules_of_languages(language: str, text: str, words: str) -> None:
    assert words_of(text, rules_of(language)) == words.split()
    assert words_of(words, rules_of(language)) == words.split()  # normalised text stays as it is


def test_case() -> None:
    assert words_of("Der Fluß", replace(GENERAL, case="keep")) == ["Der", "Fluß"]
    assert words_of("don't", replace(LANGUAGES["en"], case="upper")) == ["DON'T"]


def test_what_is_said_but_not_written_as_words_is_found() -> None:
    assert not_spelled_out("5 % of $10 & ² to 15") == "5%$10&²"
    assert not_spelled_out("five per cent -- 五") == ""


def test_an_unknown_language() -> None:
    with pytest.raises(UsageError, match="no rules for the text of language 'xx'.*any suits most"):
        rules_of("xx")
