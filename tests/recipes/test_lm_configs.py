"""Every configuration of a neural language model in egs is read, and its model has the size it should have."""

from pathlib import Path

import pytest
import torch

from speechkit.config.load import load_config
from speechkit.lm.conv_lm import ConvLm
from speechkit.lm.transformer_lm import TransformerLm
from speechkit.tasks.language_model import LmConfig

EGS = Path(__file__).parents[2] / "egs"


def parameters(path: Path, num_tokens: int) -> int:
    config = load_config(LmConfig, path)
    with torch.device("meta"):
        model = TransformerLm(config.model, num_tokens) if config.conv is None else ConvLm(config.conv, num_tokens)
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("path", sorted(EGS.glob("*/conf/lm*.yaml")), ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_miniatures_fit_a_laptop(path: Path) -> None:
    assert parameters(path, 1000) < 2e6


def test_the_papers_transformer() -> None:
    path = EGS / "librispeech/conf/paper/lm.yaml"
    config = load_config(LmConfig, path)
    model = config.model
    assert (model.layers, model.dim, model.feed_forward, model.heads) == (20, 1280, 6144, 16)
    attention, feed_forward, norms = 4 * (1280 * 1280 + 1280), 2 * 1280 * 6144 + 6144 + 1280, 2 * 2 * 1280
    expected = 20 * (attention + feed_forward + norms) + 2 * 1280
    num_tokens = config.vocab_size + 1
    assert parameters(path, num_tokens) == expected + num_tokens * 1280 == 458_801_920


def linear(inputs: int, outputs: int, kernel: int = 1) -> int:
    """Weights, their lengths and biases of a convolution with weight norm."""
    return inputs * outputs * kernel + 2 * outputs


def bottleneck(inputs: int, inner: int, outputs: int) -> int:
    """A block of kernels 1, 5 and 1 with gates, and the layer around it where widths differ."""
    gated = linear(inputs, 2 * inner) + linear(inner, 2 * inner, 5) + linear(inner, 2 * outputs)
    return gated + (linear(inputs, outputs) if inputs != outputs else 0)


def test_the_papers_word_convlm_is_gcnn_14b() -> None:
    words = 160_000
    blocks = 3 * bottleneck(512, 128, 512) + bottleneck(512, 512, 1024) + 2 * bottleneck(1024, 512, 1024)
    blocks += bottleneck(1024, 1024, 2048) + 5 * bottleneck(2048, 1024, 2048) + bottleneck(2048, 1024, 4096)
    body = words * 128 + linear(128, 512) + linear(512, 1024, 5) + blocks
    clusters = [(1024, 40_000), (256, 50_000), (64, 60_000)]  # a quarter of the width each time
    output = 4096 * (10_000 + len(clusters)) + sum(4096 * dim + dim * size for dim, size in clusters)
    assert parameters(EGS / "wsj/conf/paper/lm_word-convlm.yaml", words) == body + output == 287_555_584


def test_the_papers_char_convlm_has_20_blocks() -> None:
    path, letters = EGS / "wsj/conf/paper/lm_char-convlm.yaml", 32
    config = load_config(LmConfig, path).conv
    assert config is not None
    assert sum(block.repeat for block in config.blocks) == 20
    blocks = bottleneck(512, 128, 256) + 2 * bottleneck(256, 128, 256)
    blocks += bottleneck(256, 256, 512) + 2 * bottleneck(512, 256, 512)
    blocks += bottleneck(512, 512, 1024) + 2 * bottleneck(1024, 512, 1024)
    blocks += bottleneck(1024, 1024, 2048) + 8 * bottleneck(2048, 1024, 2048) + bottleneck(2048, 1024, 4096)
    body = letters * 256 + linear(256, 512) + linear(512, 1024, 5) + blocks
    assert parameters(path, letters) == body + linear(4096, 256) + 256 * letters + letters == 224_154_656
