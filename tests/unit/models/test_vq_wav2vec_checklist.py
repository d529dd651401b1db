"""The checklist of vq-wav2vec, line by line: `test_3_NN_...` is line NN.

Code files (4, 5) are in tests/unit/tasks/test_codes.py, both quantisers by themselves (2, 3, 4) in nn/test_quantise.py;
BERT (5, 6, 8) has tests of its own.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from speechkit.config.load import load_config
from speechkit.models import wav2vec
from speechkit.models.wav2vec import Wav2Vec, Wav2VecConfig, Wav2VecEncoder, Wav2VecEncoderConfig
from speechkit.nn.aggregator import AggregatorConfig
from speechkit.nn.quantise import KmeansQuantiserConfig, QuantiserConfig
from speechkit.tasks.pretrain import PretrainConfig

PAPER = Path(__file__).parents[3] / "egs/librispeech/conf/paper"
KINDS = ("gumbel", "kmeans")
WHOLE = torch.tensor([4000, 4000])


def small(kind: str, shared: bool = False, **changes: Any) -> Wav2VecConfig:
    """Two groups of seven entries."""
    gumbel = QuantiserConfig(entries=7, entry_dim=4, out_dim=None, hidden=9, shared=shared, dropout=0.0)
    encoder = Wav2VecEncoderConfig(
        extractor=replace(Wav2VecEncoderConfig().extractor, dim=8),
        quantiser=kind,  # type: ignore[arg-type]
        gumbel=gumbel,
        kmeans=KmeansQuantiserConfig(entries=7, shared=shared),
        aggregator=AggregatorConfig(kernels=(2, 3), skip=True),
    )
    return Wav2VecConfig(encoder=encoder, steps=2, **changes)


def spied(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """What the aggregator reads and what the loss has as targets, once a model has run."""
    seen: dict[str, Tensor] = {}
    loss, aggregate = wav2vec.binary_contrastive_loss, wav2vec.Aggregator.forward

    def watched_loss(predictions: Any, targets: Tensor, *more: Any) -> Any:
        seen["targets"] = targets
        return loss(predictions, targets, *more)

    def watched_aggregator(self: Any, x: Tensor, lengths: Tensor) -> Tensor:
        seen["aggregator"] = x
        return aggregate(self, x, lengths)

    monkeypatch.setattr(wav2vec, "binary_contrastive_loss", watched_loss)
    monkeypatch.setattr(wav2vec.Aggregator, "forward", watched_aggregator)
    return seen


@pytest.mark.parametrize("kind", KINDS)
def test_3_01_aggregator_and_targets_see_quantised_frames(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = spied(monkeypatch)
    torch.manual_seed(0)
    model = Wav2Vec(small(kind)).eval()
    waveforms = torch.randn(2, 4000)
    model(waveforms, WHOLE)
    z, quantised, context = model.encoder(waveforms, WHOLE).layers
    assert torch.equal(seen["aggregator"], seen["targets"])
    torch.testing.assert_close(seen["targets"], quantised)
    codes, lengths = model.encoder.codes(waveforms, WHOLE)
    assert codes.shape == (*z.shape[:2], 2)
    assert lengths.tolist() == [23, 23]
    books = model.encoder.quantiser.codebooks
    for group in range(2):
        torch.testing.assert_close(quantised[..., 4 * group : 4 * group + 4], books[group][codes[..., group]])
    torch.testing.assert_close(context, model.encoder.aggregator(quantised, lengths))


@pytest.mark.parametrize("kind", KINDS)
def test_3_02_gradients_reach_extractor_and_codebooks(kind: str) -> None:
    torch.manual_seed(1)
    model = Wav2Vec(small(kind)).train()
    model(torch.randn(2, 4000), WHOLE).total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_3_02_choices_are_random_in_training_only() -> None:
    torch.manual_seed(2)
    model, waveforms = Wav2Vec(small("gumbel")), torch.randn(2, 4000)
    best = model.encoder.eval().codes(waveforms, WHOLE)[0]
    assert torch.equal(model.encoder.codes(waveforms, WHOLE)[0], best)
    assert not torch.equal(model.encoder.train().codes(waveforms, WHOLE)[0], best)


def test_3_02_loss_of_the_kmeans_quantiser_is_per_target() -> None:
    """The contrastive loss, a sum over targets, and the other term times their number."""
    torch.manual_seed(3)
    model = Wav2Vec(small("kmeans"))
    found = model(torch.randn(2, 4000), WHOLE)
    extra = found.figures()["quantiser_loss"]
    assert extra > 0
    assert float(found.total) == pytest.approx(float(found.contrastive.loss) + found.count * extra, rel=1e-5)


def test_3_03_temperature_of_each_update(monkeypatch: pytest.MonkeyPatch) -> None:
    """It follows from the number of the update, which is in every checkpoint."""
    used: list[float] = []
    gumbel = F.gumbel_softmax
    monkeypatch.setattr(F, "gumbel_softmax", lambda logits, tau, hard: used.append(tau) or gumbel(logits, tau, hard))
    model = Wav2Vec(small("gumbel")).train()
    for update in (0, 1, 50_000, 10**7):
        model(torch.randn(2, 4000), WHOLE, update)
    assert used == pytest.approx([2.0, 2 * 0.999995, 2 * 0.999995**50_000, 0.5])
    paper = load_config(PretrainConfig, PAPER / "vq-wav2vec_gumbel_pretrain.yaml")
    temperature = paper.wav2vec.encoder.gumbel.temperature
    assert [temperature(round(share * paper.train.max_updates)) for share in (0, 0.35, 0.7, 1)] == [2, 1.25, 0.5, 0.5]


@pytest.mark.parametrize("kind", KINDS)
def test_3_04_two_groups_of_320_with_one_codebook_or_two(kind: str) -> None:
    config = load_config(PretrainConfig, PAPER / f"vq-wav2vec_{kind}_pretrain.yaml").wav2vec.encoder
    assert config.quantiser == kind
    assert config.codebook == (2, 320)
    assert config.extractor.kernels == (10, 8, 4, 4, 4, 1, 1, 1)
    for shared in (False, True):
        encoder = Wav2VecEncoder(small(kind, shared).encoder)
        assert encoder.quantiser is not None
        assert encoder.quantiser.codebooks.shape == (1 if shared else 2, 7, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_3_07_usage_is_logged_and_a_collapse_known(kind: str) -> None:
    torch.manual_seed(4)
    model = Wav2Vec(small(kind)).eval()
    waveforms = torch.randn(2, 4000)
    figures = model(waveforms, WHOLE).figures()
    codes = model.encoder.codes(waveforms, WHOLE)[0].flatten(0, 1)
    assert figures["code_tuples"] == len({tuple(each) for each in codes.tolist()})
    expected = 0.0
    for group in codes.T:
        shares = torch.bincount(group).double() / len(group)
        expected += math.exp(-sum(p * math.log(p) for p in shares.tolist() if p))
    assert figures["used_perplexity"] == pytest.approx(expected, rel=1e-3)
    assert 2 <= figures["code_perplexity"] <= 14
    alarm = model.collapse()
    assert alarm.fewest_codes == 2.1  # little more than one code in each of two groups
    assert alarm.chance == pytest.approx(math.log(11) + 10 * math.log(1.1))
    assert Wav2Vec(small("none")).collapse().fewest_codes == 0


@pytest.mark.parametrize("kind", KINDS)
def test_3_09_steps_are_recorded(kind: str) -> None:
    """Twelve, as the published command has and 34 million parameters need; the text of the paper has eight."""
    config = load_config(PretrainConfig, PAPER / f"vq-wav2vec_{kind}_pretrain.yaml")
    assert (config.wav2vec.steps, config.wav2vec.negatives) == (12, 10)


@pytest.mark.parametrize("kind", KINDS)
def test_a_padded_batch_gives_what_each_gives(kind: str) -> None:
    torch.manual_seed(5)
    encoder = Wav2VecEncoder(small(kind).encoder).eval()
    waveforms, lengths = torch.randn(2, 4000), torch.tensor([4000, 1500])
    waveforms[1, 1500:] = 5.0
    hidden = encoder(waveforms, lengths)
    for n, length in enumerate(lengths):
        alone = encoder(waveforms[n : n + 1, :length], length[None])
        for one, other in zip(hidden.layers, alone.layers, strict=True):
            torch.testing.assert_close(one[n, : int(hidden.lengths[n])], other[0], rtol=1e-3, atol=1e-5)
    assert len(encoder(waveforms, lengths, 2).layers) == 2


def test_sizes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"quantised frames have 512 values, others 8; set gumbel.entry_dim"):
        Wav2VecEncoderConfig(extractor=replace(Wav2VecEncoderConfig().extractor, dim=8), quantiser="gumbel")
