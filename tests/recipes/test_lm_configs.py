"""Every configuration of a neural language model in egs is read, and its model has the size it should have."""

from pathlib import Path

import pytest
import torch

from speechkit.config.load import load_config
from speechkit.lm.transformer_lm import TransformerLm
from speechkit.tasks.language_model import LmConfig

EGS = Path(__file__).parents[2] / "egs"


def parameters(path: Path, num_tokens: int) -> int:
    with torch.device("meta"):
        model = TransformerLm(load_config(LmConfig, path).model, num_tokens)
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("path", sorted(EGS.glob("*/conf/lm.yaml")), ids=lambda path: f"{path.parts[-3]}")
def test_miniatures_fit_a_laptop(path: Path) -> None:
    assert parameters(path, 1000) < 2e6


def test_the_papers_size() -> None:
    path = EGS / "librispeech/conf/paper/lm.yaml"
    config = load_config(LmConfig, path)
    model = config.model
    assert (model.layers, model.dim, model.feed_forward, model.heads) == (20, 1280, 6144, 16)
    attention, feed_forward, norms = 4 * (1280 * 1280 + 1280), 2 * 1280 * 6144 + 6144 + 1280, 2 * 2 * 1280
    expected = 20 * (attention + feed_forward + norms) + 2 * 1280
    num_tokens = config.vocab_size + 1
    assert parameters(path, num_tokens) == expected + num_tokens * 1280 == 458_801_920
