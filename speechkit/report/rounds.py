"""Rounds of pseudo-labelling, measured on the development set: which was the best, and whether another one is worth it.

A folder of rounds holds `round-0`, the teacher trained on true labels, the students `round-1` and so on, and
`labels-1` and so on that these were trained on.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import disk_errors, read_json, write_json

KEPT_FILES = ("config.yaml", "log.jsonl")


@dataclass(frozen=True)
class Round:
    """A trained model with its error rate in percent on the development set; `labels` is the report on its labels."""

    number: int
    folder: Path
    metric: str
    error_rate: float
    labels: dict[str, Any] | None


def read_rounds(folder: Path, decoding: str, last: int) -> list[Round]:
    """The rounds 0 to `last` that were made and scored, up to the first that is worse than the one before it.

    What lies behind that is of an earlier run.

    Args:
        decoding: name of the folder, in that of each round, that scoring has left the error rate in.

    Raises:
        SpeechkitError: the teacher was not scored.
    """
    rounds: list[Round] = []
    for number in range(last + 1):
        model, labels = folder / f"round-{number}", folder / f"labels-{number}" / "report.json"
        result = model / decoding / "result.json"
        if not result.exists():
            break
        score = read_json(result)
        report = read_json(labels) if number else None
        rounds.append(Round(number, model, score["metric"], score["rate"], report))
        if is_worse(rounds):
            break
    if not rounds:
        raise SpeechkitError(
            f"{folder / 'round-0' / decoding / 'result.json'} does not exist; run stages 4 and 5 first"
        )
    return rounds


def is_worse(rounds: Sequence[Round]) -> bool:
    """Whether the last round has more errors than the one before it, and therefore is the last."""
    return len(rounds) > 1 and rounds[-1].error_rate > rounds[-2].error_rate


def best_of(rounds: Sequence[Round]) -> Round:
    """The round with the fewest errors, the first of equals."""
    return min(rounds, key=lambda each: each.error_rate)


def table(rounds: Sequence[Round]) -> Iterator[str]:
    """A line for each round: its error rate, its labels, and how much they differ from those before."""
    best = best_of(rounds)
    yield f"{'round':>5}  {rounds[0].metric + ' %':>7}  {'labels':>7}  {'hours':>7}  {'drift %':>7}"
    for each in rounds:
        cells = ["", "", ""]
        if each.labels:
            drift = each.labels["drift"]
            cells = [f"{each.labels['counts']['kept']}", f"{each.labels['hours']['pseudo']:.2f}"]
            cells.append(f"{drift['error_rate']:.2f}" if drift else "")
        shown = "  ".join(f"{cell:>7}" for cell in (f"{each.error_rate:.2f}", *cells))
        yield f"{each.number:>5}  {shown}{'  best' if each is best else ''}".rstrip()


def take_best(rounds: Sequence[Round], out: Path) -> Round:
    """Copy the best model, what its training wrote down, and `rounds.json` with all rounds, to `out`."""
    best = best_of(rounds)
    with disk_errors(out):
        temporary = out / ".final.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.copytree(best.folder / "final", temporary)
        shutil.rmtree(out / "final", ignore_errors=True)
        temporary.rename(out / "final")
        for name in KEPT_FILES:
            shutil.copyfile(best.folder / name, out / name)
    rows = [{"round": each.number, "error_rate": each.error_rate, "labels": each.labels} for each in rounds]
    write_json(out / "rounds.json", {"best": best.number, "metric": best.metric, "rounds": rows})
    write_json(out / "run.json", {**read_json(best.folder / "run.json"), "round": best.number})
    return best
