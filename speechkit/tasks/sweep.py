"""Running a sweep: each point of its grid is a call of the recipe, which is skipped while it is up to date."""

import logging
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from speechkit.common import marks
from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.common.files import write_json
from speechkit.common.jobs import Ended, Job, last_lines, run_jobs
from speechkit.report.sweep import Combination, Point, SweepConfig, as_words, points_of

log = logging.getLogger(__name__)
LAST_STAGE, LAST_PRETRAINING_STAGE = 8, 5
LOG_LINES = 20
# Lines that utils/dry_run.sh prints.
INPUT = re.compile(r"^      input   (.+)$", re.MULTILINE)
OUTPUT = re.compile(r"^      output  (.+)$", re.MULTILINE)
UNFINISHED = re.compile(r"^  (.+): would (?:run|stop)", re.MULTILINE)


@dataclass(frozen=True)
class Launcher:
    """How the recipe is called: `before` are words in front of it, as srun; `slots` what each job's environment has."""

    recipe: str
    nj: int
    slots: Sequence[Mapping[str, str]]
    before: tuple[str, ...] = ()


@dataclass(frozen=True)
class Run:
    """One call of the recipe, for stages `first` to `last`, all its output below `folder`."""

    name: str
    folder: Path
    words: tuple[str, ...]
    first: int
    last: int
    point: Point | None = None
    needs: tuple[Path, ...] = ()

    @property
    def command(self) -> tuple[str, ...]:
        """Words for the recipe."""
        return ("--stage", str(self.first), "--stop-stage", str(self.last), *self.words)

    @property
    def log(self) -> Path:
        """What the recipe says."""
        return self.folder / "run.log"

    @property
    def record(self) -> Path:
        """Written, and marked as done, when it has ended well."""
        return self.folder / "run.json"


@dataclass(frozen=True)
class Plan:
    """What a dry run of the recipe says."""

    code: int
    text: str

    @property
    def last_line(self) -> str:
        """Where it complains, the complaint."""
        return (self.text.strip().splitlines() or [f"the recipe ended with code {self.code}"])[-1]


class Sweep:
    """A sweep in the folder `out`; `given` are words of the recipe's command line that all its calls have.

    Attributes:
        figures: the metrics by their names of each point that has ended well.
        failed: names of the runs that have not.
    """

    def __init__(self, config: SweepConfig, out: Path, launcher: Launcher, given: Sequence[str] = ()) -> None:
        self.config, self.out, self.launcher = config, out, launcher
        self.points = points_of(config, out)
        self.fixed = (*as_words(config.options.items()), *given)
        self.figures: dict[Point, dict[str, float]] = {}
        self.failed: list[str] = []

    def check(self) -> None:
        """Let the recipe read the options, keys and values of each combination; a bad one is a `UsageError`."""
        combinations = [_words_of(choices) for choices in self.config.combinations]
        runs = [Run("", self.out, (*self.fixed, *words), LAST_STAGE, LAST_STAGE) for words in combinations]
        for words, plan in zip(combinations, self._plans(runs), strict=True):
            if plan.code:
                raise UsageError(f"{' '.join(words)}: {plan.last_line}")

    def run(self) -> None:
        """Run all that is not up to date.

        Raises:
            SpeechkitError: what all points share cannot be made, or points would overwrite each other's files.
        """
        self._run_shared()
        runs = [self._run_of(point) for point in self.points]
        if self.config.pretraining_ignores:
            runs = self._pretrained(runs)
        for run in self._run_each(runs):
            assert run.point is not None
            folders = run.point.folders
            self.figures[run.point] = {each.name: each.read(folders) for each in self.config.metrics}

    def commands(self) -> Iterator[str]:
        """Names and commands of what `run` would run, if all of it were still to do."""
        runs = [self._run_of(point) for point in self.points]
        if self.config.pretraining_ignores:
            runs = [*self._pretrainings(runs), *(replace(run, first=LAST_PRETRAINING_STAGE + 1) for run in runs)]
        for run in (*self._shared_runs(), *runs):
            yield f"{run.name}: {' '.join((self.launcher.recipe, *run.command))}"

    # ---- what points share -------------------------------------------------------------------------------------

    def _shared_runs(self) -> list[Run]:
        """Stages before those of the points, for each combination of recipe options: these may make other data."""
        folder, last = self.out / "shared", self.config.stage - 1
        found: dict[tuple[str, ...], Run] = {}
        for choices in self.config.combinations:
            options = _words_of(choices, only_options=True)
            words = (*self.fixed, *options, "--exp", str(folder / "exp"))
            found[words] = Run(" ".join([f"stages 0 to {last}", *options]), folder, words, 0, last)
        return list(found.values()) if last >= 0 else []

    def _run_shared(self) -> None:
        runs = self._shared_runs()
        for run in runs:
            log.info("%s", run.name)
            for ended in run_jobs([self._job(run)], self.launcher.slots[:1]):
                if ended.code:
                    self._tell_failure(run, f"failed with code {ended.code}")
                    raise SpeechkitError(f"{run.name} failed, no point was run (log: {run.log})")
        if len(runs) > 1:
            self._require_finished(runs, "makes other data in the same place: make a sweep for each value")

    def _pretrainings(self, runs: Sequence[Run]) -> list[Run]:
        """One run up to the end of the pre-training for each folder that points have it in."""
        found: dict[Path, Run] = {}
        for run in runs:
            assert run.point is not None
            folder = run.point.pretrained.parent
            name = f"pre-training, {folder.parent.name}, seed {run.point.seed}"
            found.setdefault(folder, replace(run, name=name, folder=folder, last=LAST_PRETRAINING_STAGE))
        return list(found.values())

    def _pretrained(self, runs: Sequence[Run]) -> list[Run]:
        """The runs whose pre-training is there, without its stages."""
        records = {run.folder: run.record for run in self._run_each(self._pretrainings(runs))}
        ready = [run for run in runs if run.point and run.point.pretrained.parent in records]
        self._require_finished(
            [replace(run, last=LAST_PRETRAINING_STAGE) for run in self._one_each(ready)],
            "makes another pre-training: take it out of pretraining_ignores",
        )
        self.failed += [run.name for run in runs if run not in ready]
        return [
            replace(run, first=LAST_PRETRAINING_STAGE + 1, needs=(records[run.point.pretrained.parent],))
            for run in ready
            if run.point
        ]

    def _require_finished(self, runs: Sequence[Run], problem: str) -> None:
        """That none of the runs would make again what another one has made."""
        for run, plan in zip(runs, self._plans(runs), strict=True):
            if plan.code or (found := UNFINISHED.search(plan.text)):
                what = plan.last_line if plan.code or not found else found[1]
                raise SpeechkitError(
                    f"{run.name}: {what} is not up to date after all were run; one of the grid {problem}"
                )

    # ---- points ------------------------------------------------------------------------------------------------

    def _run_of(self, point: Point) -> Run:
        folders = point.folders
        words = (*self.fixed, *_words_of(point.choices), "--seed", str(point.seed), "--exp", str(folders["exp"]))
        words += ("--pretrained", str(folders["pretrained"]), "--results", str(point.folder / "RESULTS.md"))
        return Run(point.name, point.folder, words, self.config.stage, self.config.stop_stage, point)

    def _run_each(self, runs: Sequence[Run]) -> list[Run]:
        """Run what is not up to date; returns the runs that are in the end, and tells of the others."""
        runs = self._with_inputs(runs)
        prints = [marks.fingerprint(run.command, run.needs) for run in runs]
        verdicts = [marks.decide(run.record, each) for run, each in zip(runs, prints, strict=True)]
        waiting = [index for index, verdict in enumerate(verdicts) if verdict.action == "run"]
        if len(waiting) < len(runs):
            log.info("%d of %d runs are up to date", len(runs) - len(waiting), len(runs))
        bad = set()
        for count, ended in enumerate(run_jobs([self._job(runs[index]) for index in waiting], self.launcher.slots), 1):
            index = waiting[ended.index]
            log.info("%d of %d, %s: %s", count, len(waiting), runs[index].name, f"{ended.seconds:.0f} s")
            if problem := self._problem(runs[index], ended):
                self._tell_failure(runs[index], problem)
                bad.add(index)
                continue
            marks.start(runs[index].record, prints[index], clear=True)
            write_json(runs[index].record, {"command": runs[index].command, "seconds": round(ended.seconds, 1)})
            marks.finish(runs[index].record)
        self.failed += [runs[index].name for index in sorted(bad)]
        return [run for index, run in enumerate(runs) if index not in bad]

    def _problem(self, run: Run, ended: Ended) -> str:
        """Why a run is not well, empty if it is."""
        if ended.code:
            return f"failed with code {ended.code}"
        if run.point is None or run.last != self.config.stop_stage:
            return ""
        try:
            for metric in self.config.metrics:
                metric.read(run.point.folders)
        except SpeechkitError as error:
            return str(error)
        return ""

    def _tell_failure(self, run: Run, problem: str) -> None:
        lines = "\n".join(f"    {line}" for line in last_lines(run.log, LOG_LINES))
        log.error("%s: %s; last lines of %s:\n%s", run.name, problem, run.log, lines)

    def _with_inputs(self, runs: Sequence[Run]) -> list[Run]:
        """The runs with the files from outside the sweep that they need, as a dry run of each combination tells."""
        samples = self._one_each(runs)
        inputs = {}
        for run, plan in zip(samples, self._plans(samples), strict=True):
            if plan.code:
                raise SpeechkitError(f"{run.name}: {plan.last_line}")
            if outside := [name for name in OUTPUT.findall(plan.text) if self.out not in Path(name).parents]:
                raise SpeechkitError(
                    f"{run.name}: stages {run.first} to {run.last} make {outside[0]}, which is not below {self.out}: "
                    "points would overwrite it for each other; raise stage, or mend the recipe"
                )
            found = dict.fromkeys(Path(name) for name in INPUT.findall(plan.text))
            inputs[_choices(run)] = tuple(path for path in found if self.out not in path.parents)
        return [replace(run, needs=(*run.needs, *inputs[_choices(run)])) for run in runs]

    def _one_each(self, runs: Sequence[Run]) -> list[Run]:
        """The first run of each combination."""
        return list({_choices(run): run for run in reversed(runs)}.values())[::-1]

    # ---- calls of the recipe -----------------------------------------------------------------------------------

    def _job(self, run: Run) -> Job:
        nj = ("--nj", str(self.launcher.nj))
        return Job((*self.launcher.before, self.launcher.recipe, *run.command, *nj), run.log)

    def _plans(self, runs: Sequence[Run]) -> list[Plan]:
        """Dry runs, several at a time."""
        with ThreadPoolExecutor(max(1, len(self.launcher.slots))) as pool:
            return list(pool.map(self._plan, runs))

    def _plan(self, run: Run) -> Plan:
        command = [self.launcher.recipe, *run.command, "--dry-run"]
        result = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        return Plan(result.returncode, result.stdout)


def _words_of(choices: Combination, *, only_options: bool = False) -> list[str]:
    """What choices give the recipe, all of it or without values of configurations."""
    settings = [setting for choice in choices for setting in choice.settings]
    return as_words((key, value) for key, value in settings if not only_options or " " not in key)


def _choices(run: Run) -> Combination:
    return run.point.choices if run.point else ()
