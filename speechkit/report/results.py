"""The table of results of a recipe: published figures beside measured ones, each measured line with its origin.

RESULTS.md is its own data: lines of earlier runs are read back from the table, so a new run adds or replaces only
its own lines.
"""

import logging
import re
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import exclusive, read_json, require_file, write_text
from speechkit.report.tables import table_lines

log = logging.getLogger(__name__)
Row = dict[str, str]
COLUMNS = (
    "System", "Set", "Metric", "Rate %", "95 % interval", "Errors", "Letter errors %", "Syllable errors %",
    "Syllable errors without tones %", "Homophones / substitutions", "Decoding", "Corpus", "Seed",
    "Parameters", "Train hours", "Real-time factor", "Hardware", "Date", "Commit", "Command",
)  # fmt: skip
MEAN_COLUMNS = ("System", "Set", "Metric", "Mean %", "Deviation", "Seeds", "Decoding", "Corpus")
PAPER_COLUMNS = ("System", "Set", "Published %", "Source", "Measured here %")
INTRODUCTION = """# Results

Written by `speechkit results`; measured lines stay until a run with the same system, corpus, set, decoding and seed
replaces them. A miniature is synthesised speech: its figures show that the recipe works and compare with each other,
never with published ones.
"""


@dataclass(frozen=True)
class Paper:
    """A published error rate in percent, of words perhaps with that of their letters."""

    system: str
    set: str
    figure: float
    source: str
    letters: float | None = None


def read_papers(path: Path) -> list[Paper]:
    """Read a YAML list of {system, set, figure, source}, some with `letters`; an empty file is an empty list."""
    import yaml

    require_file(path, "correct --papers")
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8")) or []
        return [_paper(each) for each in entries]
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        problem = " ".join(str(error).split())
        raise SpeechkitError(f"{path}: not a list of {{system, set, figure, source}}: {problem}") from error


def _paper(entry: Mapping[str, Any]) -> Paper:
    letters = float(entry["letters"]) if "letters" in entry else None
    return Paper(str(entry["system"]), str(entry["set"]), float(entry["figure"]), str(entry["source"]), letters)


def update_results(exp: Path, papers: Path, out: Path) -> tuple[int, int]:
    """Write the results below `exp` into `out`, keeping its lines of other runs.

    Returns:
        Numbers of new (or replaced) and of kept lines.

    Raises:
        SpeechkitError: `exp` or `papers` does not exist, or there is no line to write.
    """
    require_file(exp, "run the stages up to scoring (8) first")
    published = read_papers(papers)
    with exclusive(out):
        return _updated(exp, published, out)


def _updated(exp: Path, published: Sequence[Paper], out: Path) -> tuple[int, int]:
    kept = {_key(row): row for row in read_rows(out)} if out.exists() else {}
    new: dict[tuple[str, ...], Row] = {}
    for row in measured_rows(exp):
        if _key(row) in new:
            log.warning("two results for %s; the later one counts", ", ".join(_key(row)))
        new[_key(row)] = row
    rows = [row for _, row in sorted({**kept, **new}.items())]
    if not rows:
        raise SpeechkitError(
            f"{exp} holds no result.json of an experiment with run.json; run the stages up to scoring (8)"
        )
    write_text(out, "\n".join(_document(published, rows)) + "\n")
    return len(new), len(kept.keys() - new.keys())


def measured_rows(exp: Path) -> Iterator[Row]:
    """One line for each result.json below `exp` whose folder, or one above it, holds a run.json."""
    for path in sorted(exp.rglob("result.json")):
        if any(part.startswith(".") for part in path.relative_to(exp).parts):
            continue  # what a step that is being made again has set aside
        run = next((each for each in _folders_up(path.parent, exp) if (each / "run.json").exists()), None)
        if run is None:
            log.warning("%s left out: no run.json above it says how it was made; run the training stage again", path)
            continue
        decode = path.parent / "decode.json"
        yield _row(
            path.parent, read_json(path), read_json(run / "run.json"), read_json(decode) if decode.exists() else {}
        )


def read_rows(path: Path) -> list[Row]:
    """The measured lines of a file that `update_results` wrote; a column that it lacks is empty."""
    rows: list[Row] = []
    header: list[str] | None = None
    for line in path.read_text(encoding="utf-8").splitlines():
        cells = _cells(line)
        if not cells:
            header = None
        elif header is None:
            header = cells
        elif {"System", "Rate %"} <= set(header) and not set(cells[0]) <= set(":- "):
            found = dict(zip(header, cells, strict=False))
            rows.append({name: found.get(name, "") for name in COLUMNS})
    return rows


def _folders_up(folder: Path, top: Path) -> Iterator[Path]:
    yield folder
    while folder != top and folder != folder.parent:
        folder = folder.parent
        yield folder


def _row(folder: Path, result: Mapping[str, Any], run: Mapping[str, Any], decode: Mapping[str, Any]) -> Row:
    low, high = result["interval"]
    factor = decode.get("real_time_factor")
    values = {
        "System": run.get("system", folder.parent.name),
        "Set": folder.name.removeprefix("decode_").partition("_")[0],
        "Metric": result["metric"],
        "Rate %": f"{result['rate']:.2f}",
        "95 % interval": f"{low:.2f} to {high:.2f}",
        "Errors": f"{result['errors']} / {result['reference']}",
        "Letter errors %": _rate(result, "letter_error_rate"),
        "Syllable errors %": _rate(result, "syllable_error_rate"),
        "Syllable errors without tones %": _rate(result, "syllable_error_rate_without_tones"),
        "Homophones / substitutions": _homophones(result),
        "Decoding": _decoding(decode),
        "Corpus": run.get("corpus", ""),
        "Seed": run.get("seed", ""),
        "Parameters": run.get("num_params", ""),
        "Train hours": f"{run['train_hours']:.2f}" if "train_hours" in run else "",
        "Real-time factor": "" if factor is None else f"{factor:.4f}",
        "Hardware": run.get("hardware", ""),
        "Date": run.get("date", ""),
        "Commit": run.get("commit", ""),
        "Command": decode.get("command") or run.get("command", ""),
    }
    return {name: " ".join(str(value).split()) for name, value in values.items()}


def _rate(result: Mapping[str, Any], name: str) -> str:
    return f"{result[name]:.2f}" if name in result else ""


def _homophones(result: Mapping[str, Any]) -> str:
    """Of the wrong characters those with the syllable and tone of the right one."""
    found = result.get("homophone_substitutions")
    return "" if found is None else f"{found} / {result['substitutions']}"


def _decoding(decode: Mapping[str, Any]) -> str:
    """Method first, since it is part of a line's key, then what it was run with."""
    details = [f"{name} {value:g}" for name, value in (decode.get("weights") or {}).items()]
    beam = decode.get("beam") or {}
    details += [f"{name} {value:g}" for name, value in beam.items()]
    if decode.get("tuned_on_this_set"):
        details.append("weights tuned on this set")
    method = str(decode.get("method", "unknown"))
    return f"{method} ({', '.join(details)})" if details else method


def _key(row: Row) -> tuple[str, ...]:
    """What makes a line the same measurement: the weights of a decoding method are not part of it."""
    return row["Corpus"], row["System"], row["Set"], row["Decoding"].partition(" (")[0], row["Seed"]


def _document(papers: Sequence[Paper], rows: Sequence[Row]) -> Iterator[str]:
    yield INTRODUCTION
    if papers:
        yield "## Published\n"
        yield from table_lines(PAPER_COLUMNS, (_paper_cells(paper, rows) for paper in papers))
        yield ""
    if means := list(_means(rows)):
        yield "## Means over seeds\n"
        yield from table_lines(MEAN_COLUMNS, means)
        yield ""
    yield "## Measured\n"
    shown = [name for name in COLUMNS if any(row[name] for row in rows)]
    yield from table_lines(shown, ([row[name] for name in shown] for row in rows))


def _means(rows: Iterable[Row]) -> Iterator[list[str]]:
    """Mean and standard deviation of lines that differ in their seeds only, where there are several."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["Metric"], *_key(row)[:-1]), []).append(row)
    for (metric, corpus, system, part, decoding), same in groups.items():
        if len(same) > 1:
            rates = [float(row["Rate %"]) for row in same]
            seeds = ", ".join(row["Seed"] for row in same)
            figures = f"{statistics.mean(rates):.2f}", f"{statistics.stdev(rates):.2f}"
            yield [system, part, metric, *figures, seeds, decoding, corpus]


def _paper_cells(paper: Paper, rows: Iterable[Row]) -> list[str]:
    same = [row for row in rows if (row["System"], row["Set"]) == (paper.system, paper.set)]
    measured = "; ".join(f"{row['Rate %']} ({row['Corpus']})" for row in same)
    figure = f"{paper.figure:g}" + (f" (letters {paper.letters:g})" if paper.letters is not None else "")
    return [paper.system, paper.set, figure, paper.source, measured or "-"]


def _cells(line: str) -> list[str]:
    """Cells of a table line with their escapes undone; none for another line."""
    if not line.startswith("|"):
        return []
    parts = re.findall(r"((?:\\.|[^\\|])*)\|", line[1:])
    return [re.sub(r"\\(.)", r"\1", part.strip()) for part in parts]
