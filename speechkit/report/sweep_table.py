"""The table and the picture of a sweep: mean and standard deviation over seeds of each combination of its grid."""

import math
import statistics
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechkit.common.files import atomic_path, write_text
from speechkit.report.pictures import pyplot
from speechkit.report.sweep import Choice, Combination, Point, SweepConfig, folder_name, short
from speechkit.report.tables import table_lines

Figures = Mapping[Point, Mapping[str, float]]
PANELS_IN_ROW = 3
LABEL_WIDTH = 14  # characters of a choice's name in one line


@dataclass(frozen=True)
class Cell:
    """A figure of one combination over its seeds; `deviation` is that of a sample, None for fewer than two runs."""

    mean: float
    deviation: float | None
    runs: int

    @classmethod
    def of(cls, figures: Sequence[float]) -> "Cell":
        """From the figures of the seeds, at least one."""
        return cls(statistics.mean(figures), statistics.stdev(figures) if len(figures) > 1 else None, len(figures))

    def __str__(self) -> str:
        return f"{self.mean:.4g}" + ("" if self.deviation is None else f" ± {self.deviation:.2g}")


def cells_of(config: SweepConfig, figures: Figures) -> dict[Combination, dict[str, Cell]]:
    """The cells of each combination by the metric's name; without an entry where no run has ended well."""
    found: dict[Combination, dict[str, Cell]] = {}
    for choices in config.combinations:
        runs = [each for point, each in figures.items() if point.choices == choices]
        found[choices] = {metric.name: Cell.of([run[metric.name] for run in runs]) for metric in config.metrics if runs}
    return found


def write_table(config: SweepConfig, points: Sequence[Point], figures: Figures, out: Path, origin: str) -> None:
    """Write `table.md` and, where matplotlib is installed, `table.png` into `out`; `origin` says how it was made."""
    write_text(out / "table.md", "\n".join(_document(config, points, figures, origin)) + "\n")
    if figures:
        _draw(config, cells_of(config, figures), out / "table.png")


def _document(config: SweepConfig, points: Sequence[Point], figures: Figures, origin: str) -> Iterator[str]:
    names = [metric.name for metric in config.metrics]
    yield f"# {config.title}\n"
    yield f"{origin}\n\nMean ± standard deviation over seeds.\n"
    columns = [*map(short, config.grid), *names, "Runs"]
    if config.published:
        columns.append(f"{config.published.source}")
    rows = []
    for index, (choices, cells) in enumerate(cells_of(config, figures).items()):
        runs = max((cell.runs for cell in cells.values()), default=0)
        row = [choice.value for choice in choices]
        row += [str(cells.get(name, "-")) for name in names]
        row.append(str(runs) if runs == len(config.seeds) else f"{runs} of {len(config.seeds)}")
        if config.published:
            row.append(f"{config.published.figures[index]:g}")
        rows.append(row)
    yield from table_lines(columns, rows)
    yield "\n## Runs\n"
    yield from table_lines(
        ["Run", "Seed", *names],
        (
            [folder_name(point.choices), str(point.seed), *(_figure(figures.get(point), name) for name in names)]
            for point in points
        ),
    )


def _figure(run: Mapping[str, float] | None, name: str) -> str:
    return "-" if run is None else f"{run[name]:.5g}"


def _draw(config: SweepConfig, cells: Mapping[Combination, Mapping[str, Cell]], path: Path) -> None:
    """One panel for each metric, over the values of the first key, with a line for each combination of the others."""
    plt = pyplot()
    if plt is None:
        return
    axis, choices = next(iter(config.axes.items()))
    places = _places(choices)
    lines: dict[str, list[tuple[float, Mapping[str, Cell]]]] = {}
    for combination, found in cells.items():
        if found:
            lines.setdefault(folder_name(combination[1:]), []).append((places[combination[0].value], found))
    columns = min(len(config.metrics), PANELS_IN_ROW)
    rows = -(-len(config.metrics) // columns)
    picture, panels = plt.subplots(
        rows, columns, figsize=(5 * columns, 3.6 * rows), squeeze=False, layout="constrained"
    )
    for unused in panels.flat[len(config.metrics) :]:
        unused.remove()
    labels = [textwrap.fill(place, LABEL_WIDTH, break_on_hyphens=False) for place in places]
    for panel, metric in zip(panels.flat, config.metrics, strict=False):
        _draw_lines(panel, lines, metric.name, "-" if _are_numbers(choices) else "none")
        panel.set_xlabel(short(axis))
        panel.set_ylabel(metric.name)
        panel.set_xticks(list(places.values()), labels)
        panel.margins(x=0.05 if _are_numbers(choices) else 0.25)
    with atomic_path(path) as temporary:
        picture.savefig(temporary, dpi=150)
    plt.close(picture)


def _draw_lines(
    panel: Any, lines: Mapping[str, Sequence[tuple[float, Mapping[str, Cell]]]], metric: str, style: str
) -> None:
    """Points of one metric with bars of their deviations; `style` is matplotlib's of what joins them."""
    for name, line in lines.items():
        seen = [(place, found[metric]) for place, found in sorted(line, key=lambda each: each[0])]
        bars = [cell.deviation or 0.0 for _, cell in seen]
        x, y = [place for place, _ in seen], [cell.mean for _, cell in seen]
        panel.errorbar(x, y, bars, marker="o", linestyle=style, capsize=3, label=name)
    if len(lines) > 1:
        panel.legend(fontsize="small")


def _places(choices: Sequence[Choice]) -> dict[str, float]:
    """Where the choices lie on the axis: numbers at themselves, others one beside the other."""
    if _are_numbers(choices):
        return {choice.value: float(choice.value) for choice in choices}
    return {choice.value: float(index) for index, choice in enumerate(choices)}


def _are_numbers(choices: Sequence[Choice]) -> bool:
    try:
        return all(math.isfinite(float(choice.value)) for choice in choices)
    except ValueError:
        return False
