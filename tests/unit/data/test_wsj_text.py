"""Lines of .dot files worked by hand."""

import pytest

from speechkit.data.corpora import wsj_text


@pytest.mark.parametrize(
    ("transcription", "words", "spoken"),
    [
        ("The [loud_breath] cat sat", "THE <NOISE> CAT SAT", "THE CAT SAT"),
        ("a [<door_slam] b [door_slam>] c", "A B C", "A B C"),
        ("[phone_ring/] one two [/phone_ring] three", "ONE TWO THREE", "ONE TWO THREE"),
        ("[tongue_click] yes[lip_smack]", "<NOISE> YES <NOISE>", "YES"),
        ("he . paused ~", "HE PAUSED", "HE PAUSED"),
        ("cut~ off", "CUT OFF", "CUT OFF"),
        ("<and> he <'s> <the one>", "AND HE 'S THE ONE", "AND HE 'S THE ONE"),
        ("a *mispronounced* word", "A MISPRONOUNCED WORD", "A MISPRONOUNCED WORD"),
        ("!stress and le:ngth", "STRESS AND LENGTH", "STRESS AND LENGTH"),
        ("com(mercial)- commercial", "COM- COMMERCIAL", "COM COMMERCIAL"),
        ("(com)mercial", "MERCIAL", "MERCIAL"),
        ("Mr. O'Neil of the U.S. A.'s", "MR. O'NEIL OF THE U.S. A.'S", "MR. O'NEIL OF THE U.S. A.'S"),
        ("Mr\\. O\\'Neil", "MR. O'NEIL", "MR. O'NEIL"),
        ("twenty-five buy\\-out", "TWENTY-FIVE BUY-OUT", "TWENTY FIVE BUY OUT"),
        ("one \\,COMMA two \\.PERIOD", "ONE ,COMMA TWO .PERIOD", "ONE COMMA TWO PERIOD"),
        ("one ,comma two .period", "ONE ,COMMA TWO .PERIOD", "ONE COMMA TWO PERIOD"),
        ('"DOUBLE-QUOTE well "UNQUOTE', '"DOUBLE-QUOTE WELL "UNQUOTE', "DOUBLE QUOTE WELL UNQUOTE"),
        ("'SINGLE-QUOTE 'til 'em `single-quote", "'SINGLE-QUOTE 'TIL 'EM `SINGLE-QUOTE",
         "SINGLE QUOTE 'TIL 'EM SINGLE QUOTE"),
        ("\\(LEFT-PAREN a \\)RIGHT-PAREN", "(LEFT-PAREN A )RIGHT-PAREN", "LEFT PAREN A RIGHT PAREN"),
        ("(left(-paren a )close_paren", "(LEFT-PAREN A )CLOSE-PAREN", "LEFT PAREN A CLOSE PAREN"),
        ("a --DASH b \\-HYPHEN c", "A -DASH B -HYPHEN C", "A DASH B HYPHEN C"),
        ("ten %PERCENT two .POINT five", "TEN PERCENT TWO POINT FIVE", "TEN PERCENT TWO POINT FIVE"),
        ("really ?QUESTION-MARK !EXCLAMATION-POINT", "REALLY ?QUESTION-MARK !EXCLAMATION-POINT",
         "REALLY QUESTION MARK EXCLAMATION POINT"),
        (":COLON ;SEMI-COLON &AMPERSAND /SLASH ...ELLIPSIS", ":COLON ;SEMI-COLON &AMPERSAND /SLASH ...ELLIPSIS",
         "COLON SEMI COLON AMPERSAND SLASH ELLIPSIS"),
        ("{LEFT-BRACE }RIGHT-BRACE", "{LEFT-BRACE }RIGHT-BRACE", "LEFT BRACE RIGHT BRACE"),
        ("[cough] . ~", "<NOISE>", ""),
        ("", "", ""),
    ],
)  # fmt: skip
def test_marks_of_transcribers(transcription: str, words: str, spoken: str) -> None:
    found = wsj_text.words(transcription)
    assert found == words.split()
    assert wsj_text.spoken(found) == spoken
    assert wsj_text.is_spelled(spoken)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("The cat \\(LEFT-PAREN sat. (011c0201)", ("011c0201", "The cat \\(LEFT-PAREN sat.")),
        ("The cat (4OAC020B) ", ("4oac020b", "The cat")),
        ("(011c0201)", ("011c0201", "")),
        ("no id here", None),
        ("", None),
    ],
)
def test_lines(line: str, expected: tuple[str, str] | None) -> None:
    assert wsj_text.parse_line(line) == expected


def test_only_marked_words_are_punctuation() -> None:
    marked = ",COMMA .PERIOD -HYPHEN -DASH \"CLOSE-QUOTE 'SINGLE-QUOTE )RIGHT-PAREN ...ELLIPSIS"
    assert all(map(wsj_text.is_punctuation, marked.split()))
    assert not any(
        map(wsj_text.is_punctuation, ["COMMA", "PERCENT", "POINT", "'EM", "MR.", "<NOISE>", "COM-", "-TION"])
    )


def test_what_cannot_be_spelled_shows() -> None:
    assert not wsj_text.is_spelled(wsj_text.spoken(wsj_text.words("1 percent")))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ANN", "a n 1 |"),  # the example of the paper
        ("ZZZ ZZZZ", "z 2 | z 2 z |"),
        ("MR. O'NEILL", "m r . | o ' n e i l 1 |"),
        ("ALL LLAMAS", "a l 1 | l 1 a m a s |"),
    ],
)
def test_graphemes(text: str, expected: str) -> None:
    assert wsj_text.graphemes(text) == expected.split()


def test_there_are_31_graphemes_and_none_follows_itself() -> None:
    text = "THE QUICK BROWN FOX'S JUMP OVER A LAZY DOG. AAA BB"
    found = wsj_text.graphemes(text)
    assert len(set(found)) == 31
    assert all(left != right for left, right in zip(found, found[1:], strict=False))
    said = ""
    for grapheme in found:
        said += {"1": said[-1:], "2": said[-1:] * 2, "|": " "}.get(grapheme, grapheme)
    assert said.upper().strip() == text
