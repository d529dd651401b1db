"""Rounds of pseudo-labelling: which counts, when they end, and what is taken of the best."""

import json
from pathlib import Path

import pytest

from speechkit.cli import main
from speechkit.report.rounds import best_of, is_worse, read_rounds


def make_rounds(folder: Path, *rates: float) -> None:
    for number, rate in enumerate(rates):
        made = folder / f"round-{number}"
        (made / "decode_dev").mkdir(parents=True)
        (made / "final").mkdir()
        (made / "final" / "model.safetensors").write_text(f"weights {number}")
        (made / "run.json").write_text(json.dumps({"system": "pseudo-label", "seed": 0}))
        for name in ("config.yaml", "log.jsonl"):
            (made / name).write_text(f"of {number}")
        (made / "decode_dev" / "result.json").write_text(json.dumps({"metric": "WER", "rate": rate}))
        if number:
            drift = {"previous": "labels-1", "utterances": 9, "error_rate": 12.5} if number > 1 else None
            report = {"counts": {"kept": 90 + number}, "hours": {"labelled": 1.0, "pseudo": 2.5}, "drift": drift}
            (folder / f"labels-{number}").mkdir()
            (folder / f"labels-{number}" / "report.json").write_text(json.dumps(report))


@pytest.mark.parametrize(
    ("rates", "last", "read", "best", "worse"),
    [
        ((30.0,), 2, 1, 0, False),
        ((30.0, 20.0), 2, 2, 1, False),
        ((30.0, 20.0, 15.0), 1, 2, 1, False),  # the third is of a run with more rounds
        ((30.0, 20.0, 25.0, 10.0), 3, 3, 1, True),  # the fourth is of an earlier run
        ((30.0, 30.0, 30.0), 2, 3, 0, False),
        ((20.0, 30.0), 1, 2, 0, True),
    ],
)
def test_rounds_end_with_the_first_that_is_worse(
    tmp_path: Path, rates: tuple[float, ...], last: int, read: int, best: int, worse: bool
) -> None:
    make_rounds(tmp_path, *rates)
    rounds = read_rounds(tmp_path, "decode_dev", last)
    assert ([each.error_rate for each in rounds], best_of(rounds).number) == (list(rates[:read]), best)
    assert is_worse(rounds) == worse


def command(folder: Path, rounds: int, *more: str) -> int:
    return main(["rounds", "--in", str(folder), "--decoding", "decode_dev", "--rounds", str(rounds), *more])


@pytest.mark.parametrize(("last", "verdict"), [(0, "go on"), (1, "go on"), (2, "stop"), (3, "stop")])
def test_it_says_after_each_round_whether_another_follows(
    tmp_path: Path, last: int, verdict: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_rounds(tmp_path, 30.0, 20.0, 25.0, 10.0)
    assert command(tmp_path, last, "--verdict") == 0
    assert capsys.readouterr().out == f"{verdict}\n"


def test_the_best_is_taken_with_its_origin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_rounds(tmp_path / "made", 30.0, 20.0, 25.0)
    out = tmp_path / "exp"
    for _ in range(2):
        assert command(tmp_path / "made", 3, "--out", str(out)) == 0
    assert capsys.readouterr().out.splitlines()[:4] == [
        "round    WER %   labels    hours  drift %",
        "    0    30.00",
        "    1    20.00       91     2.50           best",
        "    2    25.00       92     2.50    12.50",
    ]
    assert (out / "final" / "model.safetensors").read_text() == "weights 1"
    assert (out / "config.yaml").read_text() == "of 1"
    assert json.loads((out / "run.json").read_text()) == {"system": "pseudo-label", "seed": 0, "round": 1}
    record = json.loads((out / "rounds.json").read_text())
    assert (record["best"], [each["error_rate"] for each in record["rounds"]]) == (1, [30.0, 20.0, 25.0])


def test_nothing_is_taken_while_a_round_is_due(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_rounds(tmp_path / "made", 30.0, 20.0)
    assert command(tmp_path / "made", 2, "--out", str(tmp_path / "exp")) == 1
    assert "round 2 of 2 is not in" in capsys.readouterr().err
    assert command(tmp_path / "nothing", 2) == 1
    assert "run stages 4 and 5 first" in capsys.readouterr().err
    assert not (tmp_path / "exp").exists()
