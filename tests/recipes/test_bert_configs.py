"""Every configuration of BERT over characters in egs is read, and its model has the size it should have."""

from pathlib import Path

import pytest
import torch

from speechkit.cli import main
from speechkit.config.load import load_config
from speechkit.models.text_bert import TextBert
from speechkit.tasks.text_bert import TextBertTrainConfig

EGS = Path(__file__).parents[2] / "egs"
MINIATURES = sorted([*EGS.glob("*/conf/bert.yaml"), *EGS.glob("*/conf/bert-lm.yaml")])


def parameters(path: Path, tokens: int) -> int:
    config = load_config(TextBertTrainConfig, path)
    with torch.device("meta"):
        model = TextBert(config.model, tokens)
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("path", MINIATURES, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_miniatures_fit_a_laptop(path: Path) -> None:
    assert parameters(path, 1000) < 3e6
    assert load_config(TextBertTrainConfig, path).objective == ("prefix" if path.stem == "bert-lm" else "masked")


def test_bert_base_has_the_size_of_bert_base_chinese() -> None:
    """Devlin et al. 2019, sections 3 and A.2, with a vocabulary of 21,128 and the head for masked tokens."""
    path = EGS / "aishell/conf/paper/bert_base.yaml"
    config = load_config(TextBertTrainConfig, path)
    model, train = config.model, config.train
    assert (model.layers, model.dim, model.feed_forward, model.heads, model.positions) == (12, 768, 3072, 12, 512)
    assert (model.norm_eps, model.dropout, model.attention_dropout) == (1e-12, 0.1, 0.1)
    assert (config.mask.probability, config.longest, config.max_tokens) == (0.15, 512, 256 * 512)
    assert (train.max_updates, train.schedule.warmup * train.max_updates, train.schedule.peak) == (10**6, 10_000, 1e-4)
    dim, inner, tokens = 768, 3072, 21_128
    norm = 2 * dim
    block = 4 * (dim * dim + dim) + 2 * dim * inner + inner + dim + 2 * norm
    embeddings, head = (tokens + 512 + 2) * dim + norm, dim * dim + dim + norm + tokens
    assert parameters(path, tokens) == embeddings + 12 * block + head == 102_290_312


def test_the_command_checks_one(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(EGS / "aishell/conf/paper/bert_base.yaml")
    assert main(["config", "--kind", "bert", "--config", path, "--set", "model.positons=3"]) == 2
    assert "model.positons" in capsys.readouterr().err
    assert main(["config", "--kind", "bert", "--config", path]) == 0
    assert "objective: masked" in capsys.readouterr().out
