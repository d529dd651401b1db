"""Training of BERT over characters: what it learns, the perplexity of prefixes by hand, and what is refused."""

import json
import math
import random
from pathlib import Path

import pytest
import torch
from in_folder import run

from speechkit.common.errors import SpeechkitError
from speechkit.common.seeds import seed_everything
from speechkit.config.load import load_config
from speechkit.tasks.text_bert import TextBertModel, TextBertTask, TextBertTrainConfig, Texts, read_texts
from speechkit.train.distributed import World

pytest.importorskip("jieba", reason="jieba finds the words to hide")
CONFIG = """
model: {dim: 32, layers: 1, heads: 4, feed_forward: 64, dropout: 0.0, attention_dropout: 0.0, positions: 24}
max_tokens: 400
longest: 20
train:
  max_updates: 250
  validate_every: 250
  log_every: 250
  average_best: 1
  schedule: {peak: 8.0e-3, hold: 0.0, final_scale: 0.01}
"""
LM = """
base: bert.yaml
objective: prefix
model: {dim: 64}  # that of the checkpoint counts
train: {max_updates: 120, accumulate: 2}
"""
RING = "春夏秋冬东南西北中"


def ring(count: int, seed: int) -> str:
    """Sentences that go around in a ring of nine characters, from any of them: one character tells all others."""
    rng = random.Random(seed)
    starts = [(rng.randrange(9), rng.randrange(6, 14)) for _ in range(count)]
    return "".join(" ".join(RING[(start + place) % 9] for place in range(size)) + "\n" for start, size in starts)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts, a BERT of them, and a BERT-LM that started from it."""
    folder = tmp_path_factory.mktemp("récipe y")
    (folder / "bert.yaml").write_text(CONFIG)
    (folder / "lm.yaml").write_text(LM)
    (folder / "text.txt").write_text(ring(200, 0), encoding="utf-8")
    (folder / "dev.txt").write_text(ring(30, 1), encoding="utf-8")
    assert run(folder, *command("bert")) == 0
    assert run(folder, *command("lm", "--init", "bert/final", config="lm.yaml")) == 0
    return folder


def command(out: str, *more: str, config: str = "bert.yaml") -> list[str]:
    return ["bert", "--config", config, "--text", "text.txt", "--dev", "dev.txt", "--out", out, *more]


def task_of(folder: Path, model: TextBertModel, dev: str = "dev.txt") -> TextBertTask:
    texts = [
        Texts.of(folder / name, read_texts(folder / name), model.vocabulary, model.config.longest)
        for name in ("text.txt", dev)
    ]
    return TextBertTask(model, *texts, 0, World())


def test_hidden_words_are_learnt(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Chance is one in nine. Finished before, a training says so again."""
    assert run(folder, *command("bert")) == 0
    printed = capsys.readouterr().out.split()
    assert printed[:1] + printed[2:6] == ["perplexity", "per", "masked", "character", "of"]
    assert float(printed[1]) < 1.3
    assert float(printed[printed.index("accuracy") + 1]) > 95


def test_a_language_model_is_learnt_from_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All but the first character of a sentence can be told; sizes and vocabulary are those it started from."""
    assert run(folder, *command("lm", "--init", "bert/final", config="lm.yaml")) == 0
    printed = capsys.readouterr().out.split()
    lines = read_texts(folder / "dev.txt")
    best = math.exp(len(lines) * math.log(9) / sum(map(len, lines)))
    assert best * 0.95 < float(printed[1]) < best * 1.15
    assert printed[-2] == f"({sum(map(len, lines))}"
    bert, lm = (TextBertModel.load(folder / name / "final") for name in ("bert", "lm"))
    assert lm.config.model == bert.config.model
    assert lm.config.objective == "prefix"
    assert lm.vocabulary.tokens == bert.vocabulary.tokens
    record = json.loads((folder / "lm/run.json").read_text())
    assert record["train"] == {
        "sentences": 200,
        "characters": sum(map(len, read_texts(folder / "text.txt"))),
        "unknown": 0,
    }


def test_the_perplexity_of_prefixes_by_hand(folder: Path) -> None:
    """The mean over all characters that have a token, one prefix at a time; 囧 has none, and is read."""
    (folder / "odd.txt").write_text("春夏 囧冬东\n\n南\n囧\n", encoding="utf-8")
    model = TextBertModel.load(folder / "lm/final")
    vocabulary, module = model.vocabulary, model.module.double().eval()
    total, count = 0.0, 0
    with torch.inference_mode():
        for line in ("春夏囧冬东", "南", "囧"):
            for place, character in enumerate(line):
                if character == "囧":
                    continue
                read = [vocabulary.cls, *vocabulary.encode(line[:place]), vocabulary.mask]
                hidden = module(torch.tensor([read]), torch.tensor([len(read)]))
                scores = module.predict(hidden[0, -1:]).log_softmax(dim=1)
                total, count = total - float(scores[0, vocabulary.encode(character)[0]]), count + 1
        found = task_of(folder, model, "odd.txt").validate().metrics
    assert found["predicted"] == count == 5
    assert found["perplexity"] == pytest.approx(math.exp(total / count), rel=1e-9)


def test_validation_hides_the_same_words_each_time(folder: Path) -> None:
    """Its masks are its own: it neither depends on the random state nor changes it."""
    task = task_of(folder, TextBertModel.load(folder / "bert/final"))
    task.module.eval()
    torch.manual_seed(1)
    with torch.inference_mode():
        first, state = task.validate(), torch.get_rng_state()
        torch.manual_seed(2)
        second = task.validate()
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)
    assert first == second


def test_what_is_hidden_is_predicted_and_nothing_else(folder: Path) -> None:
    config = load_config(TextBertTrainConfig, folder / "bert.yaml", ["mask.masked=1", "mask.random=0"])
    seed_everything(0, "weights")
    task = task_of(folder, TextBertModel.start(config, None, read_texts(folder / "text.txt")))
    batch = next(iter(task.batches.epoch(0, 0)))
    read, chosen = task.train.hide(batch)
    vocabulary = task.model.vocabulary
    assert (read[chosen] == vocabulary.mask).all()
    assert torch.equal(read[~chosen], batch.tokens[~chosen])
    assert not chosen[:, 0].any()
    assert not chosen[batch.tokens == vocabulary.pad].any()
    torch.manual_seed(0)
    _, count, _ = task.loss(task.module, batch)
    torch.manual_seed(0)
    assert count == int(task.train.hide(batch)[1].sum())


def test_characters_without_a_token_and_long_lines_are_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = TextBertModel.load(folder / "bert/final")
    lines = ["春囧夏x", "囧秋", "春" * 25]
    texts = Texts.of(Path("d.txt"), lines, model.vocabulary, 20)
    assert (texts.characters, texts.unknown, len(texts.lines[2])) == (25, 3, 19)
    assert [each.getMessage() for each in caplog.records] == [
        "d.txt: of 1 lines only the first 19 characters are read; see longest",
        "d.txt: the vocabulary lacks 2 characters (3 of 25): 囧x; they are read as [UNK] and not predicted",
    ]
    with pytest.raises(SpeechkitError, match="none of its characters"):
        Texts.of(Path("d.txt"), ["abc"], model.vocabulary, 20)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--dev", "empty.txt"], 1, "empty.txt holds no text"),
        (["--dev", "none.txt"], 1, "none.txt does not exist"),
        (["--init", "codes"], 1, "codes is not a BERT over characters"),
        (
            ["--init", "bert/final", "--set", "model.dropout=0.3"],
            2,
            "--set model.dropout=0.3 has no effect with --init",
        ),
        (["--init", "bert/final", "--set", "longest=24", "--set", "max_tokens=20"], 2, "longest (24) is at least 2"),
        (["--set", "mask.probability=0"], 2, "probability must be above 0"),
        (["--set", "objective=clm"], 2, "'objective' cannot be 'clm'"),
    ],
)
def test_what_is_refused(
    folder: Path, arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "empty.txt").write_text(" \n\n")
    (folder / "codes").mkdir(exist_ok=True)
    (folder / "codes/task.json").write_text('{"task": "code-bert"}')
    assert run(folder, *command("refused", *arguments)) == code
    errors = [line for line in capsys.readouterr().err.splitlines() if "speechkit bert: " in line]
    assert len(errors) == 1
    assert message in errors[0]
    assert not (folder / "refused").exists()


def test_a_checkpoint_with_too_few_positions(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "long.yaml").write_text("objective: prefix\nlongest: 100\n")
    assert run(folder, *command("refused", "--init", "bert/final", config="long.yaml")) == 2
    assert "--init bert/final: configuration: longest (100)" in capsys.readouterr().err
