"""Done marks: what makes a step run again, and what leaves it alone."""

import os
from pathlib import Path

import pytest

from speechkit.common import marks
from speechkit.common.errors import SpeechkitError

COMMAND = ("speechkit", "features", "--in", "data/valid", "--seed", "0", "--nj", "2")


def make(
    out: Path, command: tuple[str, ...] = COMMAND, needs: tuple[Path, ...] = (), files: tuple[Path, ...] = ()
) -> None:
    wanted = marks.fingerprint(command, needs, files)
    marks.start(out, wanted, marks.decide(out, wanted).clear)
    out.mkdir(exist_ok=True)
    (out / "result").write_text("made")
    marks.finish(out)


def decide(out: Path, command: tuple[str, ...] = COMMAND, **options: object) -> marks.Verdict:
    return marks.decide(out, marks.fingerprint(command), **options)  # type: ignore[arg-type]


def replaced(old: str, new: str) -> tuple[str, ...]:
    return tuple(new if word == old else word for word in COMMAND)


def test_unchanged_is_skipped_and_a_new_seed_runs_again(tmp_path: Path) -> None:
    make(tmp_path / "out")
    assert decide(tmp_path / "out").action == "skip"
    again = decide(tmp_path / "out", replaced("0", "1"))
    assert (again.action, again.reason, again.clear) == ("run", "--seed was 0, is now 1", True)


def test_number_of_processes_does_not_count(tmp_path: Path) -> None:
    make(tmp_path / "out")
    assert decide(tmp_path / "out", replaced("2", "16")).action == "skip"


def test_repeated_options_count_each(tmp_path: Path) -> None:
    train = ("speechkit", "train", "--set", "a=1")
    make(tmp_path / "out", (*train, "--set", "b=2"))
    assert decide(tmp_path / "out", (*train, "--set", "b=2")).action == "skip"
    assert "--set was a=1 b=2, is now a=1" in decide(tmp_path / "out", train).reason


def test_options_cannot_be_mistaken_for_each_other() -> None:
    joined, split = marks.fingerprint(("cmd", "--a", "b c")), marks.fingerprint(("cmd", "--a", "b", "c"))
    assert joined.hash != split.hash


def test_keep_refuses_a_change_until_forced(tmp_path: Path) -> None:
    make(tmp_path / "out")
    changed = replaced("0", "1")
    assert decide(tmp_path / "out", changed, keep=True).action == "refuse"
    assert decide(tmp_path / "out", changed, keep=True, redo="--force").action == "run"
    assert decide(tmp_path / "out", keep=True).action == "skip"


def test_interrupted_step_goes_on_but_not_with_another_command(tmp_path: Path) -> None:
    out = tmp_path / "out"
    marks.start(out, marks.fingerprint(COMMAND), clear=False)
    out.mkdir()
    (out / "epoch-1").write_text("half of the training")
    go_on = decide(out, keep=True)
    assert (go_on.action, go_on.clear) == ("run", False)
    assert decide(out, replaced("0", "1"), keep=True).action == "refuse"
    assert decide(out, replaced("0", "1")).clear


def test_a_rerun_takes_the_mark_and_the_stale_files_away(tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(out)
    wanted = marks.fingerprint(replaced("0", "1"))
    marks.start(out, wanted, marks.decide(out, wanted).clear)
    assert marks.read_mark(out) is None
    assert not (out / "result").exists()


def test_a_finished_output_outlives_failed_attempts_to_replace_it(tmp_path: Path) -> None:
    out, wanted = tmp_path / "fbank", marks.fingerprint(replaced("0", "1"))
    make(out)
    for _ in range(2):
        marks.start(out, wanted, clear=True)
        out.mkdir()
        (out / "half").write_text("new")
        old = tmp_path / ".fbank.replaced"
        assert (old / "result").read_text() == "made"
        assert marks.read_mark(old) is not None
    marks.finish(out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fbank"]
    assert (out / "half").exists()


def test_undo_puts_the_finished_output_back(tmp_path: Path) -> None:
    out = tmp_path / "fbank"
    make(out)
    mark = marks.read_mark(out)
    marks.start(out, marks.fingerprint(replaced("0", "1")), clear=True)
    out.mkdir()
    marks.undo(out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fbank"]
    assert (out / "result").read_text() == "made"
    assert marks.read_mark(out) == mark
    marks.undo(out)
    assert marks.read_mark(out) == mark


def test_files_of_others_are_never_removed(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("precious")
    for redo in ("", "--force"):
        with pytest.raises(SpeechkitError, match="this step did not make"):
            decide(tmp_path / "home", redo=redo)


def test_input_with_a_mark_counts_as_its_hash_not_its_times(tmp_path: Path) -> None:
    valid, out = tmp_path / "valid", tmp_path / "out"
    make(valid)
    make(out, needs=(valid / "result",))
    os.utime(valid / "result", (1, 1))
    assert marks.decide(out, marks.fingerprint(COMMAND, (valid / "result",))).action == "skip"
    make(valid, replaced("0", "7"))
    verdict = marks.decide(out, marks.fingerprint(COMMAND, (valid / "result",)))
    assert (verdict.action, verdict.reason) == ("run", f"{valid / 'result'} has changed")


@pytest.mark.parametrize("deed", ["delete", "truncate", "add", "touch"])
def test_every_file_of_a_corpus_counts_even_if_it_is_marked(tmp_path: Path, deed: str) -> None:
    corpus, out = tmp_path / "corpus", tmp_path / "out"
    make(corpus)
    file = corpus / "sub" / "ä b.wav"
    file.parent.mkdir()
    file.write_text("0123")
    make(out, files=(corpus,))
    assert marks.decide(out, marks.fingerprint(COMMAND, files=(corpus,))).action == "skip"
    if deed == "delete":
        file.unlink()
    elif deed == "touch":
        os.utime(file, (1, 1))
    else:
        (file if deed == "truncate" else file.with_name("c.wav")).write_text("0")
    assert marks.decide(out, marks.fingerprint(COMMAND, files=(corpus,))).action == "run"


def test_plain_file_counts_by_content_and_configuration_with_its_bases(tmp_path: Path) -> None:
    child, base = tmp_path / "child.yaml", tmp_path / "base.yaml"
    child.write_text("base: base.yaml  # parent\nseed: 1\n")
    base.write_text("layers: 2\n")
    before = marks.fingerprint(COMMAND, (child,))
    os.utime(child, (1, 1))
    assert marks.fingerprint(COMMAND, (child,)) == before
    base.write_text("layers: 3\n")
    assert marks.fingerprint(COMMAND, (child,)) != before
    base.write_text("base: child.yaml\n")
    marks.fingerprint(COMMAND, (child,))  # a circle ends


def test_file_output_has_its_mark_beside_it(tmp_path: Path) -> None:
    out = tmp_path / "lm.arpa"
    marks.start(out, marks.fingerprint(COMMAND), clear=False)
    out.write_text("ngram")
    marks.finish(out)
    assert (tmp_path / ".lm.arpa.done.json").exists()
    assert decide(out).action == "skip"
    out.unlink()
    assert decide(out).action == "run"


def test_finishing_needs_the_output(tmp_path: Path) -> None:
    marks.start(tmp_path / "out", marks.fingerprint(COMMAND), clear=False)
    with pytest.raises(SpeechkitError, match="ended without making"):
        marks.finish(tmp_path / "out")


def test_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpeechkitError, match="nowhere does not exist"):
        marks.fingerprint(COMMAND, (tmp_path / "nowhere",))


def test_a_planned_output_counts_as_the_mark_it_will_have(tmp_path: Path) -> None:
    valid = tmp_path / "valid"
    planned = marks.fingerprint(COMMAND).hash
    foreseen = marks.fingerprint(("next",), (valid / "result",), planned={str(valid): planned})
    make(valid)
    assert marks.fingerprint(("next",), (valid / "result",)) == foreseen
