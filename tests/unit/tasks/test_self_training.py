"""From labels with errors to better ones without a transcript: relabelled cuts, models of given features, a choice."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from in_folder import run
from lhotse import CutSet, Features, LilcomChunkyWriter, MonoCut, SupervisionSegment

from speechkit.align.models import AlignerModel, StoredFrames
from speechkit.common.errors import SpeechkitError
from speechkit.data.manifests import read_cuts
from speechkit.features.cmvn import Cmvn, CmvnStats
from speechkit.metrics.error_rate import count_corpus
from speechkit.report.transcripts import read_transcripts
from speechkit.tasks.unsupervised_choice import candidate, choice_score

pytest.importorskip("kaldifst", reason="decoding graphs need kaldifst")
pytest.importorskip("kenlm", reason="the choice needs KenLM")
PHONES, DIM = "abcdef", 6
WORDS = ("abc", "def", "fab", "cede", "bad")
SETTINGS = (
    "emissions=gmm", "hmm.states=1", "hmm.silence_states=3", "hmm.acoustic_scale=1",
    "gmm.features.cepstra=0", "gmm.features.delta_order=0",
    "gmm.iterations=12", "gmm.growth_iterations=6", "gmm.gaussians=12",
)  # fmt: skip


def sentence(rng: np.random.Generator) -> list[str]:
    return list("".join(rng.choice(WORDS, size=rng.integers(2, 5))))


def with_errors(phones: list[str], rng: np.random.Generator) -> list[str]:
    """Every tenth phone is lost, every tenth another."""
    return [str(rng.choice(list(PHONES))) if rng.random() < 0.1 else phone for phone in phones if rng.random() > 0.1]


def make_data(folder: Path) -> dict[str, dict[str, list[str]]]:
    """Cuts without transcripts, on frames that tell phones with some noise, and what is said in them."""
    rng = np.random.default_rng(0)
    spectra = {name: rng.normal(0, 1.5, size=DIM) for name in (*PHONES, "sil")}
    truth: dict[str, dict[str, list[str]]] = {}
    cmvn = Cmvn()
    folder.mkdir()
    with LilcomChunkyWriter(folder / "features") as writer:
        for split, count in (("train", 60), ("dev", 20)):
            truth[split], cuts = {}, []
            for number in range(count):
                name, phones = f"{split}{number}", sentence(rng)
                truth[split][name] = phones
                rows = [np.repeat(spectra[phone][None], rng.integers(2, 5), 0) for phone in phones]
                pause = np.repeat(spectra["sil"][None], 4, 0)
                array = np.concatenate([pause, *rows, pause])
                array = (array + rng.normal(0, 0.8, array.shape)).astype(np.float32)
                cmvn.add("anna", CmvnStats.of(torch.from_numpy(array)))
                seconds = len(array) / 25
                features = Features(
                    type="pooled", num_frames=len(array), num_features=DIM, frame_shift=0.04, sampling_rate=16000,
                    start=0, duration=seconds, storage_type=writer.name, storage_path=str(writer.storage_path),
                    storage_key=writer.write(name, array), recording_id=name, channels=0,
                )  # fmt: skip
                silent = SupervisionSegment(name, name, 0, seconds, speaker="anna")
                cuts.append(MonoCut(name, 0, seconds, 0, features=features, supervisions=[silent]))
            CutSet.from_cuts(cuts).to_file(folder / f"cuts_{split}.jsonl.gz")
    cmvn.save(folder / "cmvn.safetensors")
    return truth


def write_hypotheses(path: Path, words: dict[str, list[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{' '.join([name, *each])}\n" for name, each in words.items()))


def rate(reference: dict[str, list[str]], found: dict[str, list[str]]) -> float:
    return count_corpus(list(reference.values()), [found[name] for name in reference]).rate


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, list[str]]]]:
    """Labels with errors for both sets, unpaired text, and models trained on the labels."""
    folder = tmp_path_factory.mktemp("self training")
    truth = make_data(folder / "data")
    rng = np.random.default_rng(1)
    for split, said in truth.items():
        heard = {name: with_errors(phones, rng) for name, phones in said.items()}
        write_hypotheses(folder / f"gan_{split}/hyp.txt", heard)
    (folder / "text.txt").write_text("".join(f"{' '.join(sentence(rng))}\n" for _ in range(300)))
    assert run(folder, "unpaired-text", "--text", "text.txt", "--phones", "--out", "text") == 0
    files = ("--cuts", "data/cuts_train.jsonl.gz", "data/cuts_dev.jsonl.gz")
    labels = ("--hyp", "gan_train/hyp.txt", "gan_dev/hyp.txt")
    assert run(folder, "relabel", *files, *labels, "--out", "labels") == 0
    assert (
        run(folder, "ngram", "--text", "text/words.txt", "--order", "3", "--out", "lm.arpa", "--estimator", "own") == 0
    )
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    model = ("--data", "labels", "--lang", "text/lang", "--out", "hmm", "--fsa-engine", "torch")
    assert run(folder, "hmm", *model, *settings) == 0
    assert run(folder, "graph", "--lang", "text/lang", "--hmm", "hmm/final", "--lm", "lm.arpa", "--out", "graph") == 0
    return folder, truth


def decode(folder: Path, out: str, split: str, *options: str) -> dict[str, list[str]]:
    needed = ("--model", "hmm/final", "--graph", "graph", "--lang", "text/lang", "--out", out)
    assert run(folder, "hmm-decode", *needed, "--cuts", f"data/cuts_{split}.jsonl.gz", *options) == 0
    return read_transcripts(folder / out / "hyp.txt")


def test_cuts_have_what_was_heard_and_nothing_else(recipe: tuple[Path, dict[str, dict[str, list[str]]]]) -> None:
    folder, _ = recipe
    heard = read_transcripts(folder / "gan_train/hyp.txt")
    cuts = list(read_cuts(folder / "labels/cuts_train.jsonl.gz"))
    assert {cut.id: cut.supervisions[0].text.split() for cut in cuts} == heard
    assert cuts[0].supervisions[0].speaker == "anna"


def test_models_of_one_state_on_given_features(recipe: tuple[Path, dict[str, dict[str, list[str]]]]) -> None:
    model = AlignerModel.load(recipe[0] / "hmm/final")
    assert model.fbank == StoredFrames(num_bins=DIM, frame_shift_ms=40.0, frame_length_ms=40.0)
    assert model.units.names == (*PHONES, "sil")
    record = json.loads((recipe[0] / "hmm/run.json").read_text())
    assert (record["system"], record["seed"]) == ("hmm", 0)
    assert record["train_hours"] > 0
    assert len(model.emissions.log_posteriors(torch.zeros(1, 9))[0]) == 9  # six units of one state, silence of three


def test_models_trained_on_labels_make_fewer_errors(recipe: tuple[Path, dict[str, dict[str, list[str]]]]) -> None:
    folder, truth = recipe
    for split, said in truth.items():
        labels = read_transcripts(folder / f"gan_{split}/hyp.txt")
        found = decode(folder, f"hmm_{split}", split)
        assert 12 < rate(said, labels) < 25
        assert rate(said, found) < rate(said, labels) / 2
        assert not (folder / f"hmm_{split}/ref.txt").exists()  # there are no transcripts
    assert decode(folder, "hmm_dev_2", "dev", "--nj", "2") == read_transcripts(folder / "hmm_dev/hyp.txt")


def test_choice_among_weights(recipe: tuple[Path, dict[str, dict[str, list[str]]]]) -> None:
    folder, truth = recipe
    for weight in ("0.01", "2.3", "60"):
        decode(folder, f"weight-{weight}", "dev", "--lm-weight", weight)
    names = [f"weight-{weight}" for weight in ("0.01", "2.3", "60")]
    command = ("unsup-select", "--labels", "gan_dev/hyp.txt", "--lm", "lm.arpa", "--out", "best", "--decodings", *names)
    assert run(folder, *command, "--floor", "0.02") == 0
    selection = json.loads((folder / "best/selection.json").read_text())
    scores = {each["name"]: each["score"] for each in selection["candidates"]}
    assert selection["chosen"] == min(scores, key=lambda name: scores[name])
    errors = {name: rate(truth["dev"], read_transcripts(folder / name / "hyp.txt")) for name in names}
    assert errors[selection["chosen"]] == min(errors.values())
    assert (folder / "best/hyp.txt").read_text() == (folder / selection["chosen"] / "hyp.txt").read_text()
    again = decode(folder, "again", "dev", "--weights", "best/weights.json")
    assert again == read_transcripts(folder / "best/hyp.txt")


def test_the_figure_of_the_choice(recipe: tuple[Path, dict[str, dict[str, list[str]]]]) -> None:
    assert choice_score(math.e**2, 0.3, 0.1) == pytest.approx(0.6)
    assert choice_score(math.e**2, 0.05, 0.1) == pytest.approx(0.2)
    lm = recipe[0] / "lm.arpa"
    labels = {"u": ["a", "b", "c"], "v": ["d", "e", "f"]}
    found = candidate("x", {"u": ["a", "c"], "v": ["d", "e", "f"]}, labels, lm, 0.0)
    assert found.error_rate == pytest.approx(1 / 6)
    assert found.score == pytest.approx(math.log(found.perplexity) / 6)
    with pytest.raises(SpeechkitError, match="x and the labels are of different utterances"):
        candidate("x", {"u": ["a"]}, labels, lm, 0.0)


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("relabel --cuts data/cuts_dev.jsonl.gz --hyp gan_train/hyp.txt --out x", 1, "lacks 20 utterances of"),
        ("relabel --cuts data/cuts_dev.jsonl.gz --hyp a b --out x", 2, "give one hyp.txt for each"),
        ("hmm --data labels --lang text/lang --out x", 2, "--set gmm.features.cepstra=0"),
        ("unsup-select --decodings gan_dev --labels gan_train/hyp.txt --lm lm.arpa --out x", 1, "different utterances"),
        ("unsup-select --decodings gan_dev --labels gan_dev/hyp.txt --lm lm.arpa --floor 2 --out x", 2, "--floor lies"),
    ],
)
def test_bad_input_is_one_line(
    recipe: tuple[Path, dict[str, dict[str, list[str]]]], capfd: pytest.CaptureFixture[str], command: str, code: int,
    message: str,
) -> None:  # fmt: skip
    assert run(recipe[0], *command.split()) == code
    shown = capfd.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1
    assert not (recipe[0] / "x").exists()


def test_a_lexicon_of_other_phones_is_refused(
    recipe: tuple[Path, dict[str, dict[str, list[str]]]], capfd: pytest.CaptureFixture[str]
) -> None:
    (recipe[0] / "other.txt").write_text("a b q\n" * 2)
    assert run(recipe[0], "unpaired-text", "--text", "other.txt", "--phones", "--out", "other") == 0
    assert run(recipe[0], "graph", "--lang", "other/lang", "--hmm", "hmm/final", "--lm", "lm.arpa", "--out", "x") == 1
    assert "no unit 'q'" in capfd.readouterr().err
