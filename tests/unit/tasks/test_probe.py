"""The probe by the command, on recordings of five sounds by ten speakers who all sound alike."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sounds import read_sound, write_sounds

from speechkit.cli import main
from speechkit.config.load import from_dict
from speechkit.features.mfcc import Mfcc, MfccConfig
from speechkit.models.cpc import Cpc
from speechkit.report.pictures import draw_layers
from speechkit.tasks.pretrain import PretrainConfig, save_pretrained
from speechkit.tasks.probe import Accuracy, Probed, best_layer
from speechkit.tasks.sources import Layer, Layers

SMALL = {
    "method": "cpc",
    "cpc": {"encoder": {"extractor": {"dim": 16}, "context_dim": 12}},
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of five sounds, with their times."""
    return write_sounds(tmp_path_factory.mktemp("sounds"), train=24)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained CPC."""
    folder = tmp_path_factory.mktemp("cpc") / "final"
    config = from_dict(PretrainConfig, SMALL, "test")
    torch.manual_seed(5)
    save_pretrained(folder, config, Cpc(config.cpc).state_dict())
    return folder


def probe(data: Path, out: Path, *more: str) -> int:
    """By the command, in one process."""
    return main(["probe", "--train", str(data / "cuts_train.jsonl.gz"), "--out", str(out), "--nj", "1", *more])


def test_phones_are_those_of_scikit_learn(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Frames and labels put together by hand, and classified by scikit-learn, give the same accuracy."""
    linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is the reference")
    assert probe(data, tmp_path, "--test", str(data / "cuts_dev.jsonl.gz"), "--set", "classifier.penalty=1e-4") == 0
    found = json.loads((tmp_path / "probe.json").read_text())
    sets = {}
    for split in ("train", "dev"):
        frames, labels = [], []
        with gzip.open(data / f"cuts_{split}.jsonl.gz", "rt") as lines:
            for cut in map(json.loads, lines):
                cepstra = Mfcc(MfccConfig()).extract(torch.from_numpy(read_sound(data, cut["id"])))
                for number, frame in enumerate(cepstra):
                    middle = number / 100 + 0.0125
                    for phone, start, duration, _ in cut["supervisions"][0]["alignment"]["phone"]:
                        if start <= middle < start + duration:
                            frames.append(frame.numpy())
                            labels.append(phone)
        sets[split] = np.array(frames), np.array(labels)
    x, y = sets["train"]
    reference = linear_model.LogisticRegression(C=1 / (2 * 1e-4 * len(x)), max_iter=1000)
    reference.fit((x - x.mean(0)) / x.std(0), y)
    right = reference.predict((sets["dev"][0] - x.mean(0)) / x.std(0)) == sets["dev"][1]
    assert found["sets"]["dev"]["frames"] == len(right)
    assert found["sets"]["dev"]["accuracy"] == pytest.approx(right.mean(), abs=0.01)
    assert 0.5 < found["sets"]["dev"]["accuracy"] < 1
    assert (found["classes"], found["fitted_frames"], found["training_frames"]) == (5, len(x), len(x))
    assert (found["source"]["features"], found["frame_rate"], found["seed"]) == ("mfcc", 100, 0)
    line = capsys.readouterr().out
    assert line.startswith(f"mfcc: phone accuracy: dev {100 * found['sets']['dev']['accuracy']:.2f} % of {len(right)}")
    assert line.count("\n") == 1


def test_speakers_are_counted_on_utterances_held_out(data: Path, tmp_path: Path) -> None:
    """Of two or three utterances of each of ten speakers, who sound alike, one is held out: chance."""
    assert probe(data, tmp_path, "--target", "speaker", "--features", "log-mel", "--seed", "3") == 0
    found = json.loads((tmp_path / "probe.json").read_text())
    assert found["classes"] == 10
    assert found["sets"].keys() == {"held_out"}
    assert found["sets"]["held_out"]["accuracy"] < 0.3
    frames = {}
    for number in range(24):
        frames[number] = 1 + (len(read_sound(data, f"train{number}")) - 400) // 160
    assert found["training_frames"] + found["sets"]["held_out"]["frames"] == sum(frames.values())


def test_layers_and_untrained_models(
    data: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Frames of a layer; with --random those of the architecture with other weights, the same for the same seed; a
    sample where there are more frames than memory may hold."""
    test = ["--test", str(data / "cuts_dev.jsonl.gz"), "--checkpoint", str(model)]
    accuracies = {}
    for name, more in (("own", []), ("random", ["--random"]), ("again", ["--random"])):
        assert probe(data, tmp_path / name, *test, "--layer", "2", *more, "--set", "max_frames=500") == 0
        found = json.loads((tmp_path / name / "probe.json").read_text())
        assert (found["source"]["layer"], found["fitted_frames"]) == (2, 500)
        assert found["training_frames"] > 500
        assert found["source"].get("untrained") == (0 if more else None)
        accuracies[name] = found["sets"]["dev"]
    assert accuracies["random"] == accuracies["again"] != accuracies["own"]
    assert "fitting on a sample of 500 of" in capsys.readouterr().err
    waveform = torch.randn(3200)
    first, same, other = (Layer(model, 1, untrained=seed)([waveform])[0] for seed in (0, 0, 1))
    assert first.shape == (20, 16)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert not torch.equal(first, Layer(model, 1)([waveform])[0])


def test_layers_are_compared_in_one_pass(
    data: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each as if it were probed by itself, though the audio is read once; the best is that of most right frames."""
    test = ["--test", str(data / "cuts_dev.jsonl.gz"), "--checkpoint", str(model), "--set", "max_frames=500"]
    alone = {}
    for layer in ("1", "2"):
        assert probe(data, tmp_path / layer, *test, "--layer", layer) == 0
        alone[layer] = json.loads((tmp_path / layer / "probe.json").read_text())
    capsys.readouterr()
    heard, listen = [], Layers._frames
    monkeypatch.setattr(Layers, "_frames", lambda *each: heard.append(1) or listen(*each))
    assert probe(data, tmp_path / "all", *test, "--layer", "all") == 0
    assert len(heard) == 24 + 3
    assert {path.name for path in (tmp_path / "all").iterdir()} <= {"probe.json", "probe.png"}
    found = json.loads((tmp_path / "all/probe.json").read_text())
    assert found["layers"].keys() == {"1", "2"}
    for layer, each in found["layers"].items():
        expected = alone[layer]["sets"]["dev"]
        assert each["sets"]["dev"]["accuracy"] == pytest.approx(expected["accuracy"], abs=0.005)
        assert (each["sets"]["dev"]["frames"], each["fitted_frames"]) == (expected["frames"], 500)
    accuracies = {layer: each["sets"]["dev"]["accuracy"] for layer, each in found["layers"].items()}
    best = max(accuracies, key=lambda layer: accuracies[layer])
    assert (found["best"], found["best_on"]) == (int(best), "dev")
    assert "layer" not in found["source"]
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[:2] == ["phone accuracy (%)", "layer     dev"]
    assert lines[2].split() == ["1", f"{100 * accuracies['1']:.2f}"]
    assert lines[4] == f"best: layer {best}, {100 * accuracies[best]:.2f} % of dev"
    assert "3 speakers of dev are in the training set too" in said.err


def test_a_picture_of_accuracies_by_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    axes = pytest.importorskip("matplotlib.axes").Axes
    drawn, plot = {}, axes.plot

    def listening(self: object, x: list[int], y: list[float], **words: object) -> object:
        drawn[words["label"]] = (x, y)
        return plot(self, x, y, **words)

    monkeypatch.setattr(axes, "plot", listening)
    assert draw_layers(tmp_path / "probe.png", [1, 4], {"dev": [0.25, 0.5], "test": [0.5, 0.75]}, "phone")
    assert drawn == {"dev": ([1, 4], [25, 50]), "test": ([1, 4], [50, 75])}
    assert (tmp_path / "probe.png").read_bytes().startswith(b"\x89PNG")


def test_of_equal_layers_the_lowest_is_the_best() -> None:
    counts = {3: (7, 9), 2: (7, 1), 1: (6, 9)}
    found = {
        layer: Probed("phone", {"dev": Accuracy(dev, 10), "test": Accuracy(test, 10)}, 2, 5, 5)
        for layer, (dev, test) in counts.items()
    }
    assert best_layer(found) == 2


def test_frames_are_labelled_where_their_middle_is(model: Path) -> None:
    """The field of frame t of CPC begins 153 samples before 160 t: its middle is 5 ms after that, not 15."""
    source = Layer(model, 1)
    assert source.window / 2 == pytest.approx((465 - 2 * 153) / 2 / 16000)
    assert len(source([torch.randn(159)])[0]) == 1
    assert len(source([torch.randn(158)])[0]) == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "--target phone needs --test"),
        (["--target", "speaker", "--test", "x"], "takes none"),
        (["--test", "x", "--layer", "1"], "--checkpoint and --layer go together"),
        (["--test", "x", "--checkpoint", "m", "--layer", "1", "all"], "--layer takes numbers, or `all` by itself"),
        (["--test", "x", "--random"], "--random is a model without training"),
        (["--test", "x", "--checkpoint", "m", "--layer", "1", "--normalise"], "--normalise is for features without"),
    ],
)
def test_wrong_use_is_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert probe(data, tmp_path / "out", *more) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_sets_without_labels_are_named(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "dev"):
        with gzip.open(data / f"cuts_{split}.jsonl.gz", "rt") as lines:
            cuts = [json.loads(line) for line in lines]
        for cut in cuts:
            del cut["supervisions"][0]["alignment"]
        with gzip.open(tmp_path / f"cuts_{split}.jsonl.gz", "wt") as bare:
            bare.writelines(json.dumps(cut) + "\n" for cut in cuts)
    test = ["--test", str(tmp_path / "cuts_dev.jsonl.gz")]
    assert probe(tmp_path, tmp_path / "out", *test) == 1
    assert "cuts_train.jsonl.gz has no phones to tell apart; name cuts with alignments" in capsys.readouterr().err
    assert probe(data, tmp_path / "out", *test) == 1
    assert "set dev has no frame with a phone" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
