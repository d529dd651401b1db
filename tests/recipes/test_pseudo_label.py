"""What `--system pseudo-label` does in stages 4 to 6, as `--dry-run` shows it, and its configurations."""

from pathlib import Path

import pytest
from dry_run import commands, value

from speechkit.config.load import load_config
from speechkit.tasks.pseudo import PseudoConfig
from speechkit.tasks.recognizer import CtcConfig

RECIPE = Path(__file__).parents[2] / "egs" / "librispeech"


CALL = ("librispeech", "--system", "pseudo-label", "--labels", "10h", "--stage", "4", "--stop-stage", "6")


@pytest.mark.parametrize("decode", ["both", "beam", "greedy"])
def test_each_round_learns_what_the_one_before_hears(decode: str) -> None:
    found = commands(*CALL, "--rounds", "3", "--decode", decode)
    method = {"both": "wfst"}.get(decode, decode)
    students = [command for command in found if command[1] == "train"]
    labels = [command for command in found if command[1] == "pseudo-label"]
    devs = [command for command in found if command[1] == "decode"]
    assert [Path(value(command, "--out")).name for command in students] == [f"round-{number}" for number in range(4)]
    assert [Path(value(command, "--config")).stem for command in students] == ["fbank", *["pseudo-label"] * 3]
    assert [value(command, "--data") for command in students[1:]] == [value(command, "--out") for command in labels]
    for number, command in enumerate(labels):
        made = value(students[number], "--out")
        assert value(command, "--checkpoint") == f"{made}/final"
        assert (value(command, "--method"), value(command, "--round")) == (method, str(number + 1))
        assert ("--weights" in command) == (decode != "greedy")
        if decode != "greedy":
            assert value(command, "--weights") == f"{value(devs[number], '--out')}/weights.json"
        assert ("--previous" in command) == (number > 0)
    assert all("cuts_dev" in value(command, "--cuts") for command in devs)
    assert value(found[-1], "--rounds") == "3"
    assert value(found[-1], "--out") == "exp/pseudo-label/10h-dev-clean-test-clean"


def test_unlabelled_audio_is_not_the_labelled_and_gets_features() -> None:
    found = commands(*CALL)
    (features,) = (command for command in found if command[1] == "features")
    label = next(command for command in found if command[1] == "pseudo-label")
    assert value(features, "--in") == "data/audio-train-clean-100-dev-clean/valid"
    assert value(label, "--cuts") == f"{value(features, '--out')}/cuts_train.jsonl.gz"
    assert value(label, "--labelled") == "data/10h-dev-clean-test-clean/fbank"


def test_students_begin_with_their_teacher_if_asked_to() -> None:
    students = [command for command in commands(*CALL, "--student", "continue") if command[1] == "train"]
    starts = [value(command, "--start") for command in students[1:]]
    assert starts == [f"{value(command, '--out')}/final" for command in students[:-1]]
    assert not any("--start" in command for command in commands(*CALL))


def test_configurations_say_what_the_student_and_its_labels_are() -> None:
    teacher, student = (load_config(CtcConfig, RECIPE / "conf" / f"{name}.yaml") for name in ("fbank", "pseudo-label"))
    assert student.model.transformer == teacher.model.transformer
    assert student.augment.time_width > teacher.augment.time_width
    assert student.augment.max_time_share > teacher.augment.max_time_share
    assert load_config(PseudoConfig, RECIPE / "conf" / "pseudo-label_filter.yaml").keep < 100
