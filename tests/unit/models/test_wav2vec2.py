"""wav2vec 2.0 against transformers and torchaudio, and the paper's sizes; its checklist is in a file of its own."""

import math
from dataclasses import replace

import pytest
import torch
from small_models import small_encoder, spans
from torch import Tensor, nn
from torch.nn import functional as F

from speechkit.interop.names import HUGGINGFACE, TORCHAUDIO, from_names
from speechkit.losses.contrastive import contrastive_logits, contrastive_loss, sample_negatives
from speechkit.models.speech_encoder import SpeechEncoder, SpeechEncoderConfig
from speechkit.models.wav2vec2 import Wav2Vec2, Wav2Vec2Config
from speechkit.nn.masking import SpanMaskConfig
from speechkit.nn.quantise import GumbelQuantiser, QuantiserConfig
from speechkit.nn.transformer import TransformerConfig
from speechkit.nn.waveform import ExtractorConfig


@pytest.mark.parametrize("large", [False, True], ids=["base", "large"])
def test_hidden_states_of_torchaudio(large: bool) -> None:
    """Checklist 4.1, 4.3 and 4.4: norms, position convolution, and where the norms of blocks stand."""
    torchaudio = pytest.importorskip("torchaudio", reason="torchaudio is the reference", exc_type=ImportError)
    torch.manual_seed(0)
    theirs = torchaudio.models.wav2vec2_model(
        extractor_mode="layer_norm" if large else "group_norm",
        extractor_conv_layer_config=[(32, 10, 5), (32, 3, 2), (32, 2, 2)], extractor_conv_bias=large,
        encoder_embed_dim=48, encoder_projection_dropout=0.0, encoder_pos_conv_kernel=16, encoder_pos_conv_groups=4,
        encoder_num_layers=3, encoder_num_heads=4, encoder_attention_dropout=0.0, encoder_ff_interm_features=96,
        encoder_ff_interm_dropout=0.0, encoder_dropout=0.0, encoder_layer_norm_first=large, encoder_layer_drop=0.0,
        aux_num_out=None,
    ).eval()  # fmt: skip
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.2)
    ours = SpeechEncoder(small_encoder(large)).eval()
    state = from_names(theirs.state_dict(), TORCHAUDIO)
    assert ours.load_state_dict(state, strict=False).missing_keys == ["time_mask.vector"]
    waveforms, lengths = torch.randn(2, 3000) * 0.3, torch.tensor([3000, 2000])
    hidden = ours(waveforms, lengths)
    assert hidden.frame_rate == 800
    for n, length in enumerate(lengths.tolist()):
        expected, _ = theirs.extract_features(waveforms[n : n + 1, :length], None)
        for layer, each in zip(hidden.layers, expected, strict=True):
            torch.testing.assert_close(layer[n, : hidden.lengths[n]], each[0], rtol=1e-4, atol=1e-5)


def without_noise(logits: Tensor, tau: float = 1.0, hard: bool = False, dim: int = -1) -> Tensor:
    """Gumbel softmax with all noise zero."""
    soft = (logits / tau).softmax(dim)
    chosen = F.one_hot(soft.argmax(dim), soft.shape[dim]).to(soft.dtype)
    return chosen - soft.detach() + soft if hard else soft


def test_loss_of_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Same mask, same negatives, same loss and gradients (checklist 4.5, 4.7, 4.8 and 4.9)."""
    transformers = pytest.importorskip("transformers", reason="transformers is the reference")
    monkeypatch.setattr(F, "gumbel_softmax", without_noise)
    torch.manual_seed(1)
    config = transformers.Wav2Vec2Config(
        hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=96, conv_dim=(32, 32, 32),
        conv_kernel=(10, 3, 2), conv_stride=(5, 2, 2), num_feat_extract_layers=3, num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4, hidden_dropout=0.0, attention_dropout=0.0, feat_proj_dropout=0.0,
        feat_quantizer_dropout=0.0, activation_dropout=0.0, layerdrop=0.0, mask_time_prob=0.1,
        num_codevectors_per_group=7, num_codevector_groups=2, codevector_dim=12, proj_codevector_dim=10,
        num_negatives=6, diversity_loss_weight=0.1,
    )  # fmt: skip
    theirs = transformers.Wav2Vec2ForPreTraining(config).train()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.2)
    quantiser = QuantiserConfig(groups=2, entries=7, entry_dim=6, out_dim=10, start=2.0, dropout=0.0)
    ours = Wav2Vec2(
        Wav2Vec2Config(encoder=small_encoder(False), quantiser=quantiser, negatives=6, penalty_weight=0.0)
    ).train()
    assert not ours.encoder.load_state_dict(from_names(theirs.wav2vec2.state_dict(), HUGGINGFACE)).missing_keys
    with torch.no_grad():
        ours.quantiser.logits.load_state_dict(theirs.quantizer.weight_proj.state_dict())
        ours.quantiser.codebooks.copy_(theirs.quantizer.codevectors.view(2, 7, 6))
        ours.quantiser.output.load_state_dict(theirs.project_q.state_dict())
        ours.context.load_state_dict(theirs.project_hid.state_dict())
    waveforms = torch.randn(2, 2000)
    mask = torch.zeros(2, 99, dtype=torch.bool)
    for row, starts in zip(mask, ([3, 40, 70], [0, 20, 81]), strict=True):
        for start in starts:
            row[start : start + 10] = True
    negatives = sample_negatives(2, 30, 6)
    loss = ours(waveforms, torch.tensor([2000, 2000]), mask=mask, negatives=negatives)

    # transformers numbers frames of the whole batch, masked or not.
    places = torch.stack([row.nonzero().flatten() for row in mask])
    flat = torch.zeros(2, 99, 6, dtype=torch.int64)
    for n in range(2):
        flat[n, places[n]] = places[n][negatives[n]] + n * 99
    expected = theirs(waveforms, mask_time_indices=mask, sampled_negative_indices=flat)
    torch.testing.assert_close(loss.total, expected.loss, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(loss.contrastive, expected.contrastive_loss, rtol=1e-4, atol=1e-4)
    assert loss.count == 60
    loss.total.backward()
    expected.loss.backward()
    for name, gradient in (
        ("encoder.projection.weight", theirs.wav2vec2.feature_projection.projection.weight.grad),
        ("quantiser.logits.weight", theirs.quantizer.weight_proj.weight.grad),
        ("encoder.time_mask.vector", theirs.wav2vec2.masked_spec_embed.grad),
    ):
        torch.testing.assert_close(ours.get_parameter(name).grad, gradient, rtol=1e-3, atol=1e-4)
    # The extractor's gradients are scaled here (checklist 4.2).
    weight = theirs.wav2vec2.feature_extractor.conv_layers[1].conv.weight.grad
    torch.testing.assert_close(ours.encoder.extractor.weights[1].grad, 0.1 * weight, rtol=1e-3, atol=1e-4)


def test_codes_are_drawn_as_the_gumbel_distribution_says() -> None:
    config = QuantiserConfig(groups=1, entries=3, entry_dim=2, out_dim=2, dropout=0.0)
    torch.manual_seed(4)
    quantiser = GumbelQuantiser(config, 3).train()
    with torch.no_grad():
        quantiser.logits.weight.copy_(torch.eye(3))
    logits = torch.tensor([1.0, 0.0, -1.0])
    codes = quantiser(logits.expand(20_000, 3), 0.7).codes
    shares = torch.bincount(codes.flatten(), minlength=3) / len(codes)
    torch.testing.assert_close(shares, logits.softmax(0), atol=0.015, rtol=0)
    best = quantiser.eval()(logits.expand(4, 3), 0.7)
    assert best.codes.flatten().tolist() == [0] * 4
    torch.testing.assert_close(best.vectors[0], quantiser.output(quantiser.codebooks[0, 0]))


@pytest.mark.parametrize(
    ("config", "backbone", "whole"),
    [
        (Wav2Vec2Config(), 94_371_712, 95_044_608),
        (
            Wav2Vec2Config(
                encoder=SpeechEncoderConfig(
                    extractor=ExtractorConfig(norm="layer", bias=True, normalise=True, gradient_scale=1.0),
                    transformer=TransformerConfig(dim=1024, layers=24, heads=16, feed_forward=4096, norm_first=True),
                    time_mask=SpanMaskConfig(),
                ),
                quantiser=QuantiserConfig(entry_dim=384, out_dim=768, end=0.1),
            ),
            315_438_720,
            317_390_592,
        ),
    ],
    ids=["base", "large"],
)
def test_sizes_of_the_paper(config: Wav2Vec2Config, backbone: int, whole: int) -> None:
    with torch.device("meta"):
        model = Wav2Vec2(config)
    assert sum(parameter.numel() for parameter in model.encoder.parameters()) == backbone
    assert sum(parameter.numel() for parameter in model.parameters()) == whole


def test_targets_are_those_of_the_undistorted_sound() -> None:
    """Frame t of what plays twice as fast has the target of frame 2 t; undistorted, the loss is the usual one."""
    torch.manual_seed(0)
    quantiser = QuantiserConfig(entries=7, entry_dim=6, out_dim=10)
    model = Wav2Vec2(Wav2Vec2Config(encoder=small_encoder(True), quantiser=quantiser, negatives=6)).eval()
    plain, mask, negatives = torch.randn(2, 4000), spans([10], [40]), torch.randint(0, 10, (2, 10, 6))
    fast, lengths = plain[:, ::2].contiguous(), torch.tensor([2000, 2000])
    quantised: list[Tensor] = []
    model.quantiser.register_forward_pre_hook(lambda _, inputs: quantised.append(inputs[0]))
    model(fast, lengths, 0, mask, negatives, plain=plain, speed=2.0)
    frames, _, _ = model.encoder.extract(plain, 2 * lengths)
    torch.testing.assert_close(quantised[0][0], frames[0, 20:40:2])
    torch.testing.assert_close(quantised[0][1], frames[1, 80:100:2])
    usual = model(fast, lengths, 0, mask, negatives)
    torch.testing.assert_close(model(fast, lengths, 0, mask, negatives, plain=fast).total, usual.total)


def test_the_loss_on_unmasked_frames() -> None:
    """That of a model whose masked frames are the others, with the same hidden states: all valid frames take part."""
    torch.manual_seed(0)
    quantiser = QuantiserConfig(entries=7, entry_dim=6, out_dim=10)
    sizes = Wav2Vec2Config(encoder=small_encoder(True), quantiser=quantiser, negatives=200, diversity_weight=0.0)
    model = Wav2Vec2(replace(sizes, penalty_weight=0.0)).eval()
    waveforms, lengths, mask = torch.randn(2, 2000), torch.tensor([2000, 2000]), spans([10, 70], [40, 60])
    plain = model(waveforms, lengths, 0, mask)
    frames, counts, _ = model.encoder.extract(waveforms, lengths)
    hidden, outside = model.encoder.encode(frames, counts, mask), ~mask
    targets = model.quantiser(frames[outside].view(2, 79, -1), 1.0)
    # With so many negatives each frame meets all others: the loss hardly depends on which were drawn.
    every = torch.tensor([[j for j in range(79) if j != i] for i in range(79)]).expand(2, -1, -1)
    logits = contrastive_logits(
        model.context(hidden[outside]).view(2, 79, -1), targets.vectors, every, 0.1, targets.codes
    )
    shift = math.log(200 / 78)
    logits[..., 1:] += shift
    expected = contrastive_loss(logits)[0]
    model.config = replace(model.config, unmasked_weight=0.5)
    torch.manual_seed(1)
    total = torch.stack([model(waveforms, lengths, 0, mask).total for _ in range(20)]).mean()
    masked = torch.stack([model(waveforms, lengths, 0, mask).contrastive for _ in range(20)]).mean()
    torch.testing.assert_close(2 * (total - masked), expected, rtol=0.01, atol=0)
    assert plain.count == 40
