"""What a sweep consists of: a grid of values and seeds, each point of which is a run of one recipe."""

import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.common.files import read_json, require_file
from speechkit.common.names import nearest

OWN_OPTIONS = (
    "stage", "stop-stage", "seed", "exp", "pretrained", "results", "nj", "jobs", "sweep", "force", "dry-run", "help",
)  # fmt: skip
FOLDERS = ("exp", "pretrained")
LAST_STAGE = 8
SEED = "seed"


@dataclass(frozen=True)
class Choice:
    """A value of an axis of the grid, with the keys and values that it gives the recipe, as JSON."""

    axis: str
    value: str
    given: str

    @classmethod
    def of(cls, axis: str, value: Any, given: Mapping[str, Any]) -> "Choice":
        """From plain values."""
        return cls(axis, as_text(value), json.dumps(list(given.items())))

    @property
    def settings(self) -> list[tuple[str, Any]]:
        """Keys and values."""
        return [(str(key), value) for key, value in json.loads(self.given)]


Combination = tuple[Choice, ...]


@dataclass(frozen=True, kw_only=True)
class MetricConfig:
    """A figure that each point leaves in a file.

    `file` begins with `exp/` or `pretrained/`, which are the point's own folders. `key` leads into the JSON, as
    `phone.accuracy`; of a `.jsonl` file the last line that holds all of `where` counts. What is there is multiplied by
    `factor`, as shares by 100.
    """

    name: str
    file: str
    key: str
    where: dict[str, Any] = field(default_factory=dict)
    factor: float = 1.0

    def __post_init__(self) -> None:
        if self.file.partition("/")[0] not in FOLDERS or ".." in Path(self.file).parts:
            raise ValueError(
                f"file begins with exp/ or pretrained/, as exp/decode_dev_greedy/result.json, not {self.file!r}"
            )

    def read(self, folders: Mapping[str, Path]) -> float:
        """The figure of a point with the folders `exp` and `pretrained`."""
        kind, _, rest = self.file.partition("/")
        path = folders[kind] / rest
        require_file(path, "the stages of the sweep do not make it, or metrics.file is wrong")
        found = self._last_line(path) if path.suffix == ".jsonl" else read_json(path)
        for part in self.key.split("."):
            if not isinstance(found, Mapping) or part not in found:
                near = nearest(part, map(str, found)) if isinstance(found, Mapping) else ""
                raise SpeechkitError(f"{path} has no '{self.key}'{near}; correct metrics.key")
            found = found[part]
        if isinstance(found, bool) or not isinstance(found, (int, float)):
            raise SpeechkitError(f"{path}: '{self.key}' is {found!r}, not a number; correct metrics.key")
        return self.factor * float(found)

    def _last_line(self, path: Path) -> Any:
        for line in reversed(path.read_text(encoding="utf-8").splitlines()):
            event = json.loads(line)
            if all(event.get(name) == value for name, value in self.where.items()):
                return event
        raise SpeechkitError(f"{path} has no line with {self.where}; correct metrics.where")


@dataclass(frozen=True, kw_only=True)
class PublishedConfig:
    """Figures of a paper for the first metric, one for each combination of the grid in its order."""

    source: str
    figures: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """A sweep.

    `options` and `grid` name options of the recipe without their dashes; `set KEY`, `set-pretrain KEY` and the like are
    values of configurations. An axis of the grid is such a key with a list of values, or any name with a mapping from
    labels to what each of them sets. Stages before `stage` run once and serve all points, which then run up to
    `stop_stage`, each in folders of its own. Points that differ only in the axes of `pretraining_ignores` use one
    pre-training (stages 4 and 5).
    """

    title: str
    grid: dict[str, Any]
    metrics: tuple[MetricConfig, ...]
    options: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0, 1, 2)
    stage: int = 4
    stop_stage: int = LAST_STAGE
    pretraining_ignores: tuple[str, ...] = ()
    published: PublishedConfig | None = None

    def __post_init__(self) -> None:
        if not self.grid:
            raise ValueError("grid must hold at least one axis with its values")
        axes = {axis: [choice.value for choice in choices] for axis, choices in self.axes.items()}
        for name, values in {**axes, "seeds": self.seeds, "metrics": [each.name for each in self.metrics]}.items():
            if len(set(values)) != len(values) or not values:
                raise ValueError(f"{name} must hold at least one entry, and none twice")
        for key in (*self.varied, *self.options):
            _check_key(key)
        if both := sorted(self.varied & self.options.keys()):
            raise ValueError(f"'{both[0]}' is in grid and in options")
        if not 0 <= self.stage <= self.stop_stage <= LAST_STAGE:
            raise ValueError(f"stage ({self.stage}) and stop_stage ({self.stop_stage}) are from 0 to {LAST_STAGE}")
        self._check_sharing()
        if self.published and len(self.published.figures) != len(self.combinations):
            raise ValueError(f"published.figures must hold {len(self.combinations)} figures, one for each combination")

    def _check_sharing(self) -> None:
        for axis in self.pretraining_ignores:
            keys = [key for choice in self.axes.get(axis, ()) for key, _ in choice.settings]
            if axis not in self.grid or any(key.startswith("set-pretrain ") for key in keys):
                raise ValueError(
                    f"pretraining_ignores: '{axis}' is not an axis of grid, or sets the pre-training's values"
                )
        if self.pretraining_ignores and not self.stage <= 4 <= 6 <= self.stop_stage:
            raise ValueError("pretraining_ignores needs a stage of at most 4 and a stop_stage of at least 6")

    @property
    def axes(self) -> dict[str, tuple[Choice, ...]]:
        """The choices of each axis."""
        found = {}
        for axis, values in self.grid.items():
            if isinstance(values, Mapping) and all(isinstance(each, Mapping) for each in values.values()):
                found[axis] = tuple(Choice.of(axis, label, given) for label, given in values.items())
            elif isinstance(values, list):
                found[axis] = tuple(Choice.of(axis, value, {axis: value}) for value in values)
            else:
                raise ValueError(f"grid: '{axis}' must be a list of values, or labels each with what it sets")
        return found

    @property
    def varied(self) -> set[str]:
        """The keys that the grid sets."""
        return {key for choices in self.axes.values() for choice in choices for key, _ in choice.settings}

    @property
    def combinations(self) -> tuple[Combination, ...]:
        """The points without their seeds, the last axis varying fastest."""
        return tuple(itertools.product(*self.axes.values()))


def _check_key(key: str) -> None:
    name, _, path = key.partition(" ")
    if name in OWN_OPTIONS:
        raise ValueError(f"'{key}' cannot be given: the sweep sets --{name} itself" + ("; see seeds" * (name == SEED)))
    if _is_setter(name) != bool(path) or not re.fullmatch(r"[\w.-]+( [\w.-]+)?", key):
        raise ValueError(f"'{key}' must be an option of the recipe, or 'set KEY' as in 'set train.max_updates'")


def _is_setter(option: str) -> bool:
    """Whether an option takes KEY=VALUE."""
    return option.partition("-")[0] == "set"


def check_given(config: SweepConfig, words: Sequence[str]) -> None:
    """Refuse words of a command line (`--name value` in turn) that the sweep sets itself."""
    for option, value in zip(words[::2], words[1::2], strict=True):
        name = option.removeprefix("--")
        key = f"{name} {value.partition('=')[0]}" if _is_setter(name) else name
        try:
            _check_key(key)
        except ValueError as error:
            raise UsageError(f"{option} {value}: {error}") from error
        if key in config.varied:
            raise UsageError(f"{option} {value}: '{key}' is what the sweep varies")


@dataclass(frozen=True)
class Point:
    """A combination of choices with a seed; its results are in `folder/exp`, its pre-training is `pretrained`."""

    choices: Combination
    seed: int
    folder: Path
    pretrained: Path

    @property
    def name(self) -> str:
        """For messages."""
        return f"{', '.join(map(_label, self.choices))}, seed {self.seed}"

    @property
    def folders(self) -> dict[str, Path]:
        """What the recipe is told by --exp and --pretrained."""
        return {"exp": self.folder / "exp", "pretrained": self.pretrained}


def points_of(config: SweepConfig, out: Path) -> list[Point]:
    """All points of the sweep in the folder `out`, seeds varying fastest."""
    points = []
    for choices in config.combinations:
        kept = tuple(choice for choice in choices if choice.axis not in config.pretraining_ignores)
        for seed in config.seeds:
            folder = out / folder_name(choices) / f"seed-{seed}"
            pretrained = folder / "pretrained"
            if config.pretraining_ignores:
                pretrained = out / "pretrained" / folder_name(kept) / f"seed-{seed}" / "pretrained"
            points.append(Point(choices, seed, folder, pretrained))
    if len({point.folder for point in points}) < len(points):
        raise UsageError("two points of the grid have values that are the same but for special characters")
    return points


def folder_name(choices: Combination) -> str:
    """A name for a folder that tells the choices."""
    return re.sub(r"[^\w.,=+-]+", "_", ",".join(map(_label, choices))) or "all"


def _label(choice: Choice) -> str:
    return f"{short(choice.axis)}={choice.value}"


def short(key: str) -> str:
    """A key without `set` or `set-pretrain`."""
    return key.rpartition(" ")[2]


def as_text(value: Any) -> str:
    """A value as it stands on a command line: text as it is, all else as YAML reads it."""
    return value if isinstance(value, str) else json.dumps(value)


def as_words(settings: Iterable[tuple[str, Any]]) -> list[str]:
    """Keys and values as words of a recipe's command line."""
    words: list[str] = []
    for key, value in settings:
        option, _, path = key.partition(" ")
        words += [f"--{option}", f"{path}={as_text(value)}" if path else as_text(value)]
    return words
