"""Training with CTC and LF-MMI, decoding and scoring by the commands: a small model learns ten utterances by heart."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from in_folder import run
from lhotse import CutSet
from lhotse.supervision import AlignmentItem
from safetensors.torch import load_file
from ten_utterances import CONFIG, make_data, train_command

from speechkit.data.batches import load_cuts
from speechkit.features.cmvn import Cmvn
from speechkit.tasks.recognizer import CtcConfig, Recognizer
from speechkit.text.lang import make_lang
from speechkit.text.lexicon import Lexicon


@pytest.fixture(scope="module", params=["ctc", "lfmmi"])
def recipe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For each loss a folder with data, language, LM and a model in exp; a space and a non-ASCII letter in its path."""
    folder = tmp_path_factory.mktemp("récipe x")
    make_data(folder / "data")
    (folder / "fbank.yaml").write_text(f"{CONFIG}loss: {request.param}\n")
    assert run(folder, "lang", "--cuts", "data/cuts_train.jsonl.gz", "--unit", "char", "--out", "lang") == 0
    assert (
        run(folder, "ngram", "--text", "lang/lm_text.txt", "--order", "2", "--estimator", "own", "--out", "lm.arpa")
        == 0
    )
    assert run(folder, *train_command("exp")) == 0
    return folder


def rate(folder: Path, out: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert run(folder, "score", "--dir", out, "--lang", "lang") == 0
    return capsys.readouterr().out.splitlines()[-1]


def test_ten_utterances_are_learnt_by_heart_and_decoded_greedily(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    decode = ["decode", "--checkpoint", "exp/final", "--cuts", "data/cuts_test.jsonl.gz", "--out", "exp/greedy"]
    assert run(recipe, *decode) == 0
    assert rate(recipe, "exp/greedy", capsys) == "%WER 0.00 [ 0 / 30, 0 ins, 0 del, 0 sub ] exp/greedy"
    details = json.loads((recipe / "exp/greedy/decode.json").read_text())
    assert details["method"] == "greedy"
    assert details["audio_seconds"] == pytest.approx(10 * 0.58)


def test_what_has_no_token_is_an_error_in_recognition_and_refused_in_training(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = recipe / "strange"
    data.mkdir()
    shutil.copy(recipe / "data/cuts_train.jsonl.gz", data)
    shutil.copy(recipe / "data/cmvn.safetensors", data)
    cuts = list(CutSet.from_jsonl(recipe / "data/cuts_dev.jsonl.gz"))
    cuts[0].supervisions[0].text += " ça"
    CutSet.from_cuts(cuts).to_file(data / "cuts_dev.jsonl.gz")
    command = ["train", "--config", "fbank.yaml", "--lang", "lang", "--set", "train.max_updates=1"]
    assert run(recipe, *command, "--data", "strange", "--out", "strange-exp") == 0
    decode = ["decode", "--checkpoint", "exp/final", "--cuts", "strange/cuts_dev.jsonl.gz", "--out", "exp/strange"]
    assert run(recipe, *decode) == 0
    assert rate(recipe, "exp/strange", capsys) == "%WER 3.23 [ 1 / 31, 0 ins, 1 del, 0 sub ] exp/strange"
    shutil.copy(data / "cuts_dev.jsonl.gz", data / "cuts_train.jsonl.gz")
    assert run(recipe, *command, "--data", "strange", "--out", "strange-exp2") == 1
    assert "cannot encode" in capsys.readouterr().err


def test_audio_without_transcripts_is_recognised_but_not_scored_or_tuned_on(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = recipe / "silent"
    data.mkdir()
    shutil.copy(recipe / "data/cmvn.safetensors", data)
    cuts = list(CutSet.from_jsonl(recipe / "data/cuts_dev.jsonl.gz"))
    said = {cut.id: cut.supervisions[0].text for cut in cuts}
    for cut in cuts:
        cut.supervisions[0].text = None
    CutSet.from_cuts(cuts).to_file(data / "cuts_dev.jsonl.gz")
    decode = ["decode", "--checkpoint", "exp/final", "--cuts", "silent/cuts_dev.jsonl.gz", "--out", "exp/silent"]
    assert run(recipe, *decode) == 0
    heard = dict(line.split(" ", 1) for line in (recipe / "exp/silent/hyp.txt").read_text().splitlines())
    assert heard == said
    assert not (recipe / "exp/silent/ref.txt").exists()
    assert run(recipe, "score", "--dir", "exp/silent", "--lang", "lang") == 1
    assert run(recipe, *decode, "--method", "beam", "--lm", "lm.arpa", "--sweep") == 1
    assert "a supervision has no 'text'" in capsys.readouterr().err


def test_weights_are_tuned_on_one_set_and_used_on_another(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decode = ["decode", "--checkpoint", "exp/final", "--method", "beam", "--lm", "lm.arpa"]
    assert run(recipe, *decode, "--cuts", "data/cuts_dev.jsonl.gz", "--sweep", "--out", "exp/dev") == 0
    weights = json.loads((recipe / "exp/dev/weights.json").read_text())
    assert min(point["error_rate"] for point in weights["points"]) == 0
    test = ["--cuts", "data/cuts_test.jsonl.gz", "--weights", "exp/dev/weights.json", "--out", "exp/test", "--nj", "2"]
    assert run(recipe, *decode, *test) == 0
    assert rate(recipe, "exp/test", capsys) == "%WER 0.00 [ 0 / 30, 0 ins, 0 del, 0 sub ] exp/test"
    details = json.loads((recipe / "exp/test/decode.json").read_text())
    assert (details["method"], details["weights"]) == ("beam", weights["best"])
    shutil.copy(recipe / "lm.arpa", recipe / "lm_4gram.arpa")
    assert run(recipe, *decode[:-1], "lm_4gram.arpa", *test) == 0
    assert json.loads((recipe / "exp/test/decode.json").read_text())["method"] == "beam, 4gram"


def test_the_same_seed_gives_the_same_weights_and_a_killed_training_too(recipe: Path) -> None:
    assert run(recipe, *train_command("again")) == 0
    command = [sys.executable, "-m", "speechkit", *train_command("killed", "--set", "train.save_every=7")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(command, cwd=recipe, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "update 42" in line:
            process.kill()
            break
    process.wait()
    assert not (recipe / "killed/final").exists()
    assert run(recipe, *train_command("killed", "--set", "train.save_every=7")) == 0
    first, second, third = (load_file(recipe / name / "final/model.safetensors") for name in ("exp", "again", "killed"))
    for name, weight in first.items():
        assert weight.equal(second[name]), name
        assert weight.equal(third[name]), name


def test_the_experiment_keeps_what_made_it(recipe: Path) -> None:
    record = json.loads((recipe / "exp/run.json").read_text())
    assert record["seed"] == 0
    assert record["num_params"] == sum(
        weight.numel() for weight in load_file(recipe / "exp/final/model.safetensors").values()
    )
    assert record["train_hours"] == pytest.approx(5.8 / 3600)
    loss = yaml.safe_load((recipe / "fbank.yaml").read_text())["loss"]
    assert (record["loss"], record["system"]) == (loss, {"ctc": "fbank", "lfmmi": "fbank lfmmi"}[loss])
    assert "peak: 0.005" in (recipe / "exp/config.yaml").read_text()
    lines = [json.loads(line) for line in (recipe / "exp/log.jsonl").read_text().splitlines()]
    dev = [line for line in lines if line["kind"] == "dev"]
    assert [line["update"] for line in dev] == [30, 60, 90]
    assert {"loss", "error_rate", "blank_ratio"} <= dev[-1].keys()
    samples = [line["samples"] for line in lines if line["kind"] == "samples"]
    assert all(len(each) == 3 for each in samples)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["decode", "--checkpoint", "nowhere", "--cuts", "data/cuts_dev.jsonl.gz", "--out", "x"],
            "nowhere is not a trained",
        ),
        (
            ["decode", "--checkpoint", "exp/final", "--cuts", "data/cuts_x.jsonl.gz", "--out", "x"],
            "data/cuts_x.jsonl.gz",
        ),
        (train_command("x", "--set", "modle.dim=3"), "did you mean 'model'"),
        (train_command("x", "--set", "loss=lfmi"), "'loss' cannot be 'lfmi', did you mean 'lfmmi'?"),
        (
            train_command("x", "--set", "loss=lfmmi", "--set", "lfmmi.numerator=alignment"),
            "all 10 utterances have no alignment of phones in data/cuts_train.jsonl.gz that fits their words",
        ),
        (["train", "--config", "no.yaml", "--data", "data", "--lang", "lang", "--out", "x"], "no.yaml does not exist"),
        (
            ["train", "--config", "fbank.yaml", "--data", "nodata", "--lang", "lang", "--out", "x"],
            "nodata/cmvn.safetensors",
        ),
    ],
)
def test_what_is_missing_or_wrong_is_one_line_and_nothing_is_written(
    recipe: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert run(recipe, *arguments) in (1, 2)
    message = capsys.readouterr().err.strip()
    assert words in message
    assert "\n" not in message
    assert not (recipe / "x").exists()


def test_every_spelling_of_a_word_is_a_pronunciation() -> None:
    lexicon = Lexicon([("the", ["dh", "ah"]), ("two", ["t", "uw"]), ("the", ["dh", "iy"])])
    recognizer = Recognizer(CtcConfig(), make_lang("phone", [], lexicon=lexicon), Cmvn())
    boundary, ah, dh, iy, t, uw = range(1, 7)
    found = recognizer.pronunciations({"text": "two the"})
    assert found == (((t, uw, boundary),), ((dh, ah, boundary), (dh, iy, boundary)))
    spelled = Recognizer(CtcConfig(), make_lang("char", ["ab"]), Cmvn())
    assert spelled.pronunciations({"text": "ab ba"}) == (((2, 3, 1),), ((3, 2, 1),))


def test_training_from_alignments_leaves_out_what_has_none(tmp_path: Path) -> None:
    make_data(tmp_path / "data")
    (tmp_path / "fbank.yaml").write_text(CONFIG)
    assert run(tmp_path, "lang", "--cuts", "data/cuts_train.jsonl.gz", "--unit", "word", "--out", "lang") == 0
    aligned = []
    for cut in load_cuts(tmp_path / "data" / "cuts_train.jsonl.gz"):
        words = cut.supervisions[0].text.split()
        items = [AlignmentItem(word, 0.04 + 0.18 * place, 0.12) for place, word in enumerate(words)]
        if cut.id not in ("utt3", "utt8"):
            cut.supervisions[0].alignment = {"phone": items}
        aligned.append(cut)
    CutSet.from_cuts(aligned).to_file(tmp_path / "aligned.jsonl.gz")
    settings = ["loss=lfmmi", "lfmmi.numerator=alignment", "lfmmi.tolerance=0.02", "lfmmi.warmup_updates=0"]
    more = [word for setting in settings for word in ("--set", setting)]
    assert run(tmp_path, *train_command("exp", *more, "--alignments", "aligned.jsonl.gz")) == 0
    record = json.loads((tmp_path / "exp/run.json").read_text())
    assert (record["num_dropped"], record["loss"]) == (2, "lfmmi")
    lines = [json.loads(line) for line in (tmp_path / "exp/log.jsonl").read_text().splitlines()]
    last = [line for line in lines if line["kind"] == "train"][-1]
    assert last["without_path"] == 0
    assert last["mmi"] > -0.05
    assert [line for line in lines if line["kind"] == "dev"][-1]["error_rate"] == 0


def test_a_denominator_too_large_is_refused_before_training(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(recipe, *train_command("x", "--set", "loss=lfmmi", "--set", "lfmmi.max_den_arcs=10")) == 1
    assert "take the topology ctc-modified" in capsys.readouterr().err.splitlines()[-1]
    assert not (recipe / "x").exists()


def test_beam_search_without_a_language_model_is_a_usage_error(recipe: Path) -> None:
    options = ["--checkpoint", "exp/final", "--cuts", "data/cuts_dev.jsonl.gz", "--out", "x", "--method", "beam"]
    assert run(recipe, "decode", *options) == 2


def test_a_graph_is_made_searched_and_gives_the_best_hypotheses(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("kaldifst", reason="decoding graphs need kaldifst")
    assert run(recipe, "graph", "--lang", "lang", "--lm", "lm.arpa", "--out", "graph") == 0
    assert "decoding graph of 3 words with" in capsys.readouterr().out
    decode = ["decode", "--checkpoint", "exp/final", "--method", "wfst", "--graph", "graph"]
    assert run(recipe, *decode, "--cuts", "data/cuts_dev.jsonl.gz", "--sweep", "--out", "exp/dev_wfst") == 0
    test = ["--cuts", "data/cuts_test.jsonl.gz", "--weights", "exp/dev_wfst/weights.json", "--nj", "2"]
    assert run(recipe, *decode, *test, "--out", "exp/test_wfst") == 0
    assert rate(recipe, "exp/test_wfst", capsys) == "%WER 0.00 [ 0 / 30, 0 ins, 0 del, 0 sub ] exp/test_wfst"
    details = json.loads((recipe / "exp/test_wfst/decode.json").read_text())
    assert (details["method"], details["beam"]) == ("wfst", {"beam": 12.0, "max_active": 3000})
    lists = ["--nbest", "3", "--rescore-lm", "lm.arpa", "--out", "exp/nbest"]
    assert run(recipe, *decode, *test, *lists) == 0
    words = {line.split()[0]: line.split()[1:] for line in (recipe / "exp/nbest/hyp.txt").read_text().splitlines()}
    rows = [json.loads(line) for line in (recipe / "exp/nbest/nbest.jsonl").read_text().splitlines()]
    assert {row["id"]: row["hypotheses"][0]["words"] for row in rows} == words
    assert all(1 <= len(row["hypotheses"]) <= 3 for row in rows)
    assert set(rows[0]["hypotheses"][0]) == {"words", "score", "acoustic", "lm"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--method", "wfst"], "--method wfst needs --graph"),
        (["--method", "greedy", "--nbest", "3"], "--nbest and --rescore-lm go with"),
        (["--method", "wfst", "--graph", "nowhere"], "nowhere is not a decoding graph"),
    ],
)
def test_a_graph_search_that_lacks_something_is_one_line(
    recipe: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    command = ["decode", "--checkpoint", "exp/final", "--cuts", "data/cuts_dev.jsonl.gz", "--out", "x", *options]
    assert run(recipe, *command) in (1, 2)
    message = capsys.readouterr().err.strip()
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--unit", "bpe", "--vocab-size", "11"), "%WER 0.00 [ 0 / 30, 0 ins, 0 del, 0 sub ]"),
        (("--unit", "unigram", "--vocab-size", "10"), "%WER 0.00 [ 0 / 30, 0 ins, 0 del, 0 sub ]"),
        (("--unit", "char", "--boundary", "none"), "%CER 0.00 [ 0 / 90, 0 ins, 0 del, 0 sub ]"),
    ],
    ids=["bpe", "unigram", "characters"],
)
def test_other_units_are_learnt_decoded_and_aligned(
    tmp_path: Path, options: tuple[str, ...], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if "none" not in options:
        pytest.importorskip("sentencepiece", reason="sentencepiece is not installed")
    make_data(tmp_path / "data")
    (tmp_path / "fbank.yaml").write_text(CONFIG)
    assert run(tmp_path, "lang", "--cuts", "data/cuts_train.jsonl.gz", *options, "--out", "lang") == 0
    text = ("--text", "lang/lm_text.txt", "--order", "2", "--estimator", "own")
    assert run(tmp_path, "ngram", *text, "--out", "lm.arpa") == 0
    graph = str(tmp_path / "graph")  # decoders are kept by the name of their graph
    assert run(tmp_path, "graph", "--lang", "lang", "--lm", "lm.arpa", "--out", graph) == 0
    assert run(tmp_path, *train_command("exp", "--set", "train.max_updates=180")) == 0
    decode = ["decode", "--checkpoint", "exp/final", "--cuts", "data/cuts_test.jsonl.gz"]
    for name, *method in (("greedy",), ("beam", "--lm", "lm.arpa"), ("wfst", "--graph", graph)):
        assert run(tmp_path, *decode, "--method", name, *method, "--lm-weight", "0.5", "--out", name) == 0
        assert rate(tmp_path, name, capsys) == f"{line} {name}"
    cuts = ["align", "--checkpoint", "exp/final", "--cuts", "data/cuts_test.jsonl.gz"]
    assert run(tmp_path, *cuts, "--format", "ctm", "--out", "ali") == 0
    aligned = [row.split() for row in next((tmp_path / "ali").rglob("word*.ctm")).read_text().splitlines()]
    for row in (tmp_path / "greedy" / "ref.txt").read_text().splitlines():
        name, *words = row.split()
        assert [each[4] for each in aligned if each[0] == name] == words


def test_utterances_beyond_the_limit_of_a_batch_are_left_out(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(recipe, *train_command("short", "--set", "batches.max_duration=0.5")) == 1
    shown = capsys.readouterr().err
    assert "left out 10 utterances longer than batches.max_duration: utt0 utt1" in shown
    assert "no utterance is left to train on" in shown


def test_more_characters_than_frames_are_left_out_of_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """58 frames, of which the model makes 29, have room for 29 different characters."""
    make_data(tmp_path / "data")
    texts = {
        "utt3": "".join(map(chr, range(0x4E00, 0x4E00 + 29))),
        "utt8": "".join(map(chr, range(0x4E00, 0x4E00 + 30))),
    }
    changed = list(load_cuts(tmp_path / "data" / "cuts_train.jsonl.gz"))
    for cut in changed:
        cut.supervisions[0].text = texts.get(cut.id, cut.supervisions[0].text)
    CutSet.from_cuts(changed).to_file(tmp_path / "data" / "cuts_train.jsonl.gz")
    (tmp_path / "fbank.yaml").write_text(CONFIG)
    make = ("--unit", "char", "--boundary", "none", "--out", "lang")
    assert run(tmp_path, "lang", "--cuts", "data/cuts_train.jsonl.gz", *make) == 0
    quick = ("--set", "train.max_updates=2", "--set", "train.validate_every=2")
    assert run(tmp_path, *train_command("exp", *quick)) == 0
    assert "left out 1 utterances too short for their transcript: utt8" in capsys.readouterr().err
    assert json.loads((tmp_path / "exp/run.json").read_text())["num_dropped"] == 1
