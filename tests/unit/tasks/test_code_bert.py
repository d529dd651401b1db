"""Training of BERT over codes, and its layers as features: what it learns, resume, and what is refused."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from in_folder import run
from sounds import write_sounds
from torch import Tensor, nn

from speechkit.common.errors import SpeechkitError
from speechkit.common.seeds import seed_everything
from speechkit.config.load import load_config
from speechkit.data.batches import load_cuts, stored_features
from speechkit.data.labels import LabelFile, LabelWriter
from speechkit.features.cmvn import Cmvn
from speechkit.lm.token_file import SentenceBatch
from speechkit.tasks.code_bert import CodeBertConfig, CodeBertModel, CodeBertTask
from speechkit.train.distributed import World
from speechkit.train.trainer import Trainer

CONFIG = """
model: {dim: 32, layers: 2, heads: 4, feed_forward: 64, dropout: 0.0, attention_dropout: 0.0}
mask: {probability: 0.05, length: 3}
max_tokens: 400
longest: 40
train: {max_updates: 200, validate_every: 50, log_every: 50, average_best: 1, schedule: {peak: 6.0e-3, hold: 0.2}}
"""
NAMES = [f"{one}-{two}" for one in range(3) for two in range(3)] + ["<unk>"]
ORIGIN = {"features": "codes", "seed": 0}


def cycle(count: int, seed: int) -> list[np.ndarray]:
    """Utterances that go through the nine codes in turn, from any of them: one code tells all others."""
    rng = np.random.default_rng(seed)
    return [(rng.integers(9) + np.arange(rng.integers(12, 80))) % 9 for _ in range(count)]


def write(folder: Path, name: str, utterances: list[np.ndarray], names: list[str] = NAMES, **origin: int) -> None:
    with LabelWriter(folder, name, 100.0, names, {**ORIGIN, **origin}) as writer:
        for number, codes in enumerate(utterances):
            writer.add(f"{name}{number}", codes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Codes, and a model of them in bert."""
    folder = tmp_path_factory.mktemp("récipe y")
    (folder / "bert.yaml").write_text(CONFIG)
    write(folder / "codes", "train", cycle(150, 0))
    write(folder / "codes", "dev", cycle(20, 1))
    assert run(folder, *command("bert")) == 0
    return folder


def command(out: str, *more: str, labels: str = "codes") -> list[str]:
    return ["code-bert", "--config", "bert.yaml", "--labels", labels, "--out", out, *more]


def test_a_language_of_codes_is_learnt(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Chance is one in nine; nothing but what stands around a gap tells what is in it."""
    assert run(folder, *command("bert")) == 0  # finished before: says so again
    printed = capsys.readouterr().out.split()
    assert printed[:2] == ["masked", "accuracy"]
    assert float(printed[2]) > 97
    assert float(printed[5].strip(",")) < 1.4
    assert float(printed[-3].strip("(")) == pytest.approx(9, abs=0.1)


def test_the_record_counts_codes(folder: Path) -> None:
    record = json.loads((folder / "bert/run.json").read_text())
    train = LabelFile(folder / "codes", "train")
    codes = sum(map(len, train.values()))
    assert record["codes"]["train"]["codes"] == codes
    assert record["codes"]["train"]["different"] == 9
    assert record["train_hours"] == pytest.approx(codes / 100 / 3600)


def test_validation_is_the_same_each_time_and_over_masked_codes(folder: Path) -> None:
    """Its masks are its own: it neither depends on the random state nor changes it."""
    task = task_of(folder)
    torch.manual_seed(1)
    with torch.inference_mode():
        first, state = task.validate(), torch.get_rng_state()
        torch.manual_seed(2)
        second = task.validate()
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)
    assert first == second
    assert first.metrics["perplexity"] == pytest.approx(math.exp(first.criterion))


def task_of(folder: Path, *sets: str) -> "StoppingTask":
    config = load_config(CodeBertConfig, folder / "bert.yaml", sets)
    seed_everything(3, "weights")
    return StoppingTask(config, folder / "codes", 3, World())


class StoppedError(Exception):
    """Stands for a kill."""


class StoppingTask(CodeBertTask):
    """Dies after so many batches."""

    left = 10**9

    def loss(self, model: nn.Module, batch: SentenceBatch) -> tuple[Tensor, float, dict[str, float]]:
        self.left -= 1
        if self.left < 0:
            raise StoppedError
        return super().loss(model, batch)


def train(folder: Path, out: Path, stop_after: int = 10**9) -> dict[str, Tensor]:
    sets = [f"train.{each}" for each in ("max_updates=12", "validate_every=4", "save_every=2", "average_best=2")]
    task = task_of(folder, *sets, "model.dropout=0.1", "model.layer_drop=0.2")
    task.left = stop_after
    return Trainer(task.config.train, task, task.batches, out, 3, World()).run()


def test_a_killed_training_ends_as_an_uninterrupted_one(folder: Path, tmp_path: Path) -> None:
    whole = train(folder, tmp_path / "whole")
    for stop_after in (7, 3):
        with pytest.raises(StoppedError):
            train(folder, tmp_path / "killed", stop_after)
    resumed = train(folder, tmp_path / "killed")
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_codes_that_are_unknown_are_no_targets(folder: Path, tmp_path: Path) -> None:
    """Checklist 3.4: dev has codes that training has not seen; what is said of dev is said of the others."""
    strange = cycle(20, 1)
    for codes in strange:
        codes[::20] = NAMES.index("<unk>")
    write(tmp_path, "train", cycle(150, 0))
    write(tmp_path, "dev", strange)
    task = CodeBertTask(load_config(CodeBertConfig, folder / "bert.yaml"), tmp_path, 0, World())
    task.module.load_state_dict(CodeBertModel.load(folder / "bert/final").module.state_dict())
    task.module.eval()
    with torch.inference_mode():
        assert task.module.unknown == 9
        assert task.validate().metrics["masked_accuracy"] > 0.9
    unknown = sum(int((codes == 9).sum()) for codes in strange) / sum(map(len, strange))
    assert task.usage["dev"]["unknown"] == pytest.approx(unknown)
    assert task.usage["dev"]["different"] == 9


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--labels", "none"], 1, "none/train.jsonl does not exist"),
        (["--labels", "one"], 1, "one/train.bin holds fewer than two different codes"),
        (["--labels", "mixed"], 1, "mixed: train and dev hold codes of different kinds"),
        (["--labels", "empty"], 1, "empty/train.bin holds fewer than two different codes"),
        (["--set", "mask.length=90", "--set", "longest=100"], 1, "no utterance has the 90 codes of a masked span"),
        (["--set", "longest=500"], 2, "longest (500) is at least mask.length (3) and at most max_tokens (400)"),
        (["--set", "mask.probability=0"], 2, "mask.probability is more than 0"),
        (["--set", "mask.lenth=5"], 2, "did you mean"),
        (["--set", "model.dim=15", "--set", "model.heads=3"], 2, "model.dim is even"),
    ],
)
def test_what_is_wrong_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    write(folder / "one", "train", [np.full(20, 4)])
    write(folder / "one", "dev", [np.full(20, 4)])
    write(folder / "mixed", "train", cycle(3, 0))
    write(folder / "mixed", "dev", cycle(3, 0), seed=1)
    write(folder / "empty", "train", [])
    write(folder / "empty", "dev", [])
    assert run(folder, *command("x", *arguments)) == code
    message = capsys.readouterr().err.strip()
    assert words in message
    assert "\n" not in message
    assert not (folder / "x").exists()


# Its layers as features.


@pytest.fixture(scope="module")
def data(folder: Path) -> Path:
    """Recordings of 0.5 to 0.9 s, and codes of them, 100 a second, of the language that the model knows."""
    (folder / "data").mkdir()
    data = write_sounds(folder / "data", train=4)
    rng = np.random.default_rng(5)
    for split in ("train", "dev"):
        with LabelWriter(folder / "of data", split, 100.0, NAMES, ORIGIN) as writer:
            for cut in load_cuts(data / f"cuts_{split}.jsonl.gz"):
                frames = 1 + (cut.num_samples - 465) // 160
                writer.add(cut.id, (rng.integers(9) + np.arange(frames)) % 9)
    return data


def extract(folder: Path, out: Path, *more: str, codes: str = "of data") -> int:
    options = ["--checkpoint", "bert/final", "--layer", "2", "--codes", codes, "--in", "data", "--out", str(out)]
    return run(folder, "features", *options, "--nj", "1", *more)


@pytest.mark.parametrize("nj", ["1", "2"])
def test_layers_are_stored_for_each_cut_by_its_codes(folder: Path, data: Path, tmp_path: Path, nj: str) -> None:
    """Checklist 3.8 and 3.5: continuous outputs of the frozen model, at the rate of the codes, in even pieces."""
    assert extract(folder, tmp_path / "hidden", "--nj", nj) == 0
    model, every, cut_into = CodeBertModel.load(folder / "bert/final"), [], []
    module = model.module.eval()
    for split in ("train", "dev"):
        labels = LabelFile(folder / "of data", split)
        cuts = list(load_cuts(tmp_path / f"hidden/cuts_{split}.jsonl.gz"))
        assert (
            [cut.id for cut in cuts] == [cut.id for cut in load_cuts(data / f"cuts_{split}.jsonl.gz")] == list(labels)
        )
        for cut in cuts:
            codes = torch.from_numpy(labels[cut.id].astype(np.int64))
            count = int(np.ceil(len(codes) / 40))
            pieces = [codes[len(codes) * n // count : len(codes) * (n + 1) // count] for n in range(count)]
            cut_into.append(len(pieces))
            expected = torch.cat([module.layers(each[None], torch.tensor([len(each)]))[1][0] for each in pieces])
            (found,) = stored_features([cut])
            assert found.shape == (len(codes), 32) == (cut.features.num_frames, cut.features.num_features)
            assert (found - expected).abs().max() <= 2**-9 + 1e-5
            assert (cut.features.frame_shift, cut.features.type) == (0.01, "layer-2")
            every += [expected] if split == "train" else []
    assert 2 in cut_into  # audio is longer than a sequence of the training
    statistics = Cmvn.load(tmp_path / "hidden/cmvn.safetensors").stats()
    mean = statistics.total / statistics.count
    torch.testing.assert_close(mean, torch.cat(every).mean(0).double(), atol=1e-3, rtol=0)


def test_finished_features_are_made_anew_for_other_codes_only(folder: Path, data: Path, tmp_path: Path) -> None:
    sets = {name: dict(LabelFile(folder / "of data", name)) for name in ("train", "dev")}

    def rewrite(change: int) -> None:
        for name, codes in sets.items():
            with LabelWriter(folder / "changed", name, 100.0, NAMES, ORIGIN) as writer:
                for cut, each in codes.items():
                    writer.add(cut, (each + change) % 9)

    times = []
    for change in (0, 0, 1):
        rewrite(change)
        assert extract(folder, tmp_path / "out", codes="changed") == 0
        times.append((tmp_path / "out/storage/train/0000.lca").stat().st_mtime_ns)
    assert times[0] == times[1] != times[2]


def test_what_does_not_go_together(
    folder: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train, dev = (dict(LabelFile(folder / "of data", name)) for name in ("train", "dev"))
    first = next(iter(train))
    write_all(folder / "missing", {"train": {name: each for name, each in train.items() if name != first}, "dev": dev})
    write_all(folder / "short", {"train": {**train, first: train[first][:-15]}, "dev": dev})
    write_all(folder / "other", {"train": train, "dev": dev}, names=[*NAMES[:-1], "9-9"])
    (folder / "no codes").mkdir()
    seconds = len(train[first]) / 100
    for codes, message in (
        ("missing", f"missing has no codes of {first}; make them of all sets"),
        ("short", f"short has {seconds - 0.15:.2f} s of codes of {first}, whose audio has {seconds + 0.03:.2f} s"),
        ("other", "other/dev.bin holds other codes than bert/final was trained on"),
        ("no codes", "no codes holds no codes; correct --codes"),
    ):
        assert extract(folder, tmp_path / codes, codes=codes) == 1
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert message in error
        assert not (tmp_path / codes / "cuts_train.jsonl.gz").exists()
    assert extract(folder, tmp_path / "x", "--layer", "3") == 1
    assert "has layers 1 to 2, not 3" in capsys.readouterr().err
    plain = ["features", "--in", "data", "--out", str(tmp_path / "x")]
    assert run(folder, *plain, "--codes", "of data") == 2
    assert "--codes goes with --checkpoint" in capsys.readouterr().err
    assert run(folder, *plain, "--checkpoint", "bert/final", "--layer", "1") == 1
    assert "reads codes, not waveforms" in capsys.readouterr().err
    with pytest.raises(SpeechkitError, match="is not a BERT over codes"):
        CodeBertModel.load(folder)


def write_all(folder: Path, sets: dict[str, dict[str, np.ndarray]], names: list[str] = NAMES) -> None:
    for name, codes in sets.items():
        with LabelWriter(folder, name, 100.0, names, ORIGIN) as writer:
            for cut, each in codes.items():
                writer.add(cut, each)
