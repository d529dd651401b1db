"""Decoding with an n-gram and rescoring with a neural language model, its weights tuned on dev alone."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from in_folder import run
from lhotse import CutSet, MonoCut, SupervisionSegment

from speechkit.decode.beam import Hypothesis, Weights
from speechkit.decode.sweep import LM_WEIGHTS, NEURAL_WEIGHTS, RESCORED_WORD_SCORES, WORD_SCORES
from speechkit.features.cmvn import Cmvn, CmvnStats
from speechkit.metrics.edit import edit_counts
from speechkit.models.acoustic import AcousticModelConfig
from speechkit.nn.transformer import TransformerConfig
from speechkit.tasks.language_model import LanguageModel
from speechkit.tasks.recognition import Emission, RecognitionSet
from speechkit.tasks.recognizer import CtcConfig, Recognizer
from speechkit.text.lang import make_lang

pytest.importorskip("flashlight.lib.text", reason="beam search needs flashlight-text")
WORDS = ("one", "six", "two")
NEXT = {"one": "two", "two": "six", "six": "one"}
SMALL = TransformerConfig(dim=16, layers=1, heads=2, feed_forward=16, position_kernel=7, position_groups=4)
CONFIG = """
unit: word
model: {dim: 16, layers: 1, heads: 2, feed_forward: 32, norm_first: true, dropout: 0.0, attention_dropout: 0.0}
max_tokens: 200
longest: 60
train: {max_updates: 60, validate_every: 30, log_every: 30, average_best: 1, schedule: {peak: 1.0e-2}}
"""


def cycle(rng: np.random.Generator) -> list[str]:
    words = [str(rng.choice(WORDS))]
    for _ in range(rng.integers(2, 6)):
        words.append(NEXT[words[-1]])
    return words


def emissions(split: str) -> list[Emission]:
    """Frames of the words of a cycle, a third of them so noisy that another word looks better."""
    rng = np.random.default_rng(len(split))
    found = []
    for number in range(12):
        words, frames = cycle(rng), []
        for word in words:
            probs = np.full(4, 0.05)
            right, wrong = WORDS.index(word) + 1, int(rng.integers(1, 4))
            probs[right] += 0.4
            if rng.random() < 0.35:
                probs[wrong] += 0.5
            frames += [probs, np.array([0.97, 0.01, 0.01, 0.01])]
        log_probs = np.log(frames / np.sum(frames, axis=1, keepdims=True)).astype(np.float32)
        found.append(Emission(f"{split}-{number}", log_probs, words))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A model whose outputs are `emissions`, a bigram that knows nothing of them, and a neural model of cycles."""
    folder = tmp_path_factory.mktemp("récipe z")
    lang = make_lang("word", WORDS)
    model = AcousticModelConfig(in_dim=4, transformer=SMALL)
    recognizer = Recognizer(CtcConfig(model=model), lang, Cmvn(CmvnStats.of(torch.randn(9, 4))))
    recognizer.save(folder / "exp", recognizer.module.state_dict())
    recognizer.cmvn.save(folder / "cmvn.safetensors")
    for split in ("dev", "test"):
        cuts = []
        for each in emissions(split):
            said = SupervisionSegment(each.id, each.id, 0, 1, text=" ".join(each.reference))
            cuts.append(MonoCut(each.id, 0, 1, 0, supervisions=[said]))
        CutSet.from_cuts(cuts).to_file(folder / f"cuts_{split}.jsonl.gz")
    rng = np.random.default_rng(0)
    for name, count in (("train", 200), ("held-out", 20)):
        (folder / f"{name}.txt").write_text("".join(f"{' '.join(cycle(rng))}\n" for _ in range(count)))
    (folder / "mixed.txt").write_text("".join(f"{' '.join(rng.choice(WORDS, 4))}\n" for _ in range(200)))
    (folder / "lm.yaml").write_text(CONFIG)
    assert run(folder, "ngram", "--text", "mixed.txt", "--order", "2", "--estimator", "own", "--out", "lm.arpa") == 0
    texts = ["--text", "train.txt", "--dev-text", "held-out.txt"]
    assert run(folder, "lm", "--config", "lm.yaml", *texts, "--out", "neural") == 0
    with pytest.MonkeyPatch.context() as patch:
        splits = {f"{split}-0": emissions(split) for split in ("dev", "test")}
        patch.setattr(RecognitionSet, "emissions", lambda self: iter(splits[f"{self.cuts[0].id.split('-')[0]}-0"]))
        yield folder


def decode(folder: Path, split: str, out: str, *options: str) -> int:
    given = ["--checkpoint", "exp", "--cuts", f"cuts_{split}.jsonl.gz", "--method", "beam", "--lm", "lm.arpa"]
    return run(folder, "decode", *given, "--out", out, *options)


def lists(folder: Path, out: str) -> dict[str, list[Hypothesis]]:
    rows = [json.loads(line) for line in (folder / out / "nbest.jsonl").read_text().splitlines()]
    return {
        row["id"]: [
            Hypothesis(each["words"], each["acoustic"], each["lm"], each["neural"]) for each in row["hypotheses"]
        ]
        for row in rows
    }


def errors(found: dict[str, list[Hypothesis]], split: str, weights: Weights) -> int:
    """Errors of the best hypotheses, one by one."""
    references = {each.id: each.reference for each in emissions(split)}
    best = {name: max(each, key=lambda one: one.score(weights)).words for name, each in found.items()}
    return int(edit_counts([references[name] for name in best], list(best.values())).sum())


def test_weights_come_from_dev_and_choose_on_test(folder: Path) -> None:
    neural = ["--rescore-lm", "neural/final", "--nbest", "30"]
    assert decode(folder, "dev", "dev", "--sweep") == 0
    search = json.loads((folder / "dev/weights.json").read_text())["best"]
    assert decode(folder, "dev", "dev2", "--sweep", "--weights", "dev/weights.json", *neural) == 0
    tuned = json.loads((folder / "dev2/weights.json").read_text())
    assert tuned["search"] == search
    assert len(tuned["points"]) == len(LM_WEIGHTS) * len(RESCORED_WORD_SCORES) * len(NEURAL_WEIGHTS)

    found = lists(folder, "dev2")
    num_words = sum(len(each.reference) for each in emissions("dev"))
    for point in tuned["points"][::29]:
        weights = Weights(**{name: value for name, value in point.items() if name != "error_rate"})
        assert point["error_rate"] == pytest.approx(100 * errors(found, "dev", weights) / num_words)
    alone = min(each["error_rate"] for each in tuned["points"] if "neural" not in each)
    assert tuned["points"][0]["error_rate"] < 0.5 * alone  # what follows what is all that tells noisy words apart
    assert tuned["best"]["neural"] > 0

    assert decode(folder, "test", "test2", "--weights", "dev2/weights.json", *neural) == 0
    details = json.loads((folder / "test2/decode.json").read_text())
    assert (details["method"], details["weights"]) == ("beam, neural LM", tuned["best"])
    assert "tuned_on_this_set" not in details
    assert not (folder / "test2/weights.json").exists()
    words = {line.split()[0]: line.split()[1:] for line in (folder / "test2/hyp.txt").read_text().splitlines()}
    best = Weights(**tuned["best"])
    model = LanguageModel.load(folder / "neural/final")
    for name, each in lists(folder, "test2").items():
        scores = model.log_probs([one.words for one in each], torch.device("cpu"))
        assert [one.neural for one in each] == pytest.approx(scores, abs=1e-4)
        assert words[name] == max(each, key=lambda one: one.score(best)).words == each[0].words


def test_weights_of_another_decoding_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "with.json").write_text(json.dumps({"best": {"lm": 1, "word": 0, "neural": 1}, "search": {"lm": 1}}))
    (folder / "without.json").write_text(json.dumps({"best": {"lm": 1, "word": 0}}))
    assert decode(folder, "test", "x", "--weights", "with.json") == 1
    assert "with.json was tuned with a neural --rescore-lm" in capsys.readouterr().err
    assert decode(folder, "test", "x", "--weights", "without.json", "--rescore-lm", "neural/final") == 1
    assert "without.json was tuned without a neural --rescore-lm" in capsys.readouterr().err
    assert decode(folder, "test", "x", "--rescore-lm", "exp") == 1
    assert "exp is not a neural language model" in capsys.readouterr().err
    assert not (folder / "x").exists()


def test_a_neural_model_searches_by_itself(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    neural = ["--lm", "neural/final"]  # the later one counts
    assert decode(folder, "dev", "first", *neural, "--sweep", "--nj", "2") == 0
    tuned = json.loads((folder / "first/weights.json").read_text())
    assert len(tuned["points"]) == len(NEURAL_WEIGHTS) * len(WORD_SCORES)
    alone = min(each["error_rate"] for each in tuned["points"] if "neural" not in each)
    assert tuned["points"][0]["error_rate"] < 0.5 * alone
    assert tuned["best"]["lm"] == 0

    assert decode(folder, "test", "second", *neural, "--weights", "first/weights.json", "--nbest", "5") == 0
    details = json.loads((folder / "second/decode.json").read_text())
    assert (details["method"], details["weights"]) == ("beam, word Transformer LM", tuned["best"])
    model = LanguageModel.load(folder / "neural/final")
    for each in lists(folder, "second").values():
        scores = model.log_probs([one.words for one in each], torch.device("cpu"))
        assert [one.neural for one in each] == pytest.approx(scores, abs=1e-4)

    assert decode(folder, "test", "x", "--weights", "first/weights.json") == 1
    assert "first/weights.json was tuned for a search with a neural model" in capsys.readouterr().err
    (folder / "plain.json").write_text(json.dumps({"best": {"lm": 1, "word": 0}}))
    assert decode(folder, "test", "x", *neural, "--weights", "plain.json") == 1
    assert "plain.json was tuned for a search with an n-gram" in capsys.readouterr().err
    assert decode(folder, "test", "x", *neural, "--rescore-lm", "neural/final") == 2
    assert "--rescore-lm goes with an n-gram" in capsys.readouterr().err
    assert decode(folder, "test", "x", "--lm", "exp") == 1
    assert "exp is not a neural language model" in capsys.readouterr().err
    assert not (folder / "x").exists()


def test_weights_can_be_given_by_hand(folder: Path) -> None:
    weights = ["--lm-weight", "0.5", "--word-score", "1", "--neural-weight", "0.75"]
    assert decode(folder, "test", "hand", "--rescore-lm", "neural/final", *weights) == 0
    details = json.loads((folder / "hand/decode.json").read_text())
    assert details["weights"] == {"lm": 0.5, "word": 1.0, "neural": 0.75}
    assert details["beam"]["nbest"] == 100
