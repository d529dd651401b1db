"""What `--system cpc` does in stages 4 to 7, as `--dry-run` shows it."""

import pytest
from dry_run import commands, of, value

STAGES = ("--stage", "4", "--stop-stage", "7", "--decode", "greedy")


@pytest.mark.parametrize("labels", ["10", "100"])
def test_contexts_are_what_is_trained_on_and_decoded_from(labels: str) -> None:
    """The labelled part is one of the contexts too; phones and speakers are probed from three sources."""
    found = commands("timit", *STAGES, "--system", "cpc", "--labels", labels)
    (features,), (training,) = (of(found, name) for name in ("features", "train"))
    pretraining, supervised = of(found, "pretrain")
    assert value(supervised, "--labels") == "exp/hmm/ali/labels_{}_100hz"
    folder, model = value(features, "--out"), f"{value(pretraining, '--out')}/final"
    assert (folder, value(features, "--in")) == ("exp/cpc-pretrained/features", "data/valid")
    assert (value(features, "--checkpoint"), value(features, "--layer")) == (model, "2")
    subsets = of(found, "subset")
    assert [(value(each, "--in"), value(each, "--percent")) for each in subsets] == [(folder, "10")] * (labels == "10")
    assert value(training, "--data") == (value(subsets[0], "--out") if subsets else folder)
    decoded = [value(each, "--cuts") for each in of(found, "decode")]
    assert decoded == [f"{folder}/cuts_{name}.jsonl.gz" for name in ("dev", "test")]
    probes = [
        (value(each, "--target"), "--random" in each, value(each, "--checkpoint") if "--checkpoint" in each else None)
        for each in of(found, "probe")
    ]
    assert probes == [
        *((target, True, model) for target in ("phone", "speaker")),
        *((target, False, None) for target in ("phone", "speaker")),
        *((target, False, model) for target in ("phone", "speaker")),
        ("phone", False, f"{value(supervised, '--out')}/final"),
    ]


@pytest.mark.parametrize("system", ["fbank", "wav2vec2"])
def test_other_systems_decode_from_log_mel(system: str) -> None:
    found = commands("timit", *STAGES, "--system", system, "--labels", "10")
    assert value(of(found, "train")[0], "--data") == "data/labelled-10"
    assert value(of(found, "decode")[0], "--cuts") == "data/fbank/cuts_dev.jsonl.gz"
    found = commands("librispeech", *STAGES, "--system", system, "--labels", "10h")
    assert value(of(found, "train")[0], "--data") == "data/10h-dev-clean-test-clean/fbank"
    assert value(of(found, "decode")[0], "--cuts") == "data/10h-dev-clean-test-clean/fbank/cuts_dev.jsonl.gz"
