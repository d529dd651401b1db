"""Scores of a decoded set: the last line, alignments, confusions and figures in files."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import write_json, write_text
from speechkit.metrics.edit import Pair, alignments
from speechkit.metrics.error_rate import ErrorCounts, bootstrap_interval, confusions, count_each
from speechkit.report.transcripts import read_pair
from speechkit.text.phones import fold
from speechkit.text.tokens import WORD_BOUNDARY

METRICS = {"phone": "PER", "char": "CER", "word": "WER", "letter": "LER"}
NOTHING = "***"
LEVEL = 0.95


@dataclass(frozen=True)
class Score:
    """Error counts of one decoded set: `utterances` ids, their `counts`, and the alignments behind them."""

    metric: str
    folded_to: int | None
    utterances: list[str]
    counts: list[ErrorCounts]
    aligned: list[list[Pair]]

    @property
    def total(self) -> ErrorCounts:
        """Counts of the whole set."""
        return sum(self.counts, ErrorCounts())

    def line(self, name: str) -> str:
        """The set's `error_line`."""
        return error_line(self.metric, self.total, name)

    def figures(self) -> dict[str, Any]:
        """Everything in numbers, JSON-able; rates are in percent, the interval comes from resampled utterances."""
        total, wrong = self.total, sum(each.errors > 0 for each in self.counts)
        low, high = bootstrap_interval(self.counts, LEVEL)
        return {
            "metric": self.metric,
            "rate": total.rate,
            "interval": [low, high],
            "interval_level": LEVEL,
            "errors": total.errors,
            **asdict(total),
            "utterances": len(self.utterances),
            "utterances_with_errors": wrong,
            "sentence_error_rate": 100 * wrong / len(self.utterances),
            "folded_to": self.folded_to,
        }


def error_line(metric: str, total: ErrorCounts, name: str) -> str:
    """Kaldi's one line, `%WER 12.34 [ 45 / 366, 5 ins, 10 del, 30 sub ] name`."""
    return (
        f"%{metric} {total.rate:.2f} [ {total.errors} / {total.reference}, "
        f"{total.insertions} ins, {total.deletions} del, {total.substitutions} sub ] {name}"
    )


def score_folder(folder: Path, unit: str, folded_to: int | None = None) -> Score:
    """Compare `ref.txt` and `hyp.txt` of `folder`.

    Args:
        unit: "word", "phone" (words are phones), "char" (the characters of the words, without the spaces), or "letter"
            (with the spaces between words).
        folded_to: fold TIMIT phones of both sides to this set (39) before counting. Silence counts as a phone,
            repeats are not merged.

    Raises:
        SpeechkitError: a file is missing, the two differ in their utterances, or the references hold no words.
    """
    names, references, hypotheses = read_pair(folder / "ref.txt", folder / "hyp.txt")
    references, hypotheses = ([_units(words, unit, folded_to) for words in side] for side in (references, hypotheses))
    if not any(references):
        raise SpeechkitError(
            f"{folder / 'ref.txt'} holds no words to count errors against; decode a set with transcripts"
        )
    counts = count_each(references, hypotheses)
    return Score(METRICS[unit], folded_to, names, counts, alignments(references, hypotheses))


def write_score(score: Score, folder: Path, more: Mapping[str, Any]) -> None:
    """Write `per_utt.txt`, `confusions.txt` and, last, `result.json` with the figures in `more` into `folder`."""
    blocks = map(_utterance_block, score.utterances, score.counts, score.aligned)
    write_text(folder / "per_utt.txt", "\n".join(blocks))
    write_text(folder / "confusions.txt", _confusion_table(score))
    write_json(folder / "result.json", {**score.figures(), **more})


def _units(words: Sequence[str], unit: str, folded_to: int | None) -> list[str]:
    if unit in ("char", "letter"):
        return list((WORD_BOUNDARY if unit == "letter" else "").join(words))
    return fold(words, folded_to) if folded_to else list(words)


def _utterance_block(name: str, counts: ErrorCounts, aligned: Sequence[Pair]) -> str:
    """Four lines: reference and hypothesis in columns, the operations (C, S, I, D), and the counts."""
    cells = [
        (reference or NOTHING, hypothesis or NOTHING, _operation(reference, hypothesis))
        for reference, hypothesis in aligned
    ]
    widths = [max(map(len, cell)) for cell in cells]
    rows = [
        " ".join(cell[row].ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip() for row in range(3)
    ]
    correct = counts.reference - counts.deletions - counts.substitutions
    figures = f"{correct} cor, {counts.insertions} ins, {counts.deletions} del, {counts.substitutions} sub, "
    figures += f"{counts.rate:.2f} %"
    return "".join(
        f"{name} {label} {row}".rstrip() + "\n"
        for label, row in zip(("ref", "hyp", "op ", "sum"), (*rows, figures), strict=True)
    )


def _operation(reference: str | None, hypothesis: str | None) -> str:
    if reference is None:
        return "I"
    if hypothesis is None:
        return "D"
    return "C" if reference == hypothesis else "S"


def _confusion_table(score: Score) -> str:
    found = confusions(score.aligned)
    said = _occurrences(score.aligned)
    lines = ["# substitutions: count, reference -> hypothesis, share of the reference's occurrences"]
    for (reference, hypothesis), count in most_frequent(found.substitutions):
        lines.append(f"{count:6d}  {reference} -> {hypothesis}  {100 * count / said[reference]:.1f} %")
    lines += ["", "# deletions: count, reference, share of its occurrences"]
    lines += [f"{count:6d}  {item}  {100 * count / said[item]:.1f} %" for item, count in most_frequent(found.deletions)]
    lines += ["", "# insertions: count, hypothesis"]
    lines += [f"{count:6d}  {item}" for item, count in most_frequent(found.insertions)]
    return "\n".join(lines) + "\n"


def _occurrences(aligned: Sequence[Sequence[Pair]]) -> dict[str, int]:
    said: dict[str, int] = {}
    for reference, _ in (pair for pairs in aligned for pair in pairs):
        if reference is not None:
            said[reference] = said.get(reference, 0) + 1
    return said


def most_frequent(counts: Mapping[Any, int]) -> list[tuple[Any, int]]:
    """Items and counts, the most frequent first, equals in alphabetical order."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
