"""Aligners trained, used and judged by the commands, on features of which the truth is known."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from in_folder import run
from lhotse import CutSet, Features, LilcomChunkyWriter, MonoCut, SupervisionSegment
from lhotse.supervision import AlignmentItem

from speechkit.align.ctm import read_ctm
from speechkit.align.textgrid import read_textgrid
from speechkit.data.labels import LabelFile
from speechkit.features.cmvn import Cmvn, CmvnStats

BINS = 12
WORDS = {"ab": "a b", "cab": "c a b", "orb": "a c b"}  # no word ends as another begins: such boundaries are anywhere
SETTINGS = ["gmm.iterations=10", "gmm.growth_iterations=6", "gmm.gaussians=20", "gmm.features.cepstra=12"]
NETWORK = ["neural.network.dim=24", "neural.least_updates=60", "neural.epochs=1", "neural.batch_frames=800"]


def make_data(folder: Path) -> None:
    """Three splits; the last utterance of dev has a word that the lexicon lacks, that before it is far too short."""
    rng = np.random.default_rng(0)
    spectra = {unit: rng.normal(0, 3, size=BINS) for unit in ("a", "b", "c", "sil")}
    folder.mkdir(parents=True)
    cmvn = Cmvn()
    with LilcomChunkyWriter(folder / "features") as writer:
        for split, count in (("train", 24), ("dev", 6), ("test", 4)):
            cuts = []
            for number in range(count):
                words = rng.choice(list(WORDS), size=3).tolist()
                frames, phones, said, place = [], [], [], 0
                for word in ("", *words, ""):
                    first = place
                    for unit in WORDS.get(word, "sil").split():
                        length = int(rng.integers(6, 14))
                        frames.append(np.repeat(spectra[unit][None], length, axis=0))
                        start, end = (t * 0.01 + 0.0075 * (t > 0) for t in (place, place + length))
                        phones.append(AlignmentItem(unit, start, end - start))
                        place += length
                    if word:
                        start, end = (t * 0.01 + 0.0075 for t in (first, place))
                        said.append(AlignmentItem(word, start, end - start))
                array = np.concatenate(frames)
                array = (array + rng.normal(0, 0.5, size=array.shape)).astype(np.float32)
                name, text = f"{split}{number}", " ".join(words)
                if split == "dev" and number == 5:
                    text += " zebra"
                if split == "dev" and number == 4:
                    array = array[:3]
                cmvn.add("anna", CmvnStats.of(torch.from_numpy(array)))
                features = Features(
                    type="fbank", num_frames=len(array), num_features=BINS, frame_shift=0.01, sampling_rate=16000,
                    start=0, duration=len(array) / 100 + 0.015, storage_type=writer.name,
                    storage_path=str(writer.storage_path), storage_key=writer.write(name, array), recording_id=name,
                    channels=0,
                )  # fmt: skip
                truth = {"phone": phones, "word": said}
                supervision = SupervisionSegment(
                    name, name, 0, features.duration, text=text, speaker="anna", alignment=truth
                )
                cuts.append(MonoCut(name, 0, features.duration, 0, features=features, supervisions=[supervision]))
            CutSet.from_cuts(cuts).to_file(folder / f"cuts_{split}.jsonl.gz")
    cmvn.save(folder / "cmvn.safetensors")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, language and an aligner in exp, its path with a space and a letter outside ASCII."""
    folder = tmp_path_factory.mktemp("récipe x")
    make_data(folder / "data")
    (folder / "lexicon.txt").write_text("".join(f"{word} {phones}\n" for word, phones in WORDS.items()))
    (folder / "features.yaml").write_text(f"fbank: {{num_bins: {BINS}}}\n")
    lang = ["--cuts", "data/cuts_train.jsonl.gz", "--unit", "phone", "--lexicon", "lexicon.txt", "--out", "lang"]
    assert run(folder, "lang", *lang) == 0
    assert run(folder, *hmm("exp")) == 0
    return folder


def hmm(out: str, *more: str) -> list[str]:
    settings = [word for setting in (*SETTINGS, *NETWORK) for word in ("--set", setting)]
    needed = ["--data", "data", "--lang", "lang", "--features", "features.yaml", "--fsa-engine", "torch"]
    return ["hmm", *needed, *settings, "--out", out, *more]


def align(out: str, *more: str) -> list[str]:
    cuts = [f"data/cuts_{split}.jsonl.gz" for split in ("dev", "test")]
    return ["align", "--model", "exp/final", "--cuts", *cuts, "--out", out, "--fsa-engine", "torch", *more]


def test_both_models_are_judged_by_true_boundaries(recipe: Path) -> None:
    record = json.loads((recipe / "exp/final/aligner.json").read_text())["record"]
    assert set(record["dev"]) == {"gmm", "neural"}
    best = max(record["dev"], key=lambda kind: record["dev"][kind]["value"])
    assert record["chosen"] == best
    assert all(each["criterion"] == "phone boundaries within 20 ms" for each in record["dev"].values())
    assert record["dev"][best]["value"] > 95


def test_all_outputs_of_a_set(recipe: Path) -> None:
    assert run(recipe, *align("ali", "--format", "ctm,textgrid,lhotse,labels")) == 0
    out = recipe / "ali"
    truth = {cut.id: cut.supervisions[0] for cut in CutSet.from_jsonl_lazy(recipe / "data/cuts_test.jsonl.gz")}
    cuts = {cut.id: cut.supervisions[0] for cut in CutSet.from_jsonl_lazy(out / "cuts_test_ali.jsonl.gz")}
    words, phones, states = (read_ctm(out / f"{kind}_test.ctm") for kind in ("word", "phone", "state"))
    labels, half = (LabelFile(out, f"labels_test_{rate}hz") for rate in (100, 50))
    assert (labels.frame_rate, half.frame_rate) == (100, 50)
    assert list(truth) == list(cuts) == list(words) == list(labels)
    for name, supervision in truth.items():
        true = supervision.alignment
        for kind, found in (("word", words[name]), ("phone", phones[name])):
            assert [item.symbol for item in true[kind]] == [item.label for item in found]
            assert [item.symbol for item in cuts[name].alignment[kind]] == [item.label for item in found]
            for expected, item in zip(true[kind], cuts[name].alignment[kind], strict=True):
                assert item.start == pytest.approx(expected.start, abs=0.021)
                assert 0 <= item.score <= 1
        assert len(states[name]) == 3 * len(phones[name])
        assert half[name].tolist() == labels[name][::2].tolist()
        duration, tiers = read_textgrid(out / "textgrid" / "test" / f"{name}.TextGrid")
        assert duration == pytest.approx(supervision.duration, abs=1e-5)
        assert [item.label for item in tiers["words"]] == supervision.text.split()
        assert "sil" not in {item.label for item in tiers["phones"]}


def test_the_report_names_what_failed_and_why(recipe: Path) -> None:
    assert run(recipe, *align("report")) == 0
    lines = [json.loads(line) for line in (recipe / "report/report_dev.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [f"dev{number}" for number in range(6)]
    assert [line["status"] for line in lines] == ["aligned"] * 4 + ["failed"] * 2
    assert lines[4]["reason"].startswith("too short: 3 frames for")
    assert (lines[5]["reason"], lines[5]["unknown_words"]) == ("out of vocabulary: zebra", ["zebra"])
    summary = json.loads((recipe / "report/summary_dev.json").read_text())
    assert (summary["aligned"], summary["failed"]) == (4, 2)
    assert summary["reasons"] == {"too short": 1, "out of vocabulary": 1}
    assert summary["unknown_words"] == {"zebra": 1}
    assert len(summary["least_confident"]) == 4


def test_pitch_behind_the_features_is_left_out_and_nothing_else(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in ("fbank-pitch", "fbank"):
        folder = recipe / kind
        folder.mkdir()
        with LilcomChunkyWriter(folder / "features") as writer:
            for split in ("dev", "test"):
                cuts = list(CutSet.from_jsonl(recipe / f"data/cuts_{split}.jsonl.gz"))
                for cut in cuts:
                    wide = np.pad(cut.load_features(), ((0, 0), (0, 3)), constant_values=7.0)
                    cut.features.type, cut.features.num_features = kind, BINS + 3
                    cut.features.storage_path = str(writer.storage_path)
                    cut.features.storage_key = writer.write(cut.id, wide)
                CutSet.from_cuts(cuts).to_file(folder / f"cuts_{split}.jsonl.gz")
        cmvn = Cmvn()
        cmvn.add("anna", CmvnStats.of(torch.from_numpy(np.concatenate([cut.load_features() for cut in cuts]))))
        cmvn.save(folder / "cmvn.safetensors")
    cuts = ["--cuts", "fbank-pitch/cuts_dev.jsonl.gz", "fbank-pitch/cuts_test.jsonl.gz"]
    assert run(recipe, "align", "--model", "exp/final", *cuts, "--out", "wide", "--fsa-engine", "torch") == 0
    assert json.loads((recipe / "wide/summary_dev.json").read_text())["aligned"] == 4
    cuts = ["--cuts", "fbank/cuts_test.jsonl.gz"]
    assert run(recipe, "align", "--model", "exp/final", *cuts, "--out", "other", "--fsa-engine", "torch") == 1
    assert f"features of {BINS + 3} dimensions, the aligner was trained on {BINS}" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["auto", "phone", "word"])
def test_boundaries_are_compared_with_the_true_ones(
    recipe: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    assert run(recipe, *align("scored")) == 0
    capsys.readouterr()
    found = ["--reference", "data/cuts_test.jsonl.gz", "--hypothesis", "scored/cuts_test_ali.jsonl.gz"]
    assert run(recipe, "boundaries", *found, "--lang", "lang", "--kind", kind, "--out", "scored/b.json") == 0
    name = "words of test" if kind == "word" else "phones of test"
    assert capsys.readouterr().out.splitlines()[1].startswith(name)
    figures = json.loads((recipe / "scored/b.json").read_text())[name]
    assert figures["within_20_ms"] > 95
    assert figures["unpaired"] == 0


def test_the_same_command_gives_the_same_alignments(recipe: Path) -> None:
    assert run(recipe, *hmm("again")) == 0
    for folder, model in (("first", "exp"), ("second", "again")):
        assert run(recipe, *[word.replace("exp/final", f"{model}/final") for word in align(folder)]) == 0
    assert (recipe / "first/phone_test.ctm").read_text() == (recipe / "second/phone_test.ctm").read_text()


def test_one_kind_of_model_alone_and_two_rounds(recipe: Path) -> None:
    assert run(recipe, *hmm("gmm", "--set", "emissions=gmm")) == 0
    assert json.loads((recipe / "gmm/final/aligner.json").read_text())["kind"] == "gmm"
    assert not (recipe / "gmm/network-1").exists()
    assert run(recipe, *hmm("two", "--set", "emissions=neural", "--set", "neural.rounds=2")) == 0
    assert json.loads((recipe / "two/final/aligner.json").read_text())["kind"] == "neural"
    assert (recipe / "two/network-2").is_dir()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["align", "--out", "x"], 2, "give --cuts of a recipe or --corpus-dir"),
        (["align", "--cuts", "data/cuts_dev.jsonl.gz", "--out", "x"], 2, "--cuts need a model"),
        (align("x", "--language", "de"), 2, "go with --corpus-dir"),
        (align("x", "--format", "ctn"), 2, "did you mean 'ctm'?"),
        (align("x", "--fsa-engine", "k3"), 2, "no FSA engine 'k3'"),
        (["align", "--corpus-dir", "data", "--checkpoint", "exp", "--out", "x"], 2, "--checkpoint goes with --cuts"),
        (["align", "--model", "lang", "--cuts", "data/cuts_dev.jsonl.gz", "--out", "x"], 1, "lang is not an aligner"),
        (["align", "--model", "exp/final", "--cuts", "data/no.jsonl.gz", "--out", "x"], 1, "data/no.jsonl.gz"),
        (["align", "--corpus-dir", "nowhere", "--out", "x"], 1, "nowhere does not exist"),
        (hmm("x", "--set", "gmm.gausians=3"), 2, "did you mean 'gaussians'?"),
        (["boundaries", "--reference", "a", "b", "--hypothesis", "c"], 2, "give one for one"),
    ],
)
def test_what_is_missing_or_wrong_is_one_line(
    recipe: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    assert run(recipe, *arguments) == code
    message = capsys.readouterr().err.strip()
    assert words in message
    assert "\n" not in message
    assert not (recipe / "x").exists()


CTC_CONFIG = """
model:
  in_dim: 12
  strides: [2]
  dilations: [1]
  dropout: 0.0
  transformer: {dim: 32, layers: 1, heads: 2, feed_forward: 64, position_kernel: 7, position_groups: 4,
                norm_first: true, dropout: 0.0, attention_dropout: 0.0}
batches: {max_duration: 8, workers: 0, buckets: 2, normalisation: speaker}
augment: {frequency_masks: 0, time_width: 0}
train: {max_updates: 150, validate_every: 150, average_best: 1, schedule: {peak: 5.0e-3}}
"""


def test_a_ctc_model_through_the_same_door(recipe: Path) -> None:
    (recipe / "ctc.yaml").write_text(CTC_CONFIG)
    whole = recipe / "whole"  # without the utterances that no training takes
    whole.mkdir()
    stats = Cmvn.load(recipe / "data/cmvn.safetensors")
    Cmvn(stats.stats("anna"), stats.speakers).save(whole / "cmvn.safetensors")
    for split, count in (("train", 24), ("dev", 4)):
        cuts = CutSet.from_jsonl_lazy(recipe / f"data/cuts_{split}.jsonl.gz")
        CutSet.from_cuts(list(cuts)[:count]).to_file(whole / f"cuts_{split}.jsonl.gz")
    train = ["--config", "ctc.yaml", "--data", "whole", "--lang", "lang", "--out", "ctc"]
    assert run(recipe, "train", *train) == 0
    cuts = ["--cuts", "data/cuts_dev.jsonl.gz", "--fsa-engine", "torch", "--format", "ctm,labels"]
    assert run(recipe, "align", "--checkpoint", "ctc/final", *cuts, "--out", "ctc_ali") == 0
    words, tokens = read_ctm(recipe / "ctc_ali/word_dev.ctm"), read_ctm(recipe / "ctc_ali/token_dev.ctm")
    assert list(words) == [f"dev{number}" for number in range(4)]
    for cut in list(CutSet.from_jsonl_lazy(recipe / "data/cuts_dev.jsonl.gz"))[:4]:
        supervision = cut.supervisions[0]
        assert [item.label for item in words[cut.id]] == supervision.text.split()
        assert [item.label for item in tokens[cut.id]] == [
            unit for word in supervision.text.split() for unit in (*WORDS[word].split(), "|")
        ]
        for item, true in zip(words[cut.id], supervision.alignment["word"], strict=True):
            assert true.start - 0.1 < item.start < item.end < true.end + 0.1
    assert LabelFile(recipe / "ctc_ali", "labels_dev_50hz").names[0] == "<blk>"
    lines = [json.loads(line) for line in (recipe / "ctc_ali/report_dev.jsonl").read_text().splitlines()]
    assert lines[4]["reason"].startswith("too short: 2 frames, its tokens take at least")
    assert lines[5]["unknown_words"] == ["zebra"]
