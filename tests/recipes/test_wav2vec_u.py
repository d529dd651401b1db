"""What `--system wav2vec-u` runs: nothing behind stage 0 reads a transcript of the training set."""

import pytest
from dry_run import commands, dry_run, of, value

UNPAIRED = "data/unpaired-unmatched"


@pytest.mark.parametrize("options", [(), ("--text", "matched"), ("--ssl", "/model/final")])
def test_transcripts_are_read_in_stage_0_alone(options: tuple[str, ...]) -> None:
    result = dry_run("timit", "--system", "wav2vec-u", *options)
    assert result.returncode == 0, result.stderr
    behind = result.stdout.split("== stage 1")[1]
    inputs = [line.split(None, 1)[1] for line in behind.splitlines() if line.startswith("      input ")]
    assert inputs
    for path in inputs:
        assert path.startswith(("data/unpaired-", "data/further-text", "exp/", "conf/", "/model/final")), path
    for word in ("data/valid", "data/manifests", "data/corpus", "data/fbank", "exp/hmm/", "report-errors"):
        assert word not in behind


def test_the_miniature_hears_all_audio_and_reads_what_nobody_says() -> None:
    found = commands("timit", "--system", "wav2vec-u")
    assert [value(each, "--setting") for each in of(found, "unpair")] == ["audio"]
    (text,) = of(found, "unpaired-text")
    assert value(text, "--text") == "data/further-text/phones.txt"
    assert "--score-silence" in text


def test_the_corpus_itself_is_taken_apart(tmp_path_factory: pytest.TempPathFactory) -> None:
    corpus = str(tmp_path_factory.mktemp("TIMIT"))
    for setting in ("matched", "unmatched"):
        found = commands("timit", "--system", "wav2vec-u", "--corpus", corpus, "--text", setting)
        assert [value(each, "--setting") for each in of(found, "unpair")] == [setting]
        assert not of(found, "further-text")
        (text,) = of(found, "unpaired-text")
        assert value(text, "--text") == f"data/unpaired-{setting}/audio/text.txt"


def test_generators_of_several_seeds_and_the_chain_behind_them() -> None:
    found = commands("timit", "--system", "wav2vec-u", "--gans", "3", "--seed", "7", "--stage", "4")
    assert [value(each, "--seed") for each in of(found, "gan")] == ["7", "8", "9"]
    (choice,) = of(found, "gan-select")
    assert choice[choice.index("--runs") + 1 :][:3] == [
        f"exp/wav2vec-u-unmatched-seed7/gan-{seed}" for seed in (7, 8, 9)
    ]
    (model,) = of(found, "hmm")
    assert value(model, "--data") == "exp/wav2vec-u-unmatched-seed7/labels-gan"
    (ctc,) = of(found, "train")
    assert value(ctc, "--data") == "exp/wav2vec-u-unmatched-seed7/labels-hmm"
    assert value(ctc, "--init") == "exp/wav2vec-u-hubert-unmatched-seed7/iteration-2/final"
    for each in of(found, "decode") + of(found, "hmm-decode"):
        assert "--sweep" not in each  # which would tune on transcripts
    for each in of(found, "relabel"):
        assert all("cuts_test" not in word for word in each)


def test_the_order_of_the_phone_model_is_four_or_as_told() -> None:
    for words, order in (((), "4"), (("--ngram-order", "3"), "3")):
        (ngram,) = of(commands("timit", "--system", "wav2vec-u", *words), "ngram")
        assert value(ngram, "--order") == order


def test_a_model_from_elsewhere_is_not_trained_here() -> None:
    found = commands("timit", "--system", "wav2vec-u", "--ssl", "/model/final")
    assert not of(found, "pretrain")
    (hidden,) = of(found, "features")
    assert (value(hidden, "--checkpoint"), value(hidden, "--layer")) == ("/model/final", "15")


@pytest.mark.parametrize("recipe", ["digits", "wsj", "TEMPLATE"])
def test_recipes_without_unpaired_text_refuse_before_any_stage(recipe: str) -> None:
    result = dry_run(recipe, "--system", "wav2vec-u")
    assert result.returncode == 2
    assert "audio and text that are not paired" in result.stderr
    assert "== stage" not in result.stdout


def test_librispeech_recognises_phones_and_scores_words() -> None:
    found = commands("librispeech", "--system", "wav2vec-u", "--gans", "1")
    (text,) = of(found, "unpaired-text")
    assert value(text, "--text") == "data/corpus-mini/librispeech-lm-norm.txt.gz"
    assert value(text, "--espeak-voice") == "en-us"
    folder = "data/train-clean-100-dev-clean-test-clean/unpaired-unmatched/text"
    texts = {value(each, "--out"): value(each, "--text") for each in of(found, "ngram")}
    assert texts == {f"{folder}/lm.arpa": f"{folder}/lm_text.txt", f"{folder}/word_lm.arpa": f"{folder}/words.txt"}
    assert value(of(found, "silence")[0], "--detector") == "energy"
    for each in of(found, "hmm") + of(found, "train"):
        assert value(each, "--lang") == f"{folder}/phone_lang"
    scored = [value(each, "--dir") for each in of(found, "score")]
    assert len(scored) == 6
    assert all(each.endswith("_words") for each in scored)
    assert {value(each, "--lang") for each in of(found, "score")} == {f"{folder}/lang"}
