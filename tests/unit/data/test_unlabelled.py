"""Cuts lose all that was said in them, and labelled and pseudo-labelled cuts are mixed to one training set."""

from dataclasses import replace
from pathlib import Path

import pytest
from lhotse import CutSet, MonoCut, SupervisionSegment
from lhotse.supervision import AlignmentItem

from speechkit.common.errors import SpeechkitError
from speechkit.data.unlabelled import labelled_with, without_transcripts, write_training_set


def make_cut(name: str) -> MonoCut:
    supervision = SupervisionSegment(
        f"{name}-s", f"{name}-r", 0.5, 2.0, 0, text="what was said", language="English", speaker="anna",
        gender="female", custom={"phones": "w aa t"}, alignment={"word": [AlignmentItem("what", 0.5, 0.2)]},
    )  # fmt: skip
    return MonoCut(name, 1.0, 3.0, 0, supervisions=[supervision], custom={"transcript": "what was said"})


def write(folder: Path, split: str, names: list[str]) -> None:
    folder.mkdir(exist_ok=True)
    CutSet.from_cuts(map(make_cut, names)).to_file(folder / f"cuts_{split}.jsonl.gz")


def ids(folder: Path) -> list[str]:
    return [cut.id for cut in CutSet.from_jsonl(folder / "cuts_train.jsonl.gz")]


def test_nothing_of_the_words_stays(tmp_path: Path) -> None:
    write(tmp_path, "train", ["a", "b", "c"])
    found = list(without_transcripts(tmp_path / "cuts_train.jsonl.gz", {"b"}))
    assert [cut.id for cut in found] == ["a", "c"]
    expected = SupervisionSegment("a-s", "a-r", 0.5, 2.0, 0, language="English", speaker="anna", gender="female")
    assert found[0] == MonoCut("a", 1.0, 3.0, 0, supervisions=[expected])


@pytest.mark.parametrize(
    ("fields", "text", "custom"), [({"text": "two"}, "two", None), ({"phones": "t uw"}, None, {"phones": "t uw"})]
)
def test_a_label_goes_where_the_language_looks_for_it(
    fields: dict[str, str], text: str | None, custom: dict[str, str] | None
) -> None:
    (supervision,) = labelled_with(make_cut("a"), fields).supervisions
    assert (supervision.text, supervision.custom, supervision.speaker) == (text, custom, "anna")
    assert supervision.alignment is None


def test_a_cut_of_several_utterances_is_refused() -> None:
    cut = make_cut("a")
    with pytest.raises(SpeechkitError, match="cut a has 2 supervisions; one per cut is needed"):
        labelled_with(replace(cut, supervisions=cut.supervisions * 2), {})


@pytest.mark.parametrize(
    ("copies", "expected"),
    [
        (1, ["p0", "x", "p1", "p2", "p3", "y", "p4", "p5"]),
        (2, ["p0", "x", "p1", "y", "p2", "p3", "x1", "p4", "y1", "p5"]),
    ],
)
def test_labelled_cuts_stand_evenly_among_the_others(tmp_path: Path, copies: int, expected: list[str]) -> None:
    write(tmp_path / "labelled", "train", ["x", "y"])
    write(tmp_path / "labelled", "dev", ["d"])
    pseudo = [make_cut(f"p{number}") for number in range(6)]
    write_training_set(tmp_path / "out", tmp_path / "labelled", copies, iter(pseudo), len(pseudo))
    found = [name.replace("_copy", "") for name in ids(tmp_path / "out")]
    assert found == expected
    assert (tmp_path / "out/cuts_dev.jsonl.gz").read_bytes() == (tmp_path / "labelled/cuts_dev.jsonl.gz").read_bytes()
    assert not (tmp_path / "out/cuts_test.jsonl.gz").exists()
