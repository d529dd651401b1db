"""Sweeps: expansion of grids, what is refused, figures from files, and the table by hand."""

import json
from pathlib import Path

import pytest

from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.config.load import load_config
from speechkit.report.results import read_rows
from speechkit.report.sweep import MetricConfig, SweepConfig, as_words, check_given, points_of
from speechkit.report.sweep_table import cells_of, write_table

PER = "{name: PER, file: exp/decode_dev_greedy/result.json, key: rate}"
SWEEP = f"""
title: A sweep
options: {{system: hubert, decode: greedy}}
grid:
  set-pretrain hubert.masks: [2, 4.5]
  labels: [10, 100]
seeds: [7, 8]
metrics: [{PER}]
"""


def sweep(folder: Path, text: str = SWEEP) -> SweepConfig:
    (folder / "x.yaml").write_text(text)
    return load_config(SweepConfig, folder / "x.yaml")


def test_the_grid_is_the_product_of_its_axes_and_the_seeds(tmp_path: Path) -> None:
    points = points_of(sweep(tmp_path), Path("exp/sweeps/x"))
    found = [(*as_words(each for choice in point.choices for each in choice.settings), point.seed) for point in points]
    assert found == [
        ("--set-pretrain", f"hubert.masks={masks}", "--labels", labels, seed)
        for masks in ("2", "4.5")
        for labels in ("10", "100")
        for seed in (7, 8)
    ]
    assert len({point.folder for point in points}) == len({point.pretrained for point in points}) == 8
    assert points[1].folder == Path("exp/sweeps/x/hubert.masks=2,labels=10/seed-8")
    assert points[1].name == "hubert.masks=2, labels=10, seed 8"


def test_points_share_a_pretraining_that_ignores_what_they_differ_in(tmp_path: Path) -> None:
    points = points_of(sweep(tmp_path, SWEEP + "pretraining_ignores: [labels]\n"), Path("out"))
    assert len({point.folder for point in points}) == 8
    assert [str(point.pretrained) for point in points if point.seed == 7] == [
        f"out/pretrained/hubert.masks={masks}/seed-7/pretrained" for masks in ("2", "2", "4.5", "4.5")
    ]


def test_labels_of_an_axis_set_several_values(tmp_path: Path) -> None:
    text = f"""
title: Labels
grid:
  negatives:
    all speakers: {{set-pretrain cpc.negatives.source: mixed}}
    same speaker, others only: {{set-pretrain cpc.negatives.source: speaker, set-pretrain cpc.negatives.current: false}}
  set audio.distortion.speeds: [[0.9, 1.0], [1.0]]
seeds: [0]
metrics: [{PER}]
"""
    points = points_of(sweep(tmp_path, text), Path("out"))
    assert as_words(points[2].choices[0].settings) == [
        "--set-pretrain", "cpc.negatives.source=speaker", "--set-pretrain", "cpc.negatives.current=false",
    ]  # fmt: skip
    assert as_words(points[2].choices[1].settings) == ["--set", "audio.distortion.speeds=[0.9, 1.0]"]
    assert points[2].folder.parent.name == "negatives=same_speaker,_others_only,audio.distortion.speeds=_0.9,_1.0_"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("seeds:", "seed:"), r"x\.yaml: unknown configuration key 'seed', did you mean 'seeds'\?"),
        (("labels:", "seed:"), "'seed' cannot be given: the sweep sets --seed itself; see seeds"),
        (("system:", "exp:"), "'exp' cannot be given"),
        (("set-pretrain hubert.masks", "set-pretrain"), "'set-pretrain' must be an option of the recipe, or 'set KEY'"),
        (("labels:", "labels of:"), "'labels of' must be an option"),
        (("system:", "labels:"), "'labels' is in grid and in options"),
        (("[10, 100]", "[10, 10]"), "labels must hold at least one entry, and none twice"),
        (("[10, 100]", "[]"), "labels must hold at least one entry"),
        (("[10, 100]", "10"), "grid: 'labels' must be a list of values, or labels each with what it sets"),
        (("[7, 8]", "[]"), "seeds must hold at least one entry"),
        (("exp/decode", "data/decode"), "file begins with exp/ or pretrained/"),
        (("title: A", "stage: 7\nstop_stage: 6\ntitle: A"), r"stage \(7\) and stop_stage \(6\)"),
        (("title: A", "pretraining_ignores: [seeds]\ntitle: A"), "'seeds' is not an axis of grid"),
        (("title: A", "pretraining_ignores: [set-pretrain hubert.masks]\ntitle: A"), "sets the pre-training's values"),
        (("title: A", "pretraining_ignores: [labels]\nstage: 6\ntitle: A"), "needs a stage of at most 4"),
        (("title: A", "published: {source: a, figures: [1, 2]}\ntitle: A"), "must hold 4 figures"),
    ],
)
def test_what_makes_no_sweep_is_refused(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sweep(tmp_path, SWEEP.replace(*change, 1))


def test_words_of_the_command_line_that_the_sweep_sets_are_refused(tmp_path: Path) -> None:
    config = sweep(tmp_path)
    check_given(config, ["--corpus", "/timit", "--set", "train.max_updates=2"])
    with pytest.raises(UsageError, match="--labels 5: 'labels' is what the sweep varies"):
        check_given(config, ["--labels", "5"])
    with pytest.raises(UsageError, match="what the sweep varies"):
        check_given(config, ["--set-pretrain", "hubert.masks=3"])
    with pytest.raises(UsageError, match="see seeds"):
        check_given(config, ["--seed", "5"])


def test_figures_from_json_and_from_the_last_line_of_a_log(tmp_path: Path) -> None:
    folders = {"exp": tmp_path / "e", "pretrained": tmp_path / "p"}
    for folder in folders.values():
        folder.mkdir()
    (tmp_path / "p/probe.json").write_text(json.dumps({"sets": {"dev": {"accuracy": 0.5, "name": "x"}}}))
    lines = [("train", 1, 4.0), ("dev", 1, 3.0), ("dev", 2, 2.5), ("train", 3, 9.0)]
    text = "".join(json.dumps({"kind": kind, "update": update, "loss": loss}) + "\n" for kind, update, loss in lines)
    (tmp_path / "e/log.jsonl").write_text(text)

    def read(file: str, key: str, **where: object) -> float:
        return MetricConfig(name="x", file=file, key=key, where=where).read(folders)

    assert read("pretrained/probe.json", "sets.dev.accuracy") == 0.5
    assert read("exp/log.jsonl", "loss", kind="dev") == 2.5
    assert read("exp/log.jsonl", "loss") == 9.0
    share = MetricConfig(name="x", file="pretrained/probe.json", key="sets.dev.accuracy", factor=100)
    assert share.read(folders) == 50.0
    with pytest.raises(SpeechkitError, match=r"probe\.json has no 'sets\.dev\.acuracy', did you mean 'accuracy'\?"):
        read("pretrained/probe.json", "sets.dev.acuracy")
    with pytest.raises(SpeechkitError, match="'sets.dev.name' is 'x', not a number"):
        read("pretrained/probe.json", "sets.dev.name")
    with pytest.raises(SpeechkitError, match="no line with"):
        read("exp/log.jsonl", "loss", kind="test")
    with pytest.raises(SpeechkitError, match=r"none\.json does not exist"):
        read("exp/none.json", "loss")


def test_the_table_has_mean_and_deviation_of_a_sample(tmp_path: Path) -> None:
    text = SWEEP + "published: {source: 'Paper, table 1', figures: [1, 2.5, 3, 4]}\n"
    config = sweep(tmp_path, text.replace("[7, 8]", "[7, 8, 9]"))
    points = points_of(config, tmp_path)
    rates = {10: (20.0, 22.0, 27.0), 100: (11.5,)}
    figures = {}
    for labels, values in rates.items():
        runs = [each for each in points if [choice.value for choice in each.choices] == ["4.5", str(labels)]]
        figures |= {point: {"PER": rate} for point, rate in zip(runs, values, strict=False)}
    cells = list(cells_of(config, figures).values())
    assert cells[:2] == [{}, {}]
    # mean 23, squares of the differences 9 + 1 + 16, divided by n - 1 = 2
    assert (cells[2]["PER"].mean, cells[2]["PER"].deviation) == (23.0, pytest.approx(13**0.5))
    assert (cells[3]["PER"].mean, cells[3]["PER"].deviation) == (11.5, None)
    write_table(config, points, figures, tmp_path, "Made by hand.")
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert lines[:3] == ["# A sweep", "", "Made by hand."]
    assert [line for line in lines if line.startswith("|")][:6] == [
        "| hubert.masks | labels | PER | Runs | Paper, table 1 |",
        "| --- | --- | --- | --- | --- |",
        "| 2 | 10 | - | 0 of 3 | 1 |",
        "| 2 | 100 | - | 0 of 3 | 2.5 |",
        "| 4.5 | 10 | 23 ± 3.6 | 3 | 3 |",
        "| 4.5 | 100 | 11.5 | 1 of 3 | 4 |",
    ]
    assert "| hubert.masks=4.5,labels=10 | 9 | 27 |" in lines
    assert read_rows(tmp_path / "table.md") == []  # not taken for a table of results


@pytest.mark.parametrize(
    ("values", "places", "style"), [("[2, 4.5]", [2.0, 4.5], "-"), ("[2, a b]", [0.0, 1.0], "none")]
)
def test_the_picture_has_a_point_with_a_bar_for_each_cell(
    values: str, places: list[float], style: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what lies between numbers is joined by a line."""
    axes = pytest.importorskip("matplotlib.axes").Axes
    config = sweep(tmp_path, SWEEP.replace("[2, 4.5]", values))
    points = points_of(config, tmp_path)
    drawn, draw = {}, axes.errorbar

    def errorbar(self: object, x: list[float], y: list[float], yerr: list[float], **words: object) -> object:
        drawn[words["label"]] = (x, y, yerr, words["linestyle"])
        return draw(self, x, y, yerr, **words)

    monkeypatch.setattr(axes, "errorbar", errorbar)
    figures = {point: {"PER": float(index)} for index, point in enumerate(points)}
    write_table(config, points, figures, tmp_path, "")
    half = pytest.approx([0.5**0.5] * 2)
    assert drawn == {
        "labels=10": (places, [0.5, 4.5], half, style),
        "labels=100": (places, [2.5, 6.5], half, style),
    }
    assert (tmp_path / "table.png").read_bytes().startswith(b"\x89PNG")
