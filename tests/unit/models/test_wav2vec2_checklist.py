"""The checklist of wav2vec 2.0, line by line: `test_4_NN_...` is line NN.

Lines 10 and 12 (fine-tuning) are in test_wav2vec2_finetuning_checklist.py, parity with others is in test_wav2vec2.py.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from small_models import small_encoder, spans
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from speechkit.config.load import load_config
from speechkit.losses.contrastive import contrastive_logits, contrastive_loss, diversity_loss, sample_negatives
from speechkit.models.speech_encoder import SpeechEncoder
from speechkit.models.wav2vec2 import Wav2Vec2, Wav2Vec2Config, Wav2Vec2Loss
from speechkit.nn.lengths import Packing, valid_mask
from speechkit.nn.masking import SpanMaskConfig, span_mask
from speechkit.nn.quantise import GumbelQuantiser, QuantiserConfig, perplexity
from speechkit.nn.transformer import TransformerBlock, TransformerEncoder
from speechkit.nn.waveform import ExtractorConfig, normalise_waveforms
from speechkit.tasks.pretrain import PretrainConfig
from speechkit.train.distributed import World
from speechkit.train.trainer import TrainConfig, Trainer, Validation

WHOLE = torch.tensor([2000, 2000])
PAPER = Path(__file__).parents[3] / "egs/librispeech/conf/paper"


def small(large: bool = False, penalty: float = 10.0, scale: float | None = None, **transformer: object) -> Wav2Vec2:
    """A model without dropout."""
    quantiser = QuantiserConfig(entries=7, entry_dim=6, out_dim=10, dropout=0.0)
    encoder = small_encoder(large, scale, **transformer)
    return Wav2Vec2(Wav2Vec2Config(encoder=encoder, quantiser=quantiser, negatives=6, penalty_weight=penalty))


def test_4_01_norm_placement() -> None:
    """Base: one norm, per channel over time, behind the first convolution. Large: every layer's, over channels, and
    waveforms of zero mean and unit variance. (Values are compared with torch's layers in nn/test_waveform.py.)"""
    base, large = (SpeechEncoder(small_encoder(each)).extractor for each in (False, True))
    assert [name for name, _ in base.named_parameters() if "weights" not in name] == ["gain", "shift"]
    norms = [name for name, _ in large.named_parameters() if "norms" in name]
    assert norms == [f"norms.{layer}.{part}" for layer in range(3) for part in ("weight", "bias")]
    # The scale of a channel does not matter behind the first convolution, that behind the second does.
    waveforms, lengths = torch.randn(1, 2000), torch.tensor([2000])
    expected, _ = base(waveforms, lengths)
    with torch.no_grad():
        base.weights[0].mul_(torch.rand(32, 1, 1) + 100)
    torch.testing.assert_close(base(waveforms, lengths)[0], expected, rtol=1e-3, atol=1e-3)
    with torch.no_grad():
        base.weights[1].mul_(2)
    assert not torch.allclose(base(waveforms, lengths)[0], expected, rtol=0.1)
    raw = torch.randn(2, 2000) * 0.01 + 0.3
    normal = normalise_waveforms(raw, torch.tensor([2000, 700]))
    torch.testing.assert_close(normal[1, :700], F.layer_norm(raw[1, :700], (700,)))
    assert not normal[1, 700:].any()


def test_4_02_gradient_of_the_extractor_and_its_penalty() -> None:
    """Models of LS-960: gradients times 0.1 and a penalty of weight 10 on the mean square before the norm; others: 1
    and 0."""
    for size, expected in (("base", (0.1, 10.0)), ("large", (0.1, 10.0)), ("large_lv60k", (1.0, 0.0))):
        config = load_config(PretrainConfig, PAPER / f"wav2vec2_{size}_pretrain.yaml").wav2vec2
        assert (config.encoder.extractor.gradient_scale, config.penalty_weight) == expected
    torch.manual_seed(0)
    waveforms, mask, negatives = torch.randn(2, 2000), spans([3, 40], [0, 60]), sample_negatives(2, 20, 6)
    weights = small().state_dict()
    found = {}
    for scale, penalty in ((1.0, 0.0), (1.0, 10.0), (0.1, 10.0)):
        model = small(penalty=penalty, scale=scale).eval()
        model.load_state_dict(weights)
        loss = model(waveforms, WHOLE, mask=mask, negatives=negatives)
        loss.total.backward()
        found[scale, penalty] = model, loss
    (plain, without), (_, full), (scaled, _) = found.values()
    frames, _ = plain.encoder.extractor(waveforms, WHOLE)
    torch.testing.assert_close(full.penalty, frames.pow(2).mean())
    torch.testing.assert_close(full.total - without.total, 40 * 10 * full.penalty)
    model = found[1.0, 10.0][0]
    for name, parameter in model.named_parameters():
        factor = 0.1 if "extractor" in name else 1.0
        torch.testing.assert_close(scaled.get_parameter(name).grad, factor * parameter.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm_first", [False, True])
def test_4_03_position_convolution(norm_first: bool) -> None:
    """Weight norm over dimension 2, one frame dropped, GELU, added before the norm, padding zero before it."""
    torch.manual_seed(1)
    encoder = TransformerEncoder(small_encoder(norm_first, layers=0).transformer).eval()
    position = encoder.position
    conv = nn.Conv1d(48, 48, 16, padding=8, groups=4)
    weight_norm(conv, dim=2)
    with torch.no_grad():
        position.gain.mul_(torch.rand(16) + 0.5)
        nn.init.normal_(position.bias)
        conv.bias.copy_(position.bias)  # type: ignore[union-attr]
        conv.parametrizations.weight.original0.copy_(position.gain)  # type: ignore[union-attr,index]
        conv.parametrizations.weight.original1.copy_(position.direction)  # type: ignore[union-attr,index]
    x, lengths = torch.randn(2, 30, 48), torch.tensor([30, 21])
    x[1, 21:] = 1e3
    found = encoder(x, lengths)
    for row, each, length in zip(found, x, lengths.tolist(), strict=True):
        alone = each[:length]
        embedded = F.gelu(conv(F.pad(alone, (0, 0, 0, 30 - length)).T[None])[0, :, :-1].T[:length])
        torch.testing.assert_close(row[:length], encoder.norm(alone + embedded), rtol=1e-4, atol=1e-5)
        assert not row[length:].any()


@pytest.mark.parametrize("norm_first", [False, True])
def test_4_04_blocks_are_those_of_torch(norm_first: bool) -> None:
    """Norms behind attention and feed-forward in base models, before them in large ones."""
    torch.manual_seed(2)
    block = TransformerBlock(small_encoder(norm_first).transformer)
    theirs = nn.TransformerEncoderLayer(48, 4, 96, 0.0, "gelu", batch_first=True, norm_first=norm_first)
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.2)
    attention = theirs.self_attn
    with torch.no_grad():
        block.qkv.weight.copy_(attention.in_proj_weight)
        block.qkv.bias.copy_(attention.in_proj_bias)
        block.attention_out.load_state_dict(attention.out_proj.state_dict())
        for ours, other in (
            (block.attention_norm, theirs.norm1),
            (block.feed_forward_norm, theirs.norm2),
            (block.feed_forward_in, theirs.linear1),
            (block.feed_forward_out, theirs.linear2),
        ):
            ours.load_state_dict(other.state_dict())
    x, lengths = torch.randn(2, 20, 48), torch.tensor([20, 13])
    packing = Packing.of(lengths, 20)
    expected = theirs(x, src_key_padding_mask=~packing.mask)
    found = packing.unpack(block(packing.pack(x), packing))
    torch.testing.assert_close(found[packing.mask], expected[packing.mask], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm_first", [False, True])
def test_4_04_final_norm_and_layer_drop(norm_first: bool) -> None:
    """A norm at the end in large models only; layer drop skips whole blocks, with its probability, in training only."""
    torch.manual_seed(3)
    encoder = TransformerEncoder(small_encoder(norm_first, layers=4, layer_drop=0.3).transformer)
    nn.init.normal_(encoder.norm.bias)
    x, lengths = torch.randn(1, 5, 48), torch.tensor([5])
    *_, last = encoder.eval().layers(x, lengths)
    torch.testing.assert_close(encoder(x, lengths), encoder.norm(last) if norm_first else last)
    ran: list[int] = []
    for number, block in enumerate(encoder.blocks):
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
    encoder(x, lengths)
    assert ran == [0, 1, 2, 3]
    ran.clear()
    for _ in range(500):
        encoder.train()(x, lengths)
    assert ran.count(0) / 500 == pytest.approx(0.7, abs=0.05)
    assert len(ran) / 2000 == pytest.approx(0.7, abs=0.03)
    bare = TransformerEncoder(small_encoder(norm_first, layers=4, layer_drop=1.0).transformer).train()
    bare.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(bare(x, lengths), bare.norm(x + bare.position(x)))


def test_4_05_masked_frames_and_targets() -> None:
    """The learned vector replaces projected frames, targets are those before masking, masked frames alone count."""
    torch.manual_seed(4)
    model = small().eval()
    seen: dict[str, Tensor] = {}
    model.quantiser.register_forward_pre_hook(lambda _, inputs: seen.update(quantiser=inputs[0]))
    model.encoder.transformer.register_forward_pre_hook(lambda _, inputs: seen.update(transformer=inputs[0]))
    waveforms, mask, negatives = torch.randn(2, 2000), spans([20], [66]), sample_negatives(2, 10, 6)
    loss = model(waveforms, WHOLE, mask=mask, negatives=negatives)
    frames, _, _ = model.encoder.extract(waveforms, WHOLE)
    assert torch.equal(seen["quantiser"].flatten(0, 1), frames[mask])
    assert (seen["transformer"][mask] == model.encoder.time_mask.vector).all()
    assert torch.equal(seen["transformer"][~mask], model.encoder.projection(frames)[~mask])
    assert loss.count == 20

    def disturbed(_module: nn.Module, _inputs: object, output: Tensor, where: Tensor) -> Tensor:
        return torch.where(where.unsqueeze(-1), output, torch.randn_like(output))

    for where, same in ((mask, True), (~mask, False)):
        handle = model.encoder.transformer.register_forward_hook(
            lambda module, inputs, output, where=where: disturbed(module, inputs, output, where)
        )
        other = model(waveforms, WHOLE, mask=mask, negatives=negatives)
        assert torch.equal(other.contrastive, loss.contrastive) == same
        handle.remove()


def test_4_06_equal_mask_counts_and_no_padding() -> None:
    """As many masked frames in every utterance; padding is neither masked nor a negative."""
    torch.manual_seed(5)
    lengths = [200, 60, 131, 11]
    config = SpanMaskConfig(probability=0.065, length=10)
    for _ in range(20):
        mask = span_mask(lengths, 200, config, same_count=True)
        assert not (mask & ~valid_mask(torch.tensor(lengths), 200)).any()
        assert len(set(mask.sum(1).tolist())) == 1
        assert mask.sum(1)[0] >= 10
    assert len(set(span_mask(lengths, 200, config).sum(1).tolist())) > 1
    # What the padding holds changes nothing, so that it is no distractor either.
    model, samples = small().eval(), torch.tensor([2000, 900])
    waveforms = torch.randn(2, 2000)
    losses = []
    for value in (0.0, 3.0):
        waveforms[1, 900:] = value
        torch.manual_seed(6)
        losses.append(model(waveforms, samples))
    torch.testing.assert_close(losses[0].total, losses[1].total)
    assert losses[0].count == 2 * (losses[0].count // 2) > 0


def test_4_07_contrastive_loss_worked_by_hand() -> None:
    """Cosine over kappa, the positive at index 0, distractors equal to it minus infinity."""
    context = torch.tensor([[[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]]])
    targets = torch.tensor([[[1.0, 0.0], [0.0, 3.0], [1.0, 0.0]]])
    negatives = torch.tensor([[[1, 2], [0, 2], [0, 1]]])
    logits = contrastive_logits(context, targets, negatives, temperature=0.5)
    half = 2 * math.sqrt(0.5)
    expected = torch.tensor([[[2.0, 0.0, -math.inf], [2.0, 0.0, 0.0], [half, -math.inf, half]]])
    torch.testing.assert_close(logits, expected)
    codes = torch.tensor([[[0, 1], [1, 1], [0, 1]]])
    torch.testing.assert_close(contrastive_logits(context, targets, negatives, 0.5, codes), expected)
    loss, right = contrastive_loss(logits)
    by_hand = math.log(1 + math.exp(-2)) + math.log(1 + 2 * math.exp(-2)) + math.log(2)
    assert float(loss) == pytest.approx(by_hand, rel=1e-6)
    assert int(right) == 2
    assert (Wav2Vec2Config().kappa, Wav2Vec2Config().negatives) == (0.1, 100)


def test_4_07_negatives_are_other_masked_frames_of_the_same_utterance() -> None:
    torch.manual_seed(7)
    drawn = sample_negatives(2, 5, 4000)
    assert not (drawn == torch.arange(5)[:, None]).any()
    shares = F.one_hot(drawn, 5).float().mean((0, 2))
    assert (shares[~torch.eye(5, dtype=torch.bool)] - 0.25).abs().max() < 0.02
    assert sample_negatives(3, 1, 100).shape == (3, 1, 0)
    # Logits of one utterance do not change with what the other holds.
    context, targets, negatives = torch.randn(2, 5, 4), torch.randn(2, 5, 4), sample_negatives(2, 5, 3)
    both = contrastive_logits(context, targets, negatives, 0.1)
    targets[1] = torch.randn(5, 4)
    assert torch.equal(contrastive_logits(context, targets, negatives, 0.1)[0], both[0])


def test_4_08_diversity_temperature_and_perplexity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Diversity is of the plain softmax; the temperature is that of the update; perplexities go to the log."""
    uniform, single = torch.full((2, 4), 0.25), torch.eye(4)[:2]
    assert float(diversity_loss(uniform)) == pytest.approx(0, abs=1e-5)
    assert float(diversity_loss(single)) == pytest.approx((8 - 2) / 8, abs=1e-5)
    assert float(perplexity(uniform)) == pytest.approx(8, abs=1e-4)
    config = QuantiserConfig(groups=2, entries=4, entry_dim=3, out_dim=6, dropout=0.0)
    torch.manual_seed(8)
    quantiser = GumbelQuantiser(config, 5).train()
    x = torch.randn(2, 7, 5)
    warm, cold = quantiser(x, 2.0), quantiser(x, 0.5)
    assert torch.equal(warm.mean, cold.mean)
    torch.testing.assert_close(warm.mean, quantiser.logits(x).view(14, 2, 4).softmax(-1).mean(0))
    assert config.temperature(0) == 2.0
    assert config.temperature(100_000) == pytest.approx(2 * 0.999995**100_000)
    assert config.temperature(10**7) == 0.5
    used: list[float] = []
    gumbel = F.gumbel_softmax
    monkeypatch.setattr(F, "gumbel_softmax", lambda logits, tau, hard: used.append(tau) or gumbel(logits, tau, hard))
    model = small().train()
    found = [model(torch.randn(2, 2000), WHOLE, update) for update in (0, 50_000)]
    assert used == [2.0, pytest.approx(2 * 0.999995**50_000)]
    assert all(2 <= float(each.code_perplexity.detach()) <= 14 for each in found)


class OneUpdate:
    """A task of a single batch, as the trainer sees pre-training."""

    def __init__(self, model: Wav2Vec2, batches: list[Tensor]) -> None:
        self.module: nn.Module = model
        self.batches = batches

    def epoch(self, epoch: int, skip: int) -> Iterator[Tensor]:
        yield from self.batches

    def loss(self, model: nn.Module, batch: Tensor) -> tuple[Tensor, float, dict[str, float]]:
        found = self.fixed(model, batch)
        return found.total, float(found.count), {}

    def fixed(self, model: nn.Module, batch: Tensor) -> Wav2Vec2Loss:
        negatives = torch.arange(1, 7).repeat(len(batch), 10, 1)
        return model(batch, torch.full((len(batch),), 2000), mask=spans(*[[20]] * len(batch)), negatives=negatives)

    def validate(self) -> Validation:
        return Validation(0.0, {}, [])

    def describe(self, batch: Tensor) -> str:
        return ""


def test_4_09_sums_divided_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss is a sum, other terms are multiplied by the number of masked frames, which it is divided by once."""
    monkeypatch.setattr(F, "gumbel_softmax", lambda logits, tau, hard: F.one_hot(logits.argmax(-1), 7) + 0 * logits)
    torch.manual_seed(9)
    task = OneUpdate(small(penalty=1.0), [torch.randn(2, 2000), torch.randn(3, 2000)])
    weights = {name: value.clone() for name, value in task.module.state_dict().items()}
    Trainer(TrainConfig(max_updates=1, accumulate=2, clip_norm=1e9), task, task, tmp_path, 0, World()).run()
    found = {name: parameter.grad for name, parameter in task.module.named_parameters()}
    task.module.load_state_dict(weights)
    task.module.zero_grad()
    task.module.train()
    total = torch.zeros(())
    for batch in task.batches:
        loss = task.fixed(task.module, batch)
        assert loss.count == 10 * len(batch)
        extra = loss.count * (0.1 * loss.diversity + 1.0 * loss.penalty)
        torch.testing.assert_close(loss.total, loss.contrastive + extra)
        total = total + loss.total
    (total / 50).backward()
    for name, parameter in task.module.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-4, atol=1e-6)


def test_4_11_lengths_through_all_layers() -> None:
    """n becomes floor((n - k) / s) + 1 seven times, 16 000 samples are 49 frames, and padding follows from that."""
    config = ExtractorConfig()
    assert (config.hop, config.window) == (320, 400)
    samples = torch.tensor([16000, 400, 399, 720, 12345, 719])
    assert config.output_lengths(samples).tolist() == [49, 1, 0, 2, 38, 1]
    layers = [nn.Conv1d(1, 1, kernel, stride) for kernel, stride in zip(config.kernels, config.strides, strict=True)]
    for count in (16000, 12345, 720, 719):
        assert nn.Sequential(*layers)(torch.zeros(1, 1, count)).shape[2] == int(
            config.output_lengths(torch.tensor(count))
        )
    encoder = SpeechEncoder(small_encoder()).eval()
    hidden = encoder(torch.randn(3, 2000), torch.tensor([2000, 1234, 400]))
    assert hidden.lengths.tolist() == [99, 61, 19]
    for row, length in zip(hidden.layers[-1], hidden.lengths.tolist(), strict=True):
        assert row[:length].all()
        assert not row[length:].any()
