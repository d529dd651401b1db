"""Segments of characters by the command, in the ways that learn nothing of their own: known utterances, bad input."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from in_folder import run
from spoken_characters import Said, write_recognizer, write_set

from speechkit.data.manifests import read_lines, write_lines
from speechkit.data.segments import read_segments

UTTERANCES: dict[str, Said] = {
    "one": [("sil", 5), ("我", 10), ("sil", 4), ("你", 6), ("他", 8), ("sil", 7)],
    "two": [("sil", 3), ("好", 9), ("我", 9), ("sil", 3)],
    "three": [("你", 12), ("sil", 2), ("好", 10), ("他", 11), ("我", 7), ("sil", 9)],
}
ONE = [(0.0575, 0.1575), (0.1975, 0.2575), (0.2575, 0.3375)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sets "train", "dev" and, without speech, "mute"; a model of CTC; oracle segments."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("récipe s")
    write_set(folder / "data", "train", UTTERANCES)
    write_set(folder / "data", "dev", UTTERANCES)
    write_set(folder / "mute", "dev", {"mute": [("sil", 30)]})
    write_recognizer(folder / "ctc")
    shutil.copy(folder / "data/cuts_dev.jsonl.gz", folder / "cuts_dev_ali.jsonl.gz")
    assert run(folder, "segments", "--kind", "oracle", "--cuts", "cuts_dev_ali.jsonl.gz", "--out", "oracle") == 0
    return folder


def command(kind: str, out: str, *more: str, cuts: str = "data/cuts_dev.jsonl.gz") -> list[str]:
    return ["segments", "--kind", kind, "--cuts", cuts, "--out", out, *more]


def error(folder: Path, capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    """The one line with which a command fails."""
    assert run(folder, *arguments) == code
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


def test_oracle_segments_are_those_of_the_alignment_without_silence(folder: Path) -> None:
    found = read_segments(folder / "oracle/segments_dev.jsonl.gz")
    assert list(found) == list(UTTERANCES)
    np.testing.assert_allclose(found["one"], ONE)
    assert len(found["three"]) == 4


def edited(folder: Path, changes: dict[str, dict[str, Any]]) -> Path:
    """The set with values of supervisions changed, and `num_frames` of features."""
    rows = list(read_lines(folder / "data/cuts_dev.jsonl.gz"))
    for row in rows:
        change = dict(changes.get(row["id"], {}))
        row["features"]["num_frames"] = change.pop("num_frames", row["features"]["num_frames"])
        row["supervisions"][0].update(change)
    write_lines(folder / "edited/cuts_dev_ali.jsonl.gz", rows)
    return folder / "edited/cuts_dev_ali.jsonl.gz"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"alignment": {}}, "no alignment"),
        ({"alignment": None}, "no alignment"),
        ({"text": ""}, "no transcript"),
        ({"text": "我 你 他 好"}, "another transcript: 3 segments in the alignment, 4 characters in the transcript"),
        ({"text": "我 你 你"}, "another transcript: 3 segments in the alignment, 3 characters in the transcript"),
        ({"num_frames": 2}, "too short: 3 characters in 2 frames"),
    ],
)
def test_utterances_whose_characters_have_no_times_are_dropped(
    folder: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], reason: str
) -> None:
    cuts = edited(folder, {"one": change})
    assert run(folder, *command("oracle", "edited-out", cuts=str(cuts))) == 0
    printed = capsys.readouterr()
    assert printed.out == f"dev: 6 segments of 2 utterances; 1 dropped (1 {reason.partition(':')[0]})\n"
    assert f"dropped one, {reason}" in printed.err
    assert list(read_segments(folder / "edited-out/segments_dev.jsonl.gz")) == ["two", "three"]
    rows = [json.loads(line) for line in (folder / "edited-out/dropped_dev.jsonl").read_text().splitlines()]
    assert rows == [{"id": "one", "reason": reason}]


def test_ctc_segments_meet_between_the_tokens(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The middles of the tokens of "one" are 0.095 s apart in the mean."""
    assert run(folder, *command("ctc", "ctc-out", "--checkpoint", "ctc", "--reference", "oracle")) == 0
    found = read_segments(folder / "ctc-out/segments_dev.jsonl.gz")
    np.testing.assert_allclose(found["one"], [(0.01, 0.1775), (0.1775, 0.2575), (0.2575, 0.385)])
    figures = json.loads((folder / "ctc-out/quality.json").read_text())["dev"]
    assert (figures["utterances"], figures["right_count"], figures["count_error"]) == (3, 100, 0)
    assert "100.00%" in capsys.readouterr().out


def test_where_nothing_is_recognised_there_is_one_segment(folder: Path) -> None:
    cuts = "mute/cuts_dev.jsonl.gz"
    assert run(folder, *command("ctc", "mute-out", "--checkpoint", "ctc", cuts=cuts)) == 0
    assert read_segments(folder / "mute-out/segments_dev.jsonl.gz")["mute"].tolist() == [[0, 0.315]]
    assert run(folder, *command("linear", "mute-out", "--count", "ctc", "--checkpoint", "ctc", cuts=cuts)) == 0
    assert read_segments(folder / "mute-out/segments_dev.jsonl.gz")["mute"].tolist() == [[0, 0.315]]


def test_linear_segments_are_equal_parts_of_all(folder: Path) -> None:
    assert run(folder, *command("linear", "linear", "--train-cuts", "data/cuts_train.jsonl.gz")) == 0
    counted = read_segments(folder / "linear/segments_dev.jsonl.gz")
    assert {name: len(each) for name, each in counted.items()} == {"one": 3, "two": 2, "three": 4}
    assert run(folder, *command("linear", "linear2", "--count", "ctc", "--checkpoint", "ctc")) == 0
    found = read_segments(folder / "linear2/segments_dev.jsonl.gz")
    third = 0.415 / 3
    assert found["one"].ravel().tolist() == pytest.approx([0, third, third, 2 * third, 2 * third, 0.415], abs=1e-6)


@pytest.mark.parametrize("kind", ["linear", "ctc"])
def test_the_transcripts_of_the_set_are_not_read(folder: Path, kind: str) -> None:
    cuts = edited(folder, {"one": {"text": "好"}, "two": {"text": ""}, "three": {"text": "我 我 我 我 我 我"}})
    shutil.copy(folder / "data/cmvn.safetensors", cuts.parent)
    more = ["--checkpoint", "ctc"] if kind == "ctc" else ["--train-cuts", "data/cuts_train.jsonl.gz"]
    assert run(folder, *command(kind, "blind", *more, cuts=str(cuts))) == 0
    assert run(folder, *command(kind, "seeing", *more)) == 0
    blind, seeing = (read_segments(folder / name / "segments_dev.jsonl.gz") for name in ("blind", "seeing"))
    assert {name: each.tolist() for name, each in blind.items()} == {
        name: each.tolist() for name, each in seeing.items()
    }


def test_what_does_not_go_together_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def problem(*arguments: str) -> str:
        return error(folder, capsys, 2, *arguments)

    assert "--kind ctc needs --checkpoint" in problem(*command("ctc", "no"))
    assert "--kind linear --count ratio needs --train-cuts" in problem(*command("linear", "no"))
    assert "--kind linear --count ctc needs --checkpoint" in problem(*command("linear", "no", "--count", "ctc"))
    assert "does not read --checkpoint" in problem(*command("oracle", "no", "--checkpoint", "ctc"))
    twice = command("oracle", "no")
    twice.insert(4, "cuts_dev_ali.jsonl.gz")
    assert "'dev' twice" in problem(*twice)
    assert not (folder / "no").exists()


def test_bad_input_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def problem(*arguments: str) -> str:
        return error(folder, capsys, 1, *arguments)

    (folder / "cuts_empty.jsonl.gz").write_bytes(b"")
    write_set(folder / "plain", "dev", UTTERANCES, aligned=False)
    write_recognizer(folder / "words", boundary="word")
    (folder / "foreign").mkdir()
    (folder / "foreign/task.json").write_text('{"task": "code-bert"}')
    assert "cuts_empty.jsonl.gz: no utterance has segments; it holds no cut" in problem(
        *command("oracle", "no", cuts="cuts_empty.jsonl.gz")
    )
    assert "all 3 were dropped, one for: no alignment" in problem(
        *command("oracle", "no", cuts="plain/cuts_dev.jsonl.gz")
    )
    assert "words recognises no characters" in problem(*command("ctc", "no", "--checkpoint", "words"))
    assert "foreign is no model of `speechkit train`" in problem(*command("ctc", "no", "--checkpoint", "foreign"))
    assert "holds no transcript" in problem(*command("linear", "no", "--train-cuts", "mute/cuts_dev.jsonl.gz"))
    assert not (folder / "no").exists()
    assert "segments_dev.jsonl.gz does not exist" in problem(*command("oracle", "no", "--reference", "nowhere"))
    assert not (folder / "no/quality.json").exists()
