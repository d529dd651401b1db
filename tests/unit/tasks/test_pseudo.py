"""Pseudo-labels: a small teacher that knows ten utterances labels some of them, and filters by hand-worked cases."""

import hashlib
import itertools
import json
import math
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from in_folder import run
from lhotse import CutSet, MonoCut
from lhotse.supervision import AlignmentItem
from safetensors.torch import load_file
from ten_utterances import CONFIG, make_data, train_command

from speechkit.features.cmvn import Cmvn
from speechkit.tasks.pseudo import EMPTY, LONG, LOOP, SHORT, UNSURE, Label, PseudoConfig, confidence, filtered

LABELLED, POOL = range(6), range(4, 10)


def said_by(cuts: Iterable[MonoCut], speaker: str) -> CutSet:
    return CutSet.from_cuts(replace(cut, supervisions=[replace(cut.supervisions[0], speaker=speaker)]) for cut in cuts)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher in exp, labelled utterances 0 to 5 of speaker bert, and a pool of 4 to 9."""
    folder = tmp_path_factory.mktemp("pseudo")
    make_data(folder / "data")
    (folder / "fbank.yaml").write_text(CONFIG)
    assert run(folder, "lang", "--cuts", "data/cuts_train.jsonl.gz", "--unit", "char", "--out", "lang") == 0
    lm = ("--text", "lang/lm_text.txt", "--order", "2", "--estimator", "own", "--out", "lm.arpa")
    assert run(folder, "ngram", *lm) == 0
    assert run(folder, *train_command("exp")) == 0
    decode = ("decode", "--checkpoint", "exp/final", "--cuts", "data/cuts_dev.jsonl.gz", "--out", "exp/dev")
    assert run(folder, *decode, "--method", "beam", "--lm", "lm.arpa", "--sweep") == 0
    cuts = list(CutSet.from_jsonl(folder / "data/cuts_train.jsonl.gz"))
    for name, part in (("labelled", LABELLED), ("pool", POOL)):
        (folder / name).mkdir()
        said_by([cuts[index] for index in part], "bert").to_file(folder / name / "cuts_train.jsonl.gz")
    whole = Cmvn.load(folder / "data/cmvn.safetensors")
    whole.save(folder / "labelled/cmvn.safetensors")
    Cmvn(whole.overall, {"bert": whole.stats()}).save(folder / "pool/cmvn.safetensors")
    for split in ("dev", "test"):
        shutil.copy(folder / f"data/cuts_{split}.jsonl.gz", folder / "labelled")
    return folder


def label(recipe: Path, out: str, *more: str, pool: str = "pool") -> int:
    command = ["pseudo-label", "--checkpoint", "exp/final", "--cuts", f"{pool}/cuts_train.jsonl.gz"]
    search = ["--method", "beam", "--lm", "lm.arpa", "--weights", "exp/dev/weights.json"]
    return run(recipe, *command, "--labelled", "labelled", "--out", out, *search, *more)


def texts(folder: Path, split: str = "train") -> dict[str, str]:
    cuts = CutSet.from_jsonl(folder / f"cuts_{split}.jsonl.gz")
    return {cut.id: cut.supervisions[0].text for cut in cuts}


def test_the_student_gets_true_labels_and_those_of_the_teacher(recipe: Path) -> None:
    assert label(recipe, "round1", "--set", "keep=100", "--set", "repeat=2", "--nj", "2") == 0
    truth = texts(recipe / "data")
    found = texts(recipe / "round1")
    assert {name: text for name, text in found.items() if not name.endswith("_copy1")} == truth
    assert {name for name in found if name.endswith("_copy1")} == {f"utt{index}_copy1" for index in LABELLED}
    assert texts(recipe / "round1", "dev") == truth
    origins = ["labelled" if int(name[3]) in LABELLED else "pseudo" for name in found]
    assert [origins[start : start + 4].count("pseudo") for start in (0, 4, 8, 12)] == [1, 1, 1, 1]  # 12 and 4, mixed
    pseudo = next(cut for cut in CutSet.from_jsonl(recipe / "round1/cuts_train.jsonl.gz") if cut.id == "utt7")
    assert (pseudo.supervisions[0].speaker, pseudo.num_features) == ("bert", 8)


def test_a_label_set_tells_its_teacher_and_its_counts(recipe: Path) -> None:
    assert label(recipe, "told", "--set", "keep=75", "--round", "3") == 0
    report = json.loads((recipe / "told/report.json").read_text())
    weights = (recipe / "exp/final/model.safetensors").read_bytes()
    assert report["teacher"] == {"checkpoint": "exp/final", "model": hashlib.sha256(weights).hexdigest()}
    best = json.loads((recipe / "exp/dev/weights.json").read_text())["best"]
    lm = hashlib.sha256((recipe / "lm.arpa").read_bytes()).hexdigest()
    assert (report["round"], report["search"]["weights"], report["search"]["lm_hash"]) == (3, best, lm)
    assert report["search"]["beam"]["size"] == 50
    none = {EMPTY: 0, LOOP: 0, SHORT: 0, LONG: 0}
    assert report["counts"] == {"labelled already": 2, "decoded": 4, **none, UNSURE: 1, "kept": 3}
    assert report["hours"] == pytest.approx({"labelled": 6 * 0.58 / 3600, "pseudo": 3 * 0.58 / 3600})
    rows = [json.loads(line) for line in (recipe / "told/labels.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["utt6", "utt7", "utt8", "utt9"]
    (unsure,) = (row for row in rows if row["reason"])
    assert unsure["confidence"] == min(row["confidence"] for row in rows)
    assert unsure["id"] not in texts(recipe / "told")


def test_true_transcripts_of_the_pool_are_never_read(recipe: Path) -> None:
    assert label(recipe, "seen") == 0
    shutil.copytree(recipe / "pool", recipe / "changed")
    changed = []
    for cut in CutSet.from_jsonl(recipe / "pool/cuts_train.jsonl.gz"):
        cut.supervisions[0].text = "six six ça"
        cut.supervisions[0].custom = {"phones": "z"}
        cut.supervisions[0].alignment = {"word": [AlignmentItem("six", 0.0, 0.1)]}
        cut.custom = {"transcript": "six"}
        changed.append(cut)
    CutSet.from_cuts(changed).to_file(recipe / "changed/cuts_train.jsonl.gz")
    assert label(recipe, "unseen", pool="changed") == 0
    names = sorted(path.name for path in (recipe / "seen").iterdir())
    assert "cuts_train.jsonl.gz" in names
    for name in names:
        assert (recipe / "seen" / name).read_bytes() == (recipe / "unseen" / name).read_bytes(), name


def test_drift_is_counted_where_both_rounds_have_a_label(recipe: Path) -> None:
    assert label(recipe, "first", "--set", "keep=100") == 0
    rows = [json.loads(line) for line in (recipe / "first/labels.jsonl").read_text().splitlines()]
    rows[0]["words"] += " one"
    rows[1]["words"] = " ".join(rows[1]["words"].split()[:2] + ["none"])
    rows[2]["reason"] = UNSURE
    (recipe / "first/labels.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert label(recipe, "second", "--set", "keep=100", "--previous", "first") == 0
    drift = json.loads((recipe / "second/report.json").read_text())["drift"]
    # of 4 + 3 + 3 words one is deleted, one substituted
    assert drift == {"previous": "first", "utterances": 3, "error_rate": pytest.approx(20.0)}


def test_a_student_trains_on_the_labels(recipe: Path) -> None:
    assert label(recipe, "lesson") == 0
    train = ["train", "--config", "fbank.yaml", "--data", "lesson", "--lang", "lang", "--out", "student"]
    assert run(recipe, *train, "--set", "train.max_updates=2", "--set", "batches.normalisation=speaker") == 0
    assert json.loads((recipe / "student/run.json").read_text())["train_hours"] == pytest.approx(10 * 0.58 / 3600)


def test_a_student_may_begin_with_its_teacher(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert label(recipe, "further") == 0
    train = ["train", "--config", "fbank.yaml", "--data", "further", "--lang", "lang", "--start", "exp/final"]
    settings = ["--set", "train.max_updates=1", "--set", "train.schedule.peak=1e-9", "--set", "train.average_best=1"]
    assert run(recipe, *train, *settings, "--out", "continued") == 0
    teacher, student = (load_file(recipe / name / "final/model.safetensors") for name in ("exp", "continued"))
    assert all(weight.allclose(student[name], atol=1e-6) for name, weight in teacher.items())
    assert run(recipe, *train, "--set", "model.transformer.layers=2", "--out", "x") == 1
    assert "exp/final is another model than the configuration describes" in capsys.readouterr().err


def test_the_student_has_the_statistics_of_all_speakers(recipe: Path) -> None:
    assert label(recipe, "joined") == 0
    joined, whole = Cmvn.load(recipe / "joined/cmvn.safetensors"), Cmvn.load(recipe / "data/cmvn.safetensors")
    assert joined.speakers.keys() == {"anna", "bert"}
    assert joined.stats().mean.allclose(whole.stats().mean)
    assert joined.stats().count == 2 * whole.stats().count


def test_greedy_labels_need_no_language_model(recipe: Path) -> None:
    command = ["pseudo-label", "--checkpoint", "exp/final", "--cuts", "pool/cuts_train.jsonl.gz"]
    assert run(recipe, *command, "--labelled", "labelled", "--out", "greedy") == 0
    assert json.loads((recipe / "greedy/report.json").read_text())["search"] == {"method": "greedy"}
    assert run(recipe, *command, "--labelled", "labelled", "--out", "x", "--method", "beam", "--lm", "lm.arpa") == 2


def test_refuses_speakers_of_dev_and_a_pool_that_is_all_labelled(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cuts = list(CutSet.from_jsonl(recipe / "pool/cuts_train.jsonl.gz"))
    (recipe / "overlap").mkdir()
    overlap = CutSet.from_cuts([*said_by(cuts[:3], "bert"), *said_by(cuts[3:], "anna")])
    overlap.to_file(recipe / "overlap/cuts_train.jsonl.gz")
    assert label(recipe, "x", pool="overlap") == 1
    assert "has 1 speakers of the sets that measure the model: anna (test)" in capsys.readouterr().err
    assert label(recipe, "x", pool="labelled") == 1
    assert "every utterance of labelled/cuts_train.jsonl.gz is in labelled" in capsys.readouterr().err
    assert not (recipe / "x").exists()


def test_confidence_is_the_sum_over_all_paths() -> None:
    log_probs = np.log(np.random.default_rng(0).dirichlet(np.ones(3), size=4)).astype(np.float32)
    tokens = [1, 2]
    total = 0.0
    for path in itertools.product(range(3), repeat=4):
        merged = [token for token, _ in itertools.groupby(path)]
        if [token for token in merged if token] == tokens:
            total += math.exp(sum(log_probs[frame, token] for frame, token in enumerate(path)))
    assert confidence(log_probs, tokens) == pytest.approx(math.log(total) / 2, rel=1e-5)
    assert confidence(log_probs, []) == -math.inf
    assert confidence(log_probs, [1, 1, 1]) == -math.inf  # five frames at least


def test_filters_by_hand() -> None:
    def heard(name: str, words: str, sure: float, rate: float = 0.2) -> Label:
        return Label(name, tuple(words.split()), sure, rate)

    labels = [
        heard("a", "one two", -0.5),
        heard("b", "", -math.inf, 0.0),
        heard("c", "one two one two one two one two", -0.1),  # "one two one two" comes three times
        heard("d", "one two one two one two", -0.2),  # and here twice
        heard("e", "one", -0.1, 0.09),
        heard("f", "one two six", -0.1, 0.51),
        heard("g", "six", -0.4, 0.1),
        heard("h", "two", -0.3, 0.5),
    ]
    config = PseudoConfig(keep=75, loop_words=4, loop_count=2, slowest=0.4, fastest=2.0)
    reasons = {each.id: each.reason for each in filtered(reversed(labels), 0.25, config)}
    assert reasons == {"a": UNSURE, "b": EMPTY, "c": LOOP, "d": "", "e": SHORT, "f": LONG, "g": "", "h": ""}
    assert [each.id for each in filtered(reversed(labels), 0.25, config)] == list("abcdefgh")


@pytest.mark.parametrize("wrong", [{"keep": 0}, {"keep": 101}, {"repeat": 0}, {"slowest": 3.0}, {"loop_words": 0}])
def test_settings_without_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be|less than"):
        PseudoConfig(**wrong)  # type: ignore[arg-type]
