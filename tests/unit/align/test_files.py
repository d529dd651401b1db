"""CTM and TextGrid: written, read back, and refused where damaged."""

from pathlib import Path

import pytest

from speechkit.align.ctm import read_ctm, write_ctm
from speechkit.align.segments import Segment
from speechkit.align.textgrid import read_textgrid, textgrid, write_textgrid
from speechkit.common.errors import SpeechkitError

WORDS = [Segment("hello", 0.25, 0.5, 0.75), Segment('say "ä"', 0.5, 1.125)]


def test_ctm_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "ü.ctm"
    segments = {
        "utt 1": [Segment("a", 0.0, 0.1125, 0.5), Segment("b", 0.1125, 0.3)],
        "u2": [Segment("ŋ", 1.0, 1.01, 1.0)],
    }
    write_ctm(path, segments)
    assert path.read_text(encoding="utf-8").splitlines() == [
        "utt_1 1 0.0000 0.1125 a 0.500", "utt_1 1 0.1125 0.1875 b", "u2 1 1.0000 0.0100 ŋ 1.000",
    ]  # fmt: skip
    assert read_ctm(path) == {"utt_1": segments["utt 1"], "u2": segments["u2"]}


def test_comments_of_a_ctm_are_passed_over_and_other_lines_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.ctm"
    path.write_text(";; a comment\nu A 0.5 0.25 word\n\nu A 0.5 oh word\n")
    with pytest.raises(SpeechkitError, match=r"x\.ctm:4: expected `utterance channel start duration label"):
        read_ctm(path)


def test_textgrid_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "x.TextGrid"
    tiers = {"words": WORDS, "phones": [Segment("h", 0.0, 0.75), Segment("o", 0.75, 1.5)], "none": []}
    write_textgrid(path, 1.5, tiers)
    duration, found = read_textgrid(path)
    assert duration == 1.5
    assert {name: [(s.label, s.start, s.end) for s in segments] for name, segments in found.items()} == {
        name: [(s.label, s.start, s.end) for s in segments] for name, segments in tiers.items()
    }


def test_textgrid_is_praats_long_format() -> None:
    assert textgrid(1.5, {"words": WORDS[1:]}).splitlines() == [
        'File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0 ", "xmax = 1.5 ", "tiers? <exists> ",
        "size = 1 ", "item []: ", "    item [1]:", '        class = "IntervalTier" ', '        name = "words" ',
        "        xmin = 0 ", "        xmax = 1.5 ", "        intervals: size = 3 ",
        "        intervals [1]:", "            xmin = 0 ", "            xmax = 0.5 ", '            text = "" ',
        "        intervals [2]:", "            xmin = 0.5 ", "            xmax = 1.125 ",
        '            text = "say ""ä""" ',
        "        intervals [3]:", "            xmin = 1.125 ", "            xmax = 1.5 ", '            text = "" ',
    ]  # fmt: skip


def test_the_short_format_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "short.TextGrid"
    path.write_text(
        'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n2\n<exists>\n1\n"IntervalTier"\n"w"\n0\n2\n2\n'
        '0\n0.5\n""\n0.5\n2\n"10 or [1] or x = 3"\n'
    )
    assert read_textgrid(path) == (2.0, {"w": [Segment("10 or [1] or x = 3", 0.5, 2.0)]})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is cut off"),
        ('File type = "ooTextFile"\nObject class = "PitchTier"\n', "something else"),
        (textgrid(1.0, {"w": []})[:150], "it is cut off"),
        (textgrid(1.0, {"w": []}).replace("IntervalTier", "TextTier"), "tier 'w' is a TextTier"),
    ],
)
def test_what_is_no_textgrid(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "x.TextGrid"
    path.write_text(text)
    with pytest.raises(SpeechkitError, match=reason):
        read_textgrid(path)


@pytest.mark.parametrize("segments", [[Segment("a", 0, 0.6), Segment("b", 0.5, 1)], [Segment("a", 0.5, 1.2)]])
def test_overlaps_and_segments_beyond_the_audio_are_refused(segments: list[Segment]) -> None:
    with pytest.raises(ValueError, match="overlaps or lies outside"):
        textgrid(1.0, {"words": segments})
