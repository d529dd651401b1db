"""`speechkit results`: lines, what replaces what, and reading the table back."""

import json

import pytest

from speechkit.cli import main
from speechkit.report.results import read_rows

RUN = {
    "command": "./run.sh --set 'a=b|c' \\ x", "commit": "abc123", "seed": 0, "corpus": "miniature TIMIT (mini, seed 0)",
    "hardware": "2 CPU cores", "system": "fbank", "date": "2026-01-31", "num_params": 1234567, "train_hours": 0.5,
}  # fmt: skip
RESULT = {"metric": "PER", "rate": 12.345, "interval": [10.0, 14.5], "errors": 45, "reference": 366}


@pytest.fixture
def recipe(tmp_path):
    papers = tmp_path / "conf ä" / "papers.yaml"
    papers.parent.mkdir()
    papers.write_text(
        "- {system: DNN, set: test, figure: 18.5, source: a paper}\n"
        "- {system: fbank, set: test, figure: 20, source: b}\n"
        "- {system: letters, set: dev, figure: 8.57, letters: 3.32, source: c}\n"
    )
    return tmp_path


def add(recipe, name="fbank", decode="decode_test", result=None, decoding=None, **run):
    experiment = recipe / "exp" / name
    (experiment / decode).mkdir(parents=True, exist_ok=True)
    (experiment / "run.json").write_text(json.dumps({**RUN, **run}))
    (experiment / decode / "result.json").write_text(json.dumps({**RESULT, **(result or {})}))
    (experiment / decode / "decode.json").write_text(
        json.dumps(decoding or {"method": "greedy", "real_time_factor": 0.01})
    )


def write(recipe):
    options = ["--exp", str(recipe / "exp"), "--papers", str(recipe / "conf ä" / "papers.yaml")]
    return main(["results", *options, "--out", str(recipe / "RESULTS.md")])


def test_line_carries_its_origin_and_reads_back(recipe):
    add(recipe)
    assert write(recipe) == 0
    (row,) = read_rows(recipe / "RESULTS.md")
    assert row["Command"] == RUN["command"]
    assert (row["System"], row["Set"], row["Metric"], row["Rate %"], row["Errors"]) == (
        "fbank",
        "test",
        "PER",
        "12.35",
        "45 / 366",
    )
    assert (row["Corpus"], row["Seed"], row["Commit"], row["Hardware"]) == (RUN["corpus"], "0", "abc123", "2 CPU cores")
    assert row["Letter errors %"] == ""
    text = (recipe / "RESULTS.md").read_text()
    assert "| letters | dev | 8.57 (letters 3.32) | c | - |" in text
    assert "| DNN | test | 18.5 | a paper | - |" in text
    assert "Letter errors %" not in text  # no line has them
    assert "Means" not in text
    assert "| fbank | test | 20 | b | 12.35 (miniature TIMIT (mini, seed 0)) |" in text


def test_words_bring_the_errors_of_their_letters(recipe):
    add(recipe, result={"metric": "WER", "letter_error_rate": 4.321})
    assert write(recipe) == 0
    (row,) = read_rows(recipe / "RESULTS.md")
    assert (row["Rate %"], row["Letter errors %"]) == ("12.35", "4.32")


def test_characters_bring_the_errors_of_their_syllables(recipe):
    figures = {"syllable_error_rate": 8.126, "syllable_error_rate_without_tones": 6, "homophone_substitutions": 12}
    add(recipe, result={"metric": "CER", "substitutions": 40, **figures})
    assert write(recipe) == 0
    (row,) = read_rows(recipe / "RESULTS.md")
    assert (row["Syllable errors %"], row["Syllable errors without tones %"]) == ("8.13", "6.00")
    assert row["Homophones / substitutions"] == "12 / 40"
    add(recipe, result={"metric": "CER", "substitutions": 40})
    assert write(recipe) == 0
    assert "yllable" not in (recipe / "RESULTS.md").read_text()


def test_same_run_again_gives_the_same_file(recipe):
    add(recipe)
    add(recipe, decode="decode_dev")
    write(recipe)
    first = (recipe / "RESULTS.md").read_bytes()
    write(recipe)
    assert (recipe / "RESULTS.md").read_bytes() == first


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"corpus": "TIMIT"},
        {"system": "hubert"},
        {"decode": "decode_dev"},
        {"decoding": {"method": "beam"}},
    ],
)
def test_lines_of_other_runs_are_kept(recipe, change):
    add(recipe)
    write(recipe)
    add(recipe, **change)
    if "decode" in change:
        (recipe / "exp" / "fbank" / "decode_test" / "result.json").unlink()
    write(recipe)
    assert len(read_rows(recipe / "RESULTS.md")) == 2


def test_same_measurement_replaces_its_line(recipe):
    add(recipe, decoding={"method": "beam", "weights": {"lm": 1.0, "word": 0.0}})
    write(recipe)
    add(recipe, result={"rate": 9.0}, decoding={"method": "beam", "weights": {"lm": 2.0, "word": -1.0}}, commit="def")
    write(recipe)
    (row,) = read_rows(recipe / "RESULTS.md")
    assert (row["Rate %"], row["Commit"], row["Decoding"]) == ("9.00", "def", "beam (lm 2, word -1)")


def test_result_without_origin_is_left_out_with_a_warning(recipe, capsys):
    add(recipe)
    (recipe / "exp" / "fbank" / "run.json").unlink()
    assert write(recipe) == 1
    error = capsys.readouterr().err
    assert "left out: no run.json" in error
    assert "holds no result.json" in error
    assert not (recipe / "RESULTS.md").exists()


def test_what_a_step_has_set_aside_is_no_result(recipe):
    add(recipe)
    add(recipe, decode=".decode_test.before", result={"rate": 50.0})
    assert write(recipe) == 0
    assert [row["Rate %"] for row in read_rows(recipe / "RESULTS.md")] == ["12.35"]


def test_bad_input_is_one_line(recipe, capsys):
    assert write(recipe) == 1
    assert "exp does not exist" in capsys.readouterr().err
    add(recipe)
    for text in ("- {system: a, set: test}\n", "nonsense", "- {system: a, set: b, figure: high, source: c}\n", "- [\n"):
        (recipe / "conf ä" / "papers.yaml").write_text(text)
        assert write(recipe) == 1
        assert "papers.yaml: not a list of" in capsys.readouterr().err
    (recipe / "conf ä" / "papers.yaml").write_text("[]\n")
    assert write(recipe) == 0
    assert "## Published" not in (recipe / "RESULTS.md").read_text()


def test_the_command_is_that_of_the_decoding(recipe):
    """A model may be decoded by another call of the recipe than the one that trained it."""
    add(recipe)
    add(recipe, decode="decode_test_beam", decoding={"method": "beam", "command": "./run.sh --lm 4gram"})
    assert write(recipe) == 0
    assert {row["Decoding"]: row["Command"] for row in read_rows(recipe / "RESULTS.md")} == {
        "beam": "./run.sh --lm 4gram",
        "greedy": RUN["command"],
    }


def test_lines_of_several_seeds_have_a_mean(recipe):
    """10, 12 and 14 %: mean 12, deviation 2 (of a sample); a single seed, another set or decoding stay apart."""
    for seed, rate in enumerate((10, 12, 14)):
        add(recipe, f"seed-{seed}", result={"rate": rate}, seed=seed)
    add(recipe, "seed-0", "decode_dev", result={"rate": 50}, seed=0)
    add(recipe, "seed-1", "decode_test_beam", result={"rate": 90}, decoding={"method": "beam"}, seed=1)
    for _ in range(2):  # the second time over what the first one wrote
        assert write(recipe) == 0
        text = (recipe / "RESULTS.md").read_text()
        means = text[text.index("## Means over seeds") : text.index("## Measured")]
        assert f"| fbank | test | PER | 12.00 | 2.00 | 0, 1, 2 | greedy | {RUN['corpus']} |" in means
        assert means.count("| fbank |") == 1
    assert len(read_rows(recipe / "RESULTS.md")) == 5
