"""Training of neural language models: what they learn, resume, checkpoints, and their use for rescoring."""

import gzip
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from in_folder import run
from safetensors.torch import load_file
from torch import Tensor, nn

from speechkit.common.errors import SpeechkitError
from speechkit.common.seeds import seed_everything
from speechkit.config.load import load_config
from speechkit.lm.perplexity import perplexity
from speechkit.lm.token_file import SentenceBatch
from speechkit.tasks.language_model import (
    LanguageModel,
    LmConfig,
    LmTask,
    LmText,
    model_name,
    prepare_text,
    prepared_units,
)
from speechkit.train.distributed import World
from speechkit.train.trainer import Trainer

CPU = torch.device("cpu")
CONFIG = """
unit: word
model: {dim: 32, layers: 2, heads: 2, feed_forward: 64, norm_first: true, dropout: 0.0, attention_dropout: 0.0}
max_tokens: 600
longest: 60
train: {max_updates: 300, validate_every: 100, log_every: 100, average_best: 2, schedule: {peak: 5.0e-3, hold: 0.2}}
"""
WORDS = ("one", "two", "six")
ORDER = {  # of the three words and the end after each word
    "<s>": (0.6, 0.3, 0.1, 0.0),
    "one": (0.1, 0.6, 0.1, 0.2),
    "two": (0.1, 0.0, 0.7, 0.2),
    "six": (0.5, 0.2, 0.0, 0.3),
}


def markov(count: int, seed: int) -> tuple[list[list[str]], float]:
    """Sentences of a chain of first order, and their natural-log probability."""
    rng, total = np.random.default_rng(seed), 0.0
    sentences = []
    for _ in range(count):
        words: list[str] = []
        while True:
            probs = ORDER[words[-1] if words else "<s>"]
            choice = int(rng.choice(4, p=probs))
            total += math.log(probs[choice])
            if choice == 3:
                break
            words.append(WORDS[choice])
        sentences.append(words)
    return sentences, total


def lines(sentences: list[list[str]]) -> str:
    return "".join(f"{' '.join(words)}\n" for words in sentences)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text of a Markov chain, plain and compressed, another of it for dev, and a model of it in lm."""
    folder = tmp_path_factory.mktemp("récipe y")
    (folder / "lm.yaml").write_text(CONFIG)
    with gzip.open(folder / "train.txt.gz", "wt") as stream:
        stream.write(lines(markov(1500, 0)[0]))
    (folder / "dev.txt").write_text(lines(markov(300, 1)[0]))
    assert run(folder, *command("lm")) == 0
    return folder


def command(out: str, *more: str) -> list[str]:
    return ["lm", "--config", "lm.yaml", "--text", "train.txt.gz", "--dev-text", "dev.txt", "--out", out, *more]


def test_a_markov_chain_is_learnt_to_its_entropy(folder: Path) -> None:
    sentences, total = markov(300, 1)
    model = LanguageModel.load(folder / "lm/final")
    found = sum(model.log_probs(sentences, CPU))
    assert found == pytest.approx(total, rel=0.01)


def test_perplexity_counts_as_that_of_ngrams(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, *command("lm")) == 0  # finished before: says so again
    printed = capsys.readouterr().out.split()
    sentences, _ = markov(300, 1)
    total = sum(LanguageModel.load(folder / "lm/final").log_probs(sentences, CPU))
    count = sum(map(len, sentences)) + len(sentences)
    assert float(printed[1]) == pytest.approx(math.exp(-total / count), abs=0.006)
    pytest.importorskip("kenlm", reason="perplexity of n-grams needs KenLM")
    plain = folder / "plain.txt"
    plain.write_text(lines(markov(1500, 0)[0]))
    assert run(folder, "ngram", "--text", "plain.txt", "--order", "2", "--estimator", "own", "--out", "2.arpa") == 0
    ngram = perplexity(folder / "2.arpa", folder / "dev.txt")
    assert ngram.tokens == count
    assert float(printed[1]) == pytest.approx(ngram.value, rel=0.02)  # a bigram is all there is to know


def test_scores_do_not_depend_on_what_else_is_scored(folder: Path) -> None:
    model = LanguageModel.load(folder / "lm/final")
    sentences = [["one"], [], ["six", "one", "two"], ["two", "unknown", "six"], ["one"] * 40]
    together = model.log_probs(sentences, CPU)
    assert together == pytest.approx([model.log_probs([words], CPU)[0] for words in sentences], abs=1e-4)
    assert all(math.isfinite(score) and score < 0 for score in together)
    assert together[3] < model.log_probs([["two", "one", "six"]], CPU)[0]
    assert model.log_probs([], CPU) == []


@pytest.mark.parametrize("unit", ["char", "bpe"])
def test_spelled_units_know_words_too(unit: str, folder: Path) -> None:
    if unit == "bpe":
        pytest.importorskip("sentencepiece", reason="word pieces need sentencepiece")
    changes = ["--set", f"unit={unit}", "--set", "vocab_size=14"]
    assert run(folder, *command(unit, *changes)) == 0
    sentences, total = markov(300, 1)
    model = LanguageModel.load(folder / unit / "final")
    found = sum(model.log_probs(sentences, CPU))
    assert found == pytest.approx(total, rel=0.15)  # 39 % more without a look at the word before
    assert math.isfinite(model.log_probs([["toe", "Ω"]], CPU)[0])


class StoppedError(Exception):
    """Stands for a kill."""


class StoppingTask(LmTask):
    """Dies after so many batches."""

    left = 10**9

    def loss(self, model: nn.Module, batch: SentenceBatch) -> tuple[Tensor, float, dict[str, float]]:
        self.left -= 1
        if self.left < 0:
            raise StoppedError
        return super().loss(model, batch)


CONV = "{embedding: 16, dropout: 0.0, blocks: [{width: 32, kernel: 2, bottleneck: 16, repeat: 2}]}"
ADAPTIVE = "{embedding: 16, dropout: 0.1, cutoffs: [3], blocks: [{width: 32, kernel: 3}]}"


@pytest.mark.parametrize("unit", ["word", "char"])
def test_convolutions_learn_the_chain_too(unit: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    conv = CONV.replace("kernel: 2", "kernel: 7") if unit == "char" else CONV
    assert run(folder, *command(f"conv-{unit}", "--set", f"unit={unit}", "--set", f"conv={conv}")) == 0
    sentences, total = markov(300, 1)
    model = LanguageModel.load(folder / f"conv-{unit}/final")
    assert model_name(folder / f"conv-{unit}/final") == f"{unit} ConvLM"
    found = sum(model.log_probs(sentences, CPU))
    assert found == pytest.approx(total, rel=0.01 if unit == "word" else 0.15)
    count = sum(map(len, sentences)) + len(sentences)  # per word, whatever the unit
    assert float(capsys.readouterr().out.split()[1]) == pytest.approx(math.exp(-found / count), abs=0.006)


def test_rare_words_are_unknown_ones(folder: Path) -> None:
    (folder / "rare.txt").write_text(lines([["one", "two"]] * 40 + [["rare"], ["seldom", "one"]]))
    changes = [
        "--text",
        "rare.txt",
        "--set",
        "min_count=2",
        "--set",
        "train.max_updates=100",
        "--set",
        f"conv={ADAPTIVE}",
    ]
    assert run(folder, *command("rare", *changes)) == 0
    model = LanguageModel.load(folder / "rare/final")
    assert list(model.units.tokens)[1:] == ["<unk>", "one", "two"]  # the most frequent first
    rare, other = model.log_probs([["rare"], ["never", "seen"]], CPU)
    assert rare > math.log(0.005)
    assert model.log_probs([["seldom"]], CPU) == pytest.approx([rare], abs=1e-5)
    assert math.isfinite(other)


def train(folder: Path, out: Path, stop_after: int = 10**9, *more: str) -> dict[str, Tensor]:
    sets = [f"train.{each}" for each in ("max_updates=12", "validate_every=4", "save_every=2")]
    sets += ["max_tokens=100", "model.dropout=0.1", *more]
    config = load_config(LmConfig, folder / "lm.yaml", sets)
    dev = LmText(folder / "dev.txt", lambda: markov(20, 1)[0])
    prepare_text(out / "text", config, dev, dev)
    seed_everything(3, "weights")
    task = StoppingTask(LanguageModel(config, prepared_units(out / "text")), out / "text", 3, World())
    task.left = stop_after
    return Trainer(config.train, task, task.batches, out, 3, World()).run()


@pytest.mark.parametrize("more", [[], [f"conv={ADAPTIVE}"]], ids=["transformer", "conv"])
def test_a_killed_training_ends_as_an_uninterrupted_one(folder: Path, tmp_path: Path, more: list[str]) -> None:
    whole = train(folder, tmp_path / "whole", 10**9, *more)
    for stop_after in (7, 3):
        with pytest.raises(StoppedError):
            train(folder, tmp_path / "killed", stop_after, *more)
    resumed = train(folder, tmp_path / "killed", 10**9, *more)
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_one_seed_gives_the_same_model_and_others_others(folder: Path) -> None:
    changes = ["--set", "train.max_updates=3"]
    for out, seed in (("a", "5"), ("b", "5"), ("c", "6")):
        assert run(folder, *command(out, *changes, "--seed", seed)) == 0
    first, same, other = (load_file(folder / out / "final/model.safetensors") for out in "abc")
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["embedding"], other["embedding"])


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--set", "unit=word", "--text", "none.txt"], 1, "none.txt does not exist"),
        (["--set", "unit=wrd"], 2, "'unit' cannot be 'wrd', did you mean 'word'?"),
        (["--set", "model.dim=15", "--set", "model.heads=3"], 2, "model.dim is even"),
        (["--set", "unit=char", "--set", "min_count=2"], 2, "min_count leaves out words"),
        (["--set", "unit=char", "--set", "conv={cutoffs: [5]}"], 2, "conv.cutoffs part words by their frequency"),
        (["--set", "conv={cutoffs: [5, 3]}"], 2, "cutoffs rise from 1, unlike [5, 3]"),
        (["--set", "conv={blocks: [{width: 0}]}"], 2, "width, kernel and repeat are at least 1"),
        (["--set", "conv={widths: [3]}"], 2, "unknown configuration key 'conv.widths'"),
        (["--set", "longest=1000"], 2, "longest (1000) is at least 1 and at most max_tokens (600)"),
        (["--lang", "lang"], 2, "--dev-cuts and --lang go together"),
        (["--text", "empty.txt"], 1, "holds no words"),
    ],
)
def test_what_is_wrong_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    (folder / "empty.txt").write_text("\n\n")
    assert run(folder, *command("x", *arguments)) == code
    message = capsys.readouterr().err.strip()
    assert words in message
    assert "\n" not in message
    assert not (folder / "x/final").exists()


def test_other_text_in_the_same_folder_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "other.txt").write_text("one two\n")
    assert run(folder, *command("lm", "--text", "other.txt")) == 1
    assert "choose another --out, or delete lm" in capsys.readouterr().err
    assert run(folder, *command("lm", "--set", "unit=char")) == 1


def test_a_folder_without_a_language_model_is_told(folder: Path) -> None:
    with pytest.raises(SpeechkitError, match="not a neural language model"):
        LanguageModel.load(folder)
