"""Every configuration of BERT over codes in egs is read, and its model has the size it should have."""

from pathlib import Path

import pytest
import torch

from speechkit.config.load import load_config
from speechkit.models.code_bert import CodeBert
from speechkit.tasks.code_bert import CodeBertConfig

EGS = Path(__file__).parents[2] / "egs"
CODES = 13_500  # of the paper's Gumbel model (section 5.1)


def parameters(path: Path, num_codes: int) -> int:
    config = load_config(CodeBertConfig, path)
    with torch.device("meta"):
        model = CodeBert(config.model, config.mask, num_codes)
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("path", sorted(EGS.glob("*/conf/code-bert.yaml")), ids=lambda path: f"{path.parts[-3]}")
def test_miniatures_fit_a_laptop(path: Path) -> None:
    assert parameters(path, 1000) < 3e6


@pytest.mark.parametrize(
    ("name", "sizes", "dropout", "expected"),
    [("base", (12, 768, 3072, 12), 0.1, 96_030_396), ("small", (12, 512, 2048, 8), 0.05, 45_019_324)],
)
def test_the_papers_sizes(name: str, sizes: tuple[int, int, int, int], dropout: float, expected: int) -> None:
    """Section 5.3: 250,000 updates, 10,000 of them warm-up to 1e-5, spans of section 4."""
    path = EGS / f"librispeech/conf/paper/code-bert_{name}.yaml"
    config = load_config(CodeBertConfig, path)
    model, schedule = config.model, config.train.schedule
    layers, dim, feed_forward, heads = sizes
    assert (model.layers, model.dim, model.feed_forward, model.heads, model.dropout) == (*sizes, dropout)
    assert not model.norm_first
    assert (config.mask.probability, config.mask.length, config.longest) == (0.05, 10, 3072)
    assert (config.train.max_updates, schedule.warmup * config.train.max_updates) == (250_000, 10_000)
    assert (schedule.peak, schedule.decay) == (1e-5, "linear")
    attention, norms = 4 * (dim * dim + dim), 2 * 2 * dim
    blocks = layers * (attention + 2 * dim * feed_forward + feed_forward + dim + norms)
    head = dim * dim + dim + 2 * dim + CODES
    assert parameters(path, CODES) == blocks + (CODES + 1) * dim + 2 * dim + head == expected
