"""What `--system bert-asr` does in stages 4 to 8, as `--dry-run` shows it."""

from pathlib import Path

import pytest
from dry_run import commands, dry_run, of, value

CALL = ("--stage", "4", "--system", "bert-asr")


def test_bert_then_bert_lm_then_bert_asr() -> None:
    found = commands("aishell", *CALL)
    bert, bert_lm = of(found, "bert")
    (training,) = of(found, "bert-asr")
    assert value(bert_lm, "--init") == f"{value(bert, '--out')}/final"
    assert value(training, "--bert") == f"{value(bert_lm, '--out')}/final"
    assert "model.acoustic.encoder=conv1d-resnet" in training
    assert not of(found, "train") + of(found, "cif")  # oracle and linear need no other model


def test_bert_reads_transcripts_or_another_text_and_bert_lm_transcripts(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.touch()
    for options, expected in (((), "data/lang/lm_text.txt"), (("--bert-text", str(text)), str(text))):
        bert, bert_lm = of(commands("aishell", *CALL, *options), "bert")
        assert (value(bert, "--text"), value(bert_lm, "--text")) == (expected, "data/lang/lm_text.txt")


def test_the_reference_is_read_for_oracle_segments_alone() -> None:
    """What recognises in other segments gets them from the audio, and from the training set."""
    found = commands("aishell", *CALL, "--alignment", "oracle,linear,ctc,cif")
    kinds = {value(each, "--kind"): each for each in of(found, "segments")}
    assert [*kinds] == ["oracle", "linear", "ctc", "cif"]
    assert all("_ali" in each for each in kinds["oracle"] if "cuts_" in each)
    for kind in ("linear", "ctc", "cif"):
        assert not any("_ali" in each for each in kinds[kind])
        (reference,) = (place for place, each in enumerate(kinds[kind]) if each == "--reference")  # to compare with
        assert kinds[kind][reference + 1] == value(kinds["oracle"], "--out")
    trained = value(of(found, "bert-asr")[0], "--segments")
    assert trained == value(kinds["oracle"], "--out")
    decodings = of(found, "bert-decode")
    expected = [
        f"{value(each, '--out')}/segments_{name}.jsonl.gz" for each in kinds.values() for name in ("dev", "test")
    ]
    assert [value(each, "--segments") for each in decodings] == expected
    assert [value(each, "--dir") for each in of(found, "score")] == [value(each, "--out") for each in decodings]
    assert not of(found, "decode")


def test_hidden_markov_models_hear_what_is_aligned() -> None:
    found = commands("aishell", *CALL, "--alignment", "hmm")
    heard = [value(each, "--out") for each in of(found, "hmm-decode")]
    (relabelled,) = of(found, "relabel")
    assert relabelled[relabelled.index("--hyp") + 1 :][:2] == [f"{folder}/hyp.txt" for folder in heard]
    (aligned,) = of(found, "align")
    cuts = aligned[aligned.index("--cuts") + 1 :]
    assert cuts == [f"{value(relabelled, '--out')}/cuts_{name}.jsonl.gz" for name in ("dev", "test")]
    segments = of(found, "segments")[-1]
    assert value(segments, "--cuts") == f"{value(aligned, '--out')}/cuts_dev_ali.jsonl.gz"
    assert value(of(found, "bert-decode")[0], "--segments") == f"{value(segments, '--out')}/segments_dev.jsonl.gz"


def test_changes_of_the_system_leave_its_ctc_model_alone() -> None:
    found = commands("aishell", *CALL, "--alignment", "ctc", "--set", "model.acoustic.blocks=2")
    assert "model.acoustic.blocks=2" in of(found, "bert-asr")[0]
    assert "--set" not in of(found, "train")[0]


@pytest.mark.parametrize(("start", "random"), [("own", False), ("random", True)])
def test_encoders_and_starts_have_folders_of_their_own(start: str, random: bool) -> None:
    folders = set()
    for encoder in ("average", "conv1d-resnet"):
        (training,) = of(commands("aishell", *CALL, "--encoder", encoder, "--bert", start), "bert-asr")
        assert ("--random" in training) is random
        folders.add(value(training, "--out"))
    assert folders == {f"exp/bert-asr-{name}{'-random' * random}" for name in ("average", "conv1d-resnet")}


def test_a_bert_of_hugging_face_is_imported(tmp_path: Path) -> None:
    found = commands("aishell", *CALL, "--bert", str(tmp_path))
    (imported,) = of(found, "import")
    assert (value(imported, "--in"), value(imported, "--format")) == (str(tmp_path), "bert")
    (bert_lm,) = of(found, "bert")
    assert value(bert_lm, "--init") == value(imported, "--out")


def test_a_layer_of_a_pretrained_model_is_heard_in_segments_of_the_spectrum() -> None:
    found = commands("aishell", *CALL, "--alignment", "oracle,ctc,cif", "--ssl", "exp/hubert", "--ssl-layer", "3")
    (layer,) = of(found, "features")
    (training,) = of(found, "bert-asr")
    assert (value(layer, "--checkpoint")[-len("exp/hubert") :], value(layer, "--layer")) == ("exp/hubert", "3")
    assert value(training, "--data") == value(layer, "--out")
    assert value(training, "--out") == "exp/bert-asr-conv1d-resnet-ssl"
    assert {value(each, "--cuts").rpartition("/")[0] for each in of(found, "bert-decode")} == {value(layer, "--out")}
    for each in of(found, "train") + of(found, "cif"):
        assert value(each, "--data") == "data/fbank"


@pytest.mark.parametrize(
    ("recipe", "options", "complaint"),
    [
        ("aishell", ["--alignment", "linear,oracel"], "--alignment: unknown 'oracel', did you mean 'oracle'?"),
        ("aishell", ["--alignment", ",linear"], "--alignment: unknown ''"),
        ("aishell", ["--ssl", "exp/hubert"], "--ssl needs --ssl-layer"),
        ("aishell", ["--encoder", "resnet"], "--encoder: unknown 'resnet', choose from: average conv1d-resnet"),
        ("aishell", ["--bert", "nowhere"], "--bert: unknown 'nowhere'"),
        ("aishell", ["--bert", ".", "--bert-text", __file__], "--bert-text is for --bert own or random"),
        ("timit", [], "reads characters; of the recipes egs/aishell has them"),
    ],
)
def test_what_cannot_be_is_one_line(recipe: str, options: list[str], complaint: str) -> None:
    result = dry_run(recipe, *CALL, *options)
    assert result.returncode == 2
    assert complaint in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
