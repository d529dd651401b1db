"""HuBERT against torchaudio, hand-worked cases, and the checklist of its facts."""

import math

import pytest
import torch
from torch import nn

from speechkit.interop.names import TORCHAUDIO, from_names
from speechkit.losses.contrastive import masked_prediction_logits
from speechkit.models.hubert import Hubert, HubertConfig
from speechkit.models.speech_encoder import SpeechEncoderConfig
from speechkit.nn.lengths import NO_LABEL
from speechkit.nn.transformer import TransformerConfig
from speechkit.nn.waveform import ExtractorConfig

EXTRACTOR = ExtractorConfig(dim=32, kernels=(10, 3, 2), strides=(5, 2, 2))
TRANSFORMER = TransformerConfig(
    dim=48, layers=2, heads=4, feed_forward=96, position_kernel=16, position_groups=4, dropout=0.0,
    attention_dropout=0.0,
)  # fmt: skip
SMALL = SpeechEncoderConfig(extractor=EXTRACTOR, transformer=TRANSFORMER, input_dropout=0.0)


def spans(*starts: list[int]) -> torch.Tensor:
    mask = torch.zeros(len(starts), 99, dtype=torch.bool)
    for row, places in zip(mask, starts, strict=True):
        for place in places:
            row[place : place + 10] = True
    return mask


def test_logits_and_loss_of_torchaudio() -> None:
    """Same weights, mask and labels: the same logits, accuracies, loss and penalty (must have 3, 4 and 5)."""
    torchaudio = pytest.importorskip("torchaudio", reason="torchaudio is the reference", exc_type=ImportError)
    torch.manual_seed(0)
    theirs = torchaudio.models.hubert_pretrain_model(
        extractor_mode="group_norm", extractor_conv_layer_config=[(32, 10, 5), (32, 3, 2), (32, 2, 2)],
        extractor_conv_bias=False, encoder_embed_dim=48, encoder_projection_dropout=0.0, encoder_pos_conv_kernel=16,
        encoder_pos_conv_groups=4, encoder_num_layers=2, encoder_num_heads=4, encoder_attention_dropout=0.0,
        encoder_ff_interm_features=96, encoder_ff_interm_dropout=0.0, encoder_dropout=0.0,
        encoder_layer_norm_first=False, encoder_layer_drop=0.0, mask_prob=0.8, mask_selection="static", mask_other=0.0,
        mask_length=10, no_mask_overlap=False, mask_min_space=1, mask_channel_prob=0.0, mask_channel_selection="static",
        mask_channel_other=0.0, mask_channel_length=10, no_mask_channel_overlap=False, mask_channel_min_space=1,
        skip_masked=False, skip_nomask=False, num_classes=7, final_dim=16, feature_grad_mult=0.1,
    )  # fmt: skip
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.3)
    ours = Hubert(HubertConfig(encoder=SMALL, final_dim=16), [7])
    state = theirs.wav2vec2.state_dict() | {"mask_generator.mask_embedding": theirs.mask_generator.mask_embedding}
    ours.encoder.load_state_dict(from_names(state, TORCHAUDIO))
    with torch.no_grad():
        ours.heads[0].projection.load_state_dict(theirs.logit_generator.final_proj.state_dict())
        ours.heads[0].classes.copy_(theirs.logit_generator.label_embeddings)
    waveforms, labels = torch.randn(2, 2000), torch.randint(7, (2, 99))
    torch.manual_seed(1)
    masked_logits, unmasked_logits, penalty = theirs(waveforms, labels)
    torch.manual_seed(1)
    _, masked = theirs.mask_generator(torch.zeros(2, 99, 48), None)
    loss = ours(waveforms, torch.tensor([2000, 2000]), [labels], masked)
    torch.testing.assert_close(loss.penalty, penalty, rtol=1e-4, atol=1e-6)
    for logits, found, right in (
        (masked_logits, loss.masked_loss, loss.masked_right),
        (unmasked_logits, loss.unmasked_loss, loss.unmasked_right),
    ):
        zeros = torch.zeros(len(logits), dtype=torch.int64)
        expected = nn.functional.cross_entropy(logits, zeros, reduction="sum")
        torch.testing.assert_close(found[0], expected, rtol=1e-4, atol=1e-3)
        assert int(right[0]) == int((logits[:, 0] > logits[:, 1:].max(1).values).sum())
    torch.testing.assert_close(loss.total, loss.masked_loss[0] + loss.count * 10 * penalty)
    assert loss.count == int(masked.sum())


def test_logits_are_cosines_over_tau() -> None:
    """Must have 4."""
    frames, classes = torch.tensor([[3.0, 4.0]]), torch.tensor([[2.0, 0.0], [0.0, 0.5], [-3.0, -4.0]])
    torch.testing.assert_close(masked_prediction_logits(frames, classes, 0.1), torch.tensor([[6.0, 8.0, -10.0]]))


def test_sets_of_clusters_share_mask_and_encoder_and_add_up() -> None:
    """Must have 4 and 9."""
    torch.manual_seed(2)
    model = Hubert(HubertConfig(encoder=SMALL), [5, 9]).eval()
    waveforms, lengths, mask = torch.randn(2, 2000), torch.tensor([2000, 1700]), spans([0, 30], [5, 50])
    first, second = torch.randint(5, (2, 99)), torch.randint(9, (2, 99))
    both = model(waveforms, lengths, [first, second], mask)
    swapped = model(waveforms, lengths, [second % 5, first], mask)
    assert both.masked.tolist() == [40.0, 40.0]
    assert both.count == 40
    torch.testing.assert_close(both.total, both.masked_loss.sum() + 400 * both.penalty)
    assert not torch.allclose(both.masked_loss, swapped.masked_loss)


def test_padding_and_frames_without_label_do_not_count() -> None:
    """Must have 3 and 11: labels beyond the frames are passed over, missing ones are no targets."""
    torch.manual_seed(3)
    model = Hubert(HubertConfig(encoder=SMALL, unmasked_weight=0.5, masked_weight=0.5), [5]).eval()
    waveforms, labels, mask = torch.randn(1, 2000), torch.randint(5, (1, 120)), spans([20])
    whole = model(waveforms, torch.tensor([2000]), [labels], mask)
    cut = model(waveforms, torch.tensor([2000]), [labels[:, :99]], mask)
    torch.testing.assert_close(whole.total, cut.total)
    assert (whole.masked.item(), whole.unmasked.item(), whole.count) == (10, 89, 99)
    torch.testing.assert_close(whole.total, 0.5 * (whole.masked_loss + whole.unmasked_loss)[0] + 990 * whole.penalty)
    labels[0, 25:] = NO_LABEL
    fewer = model(waveforms, torch.tensor([2000]), [labels], mask)
    assert (fewer.masked.item(), fewer.unmasked.item()) == (5, 20)
    padded = model(nn.functional.pad(waveforms, (0, 500), value=3.0), torch.tensor([2000]), [labels], mask)
    torch.testing.assert_close(padded.masked_loss, fewer.masked_loss, rtol=1e-4, atol=1e-4)


def test_a_model_that_knows_nothing_is_at_chance() -> None:
    torch.manual_seed(4)
    model = Hubert(HubertConfig(encoder=SMALL), [50]).eval()
    nn.init.zeros_(model.heads[0].projection.weight)
    nn.init.zeros_(model.heads[0].projection.bias)
    loss = model(torch.randn(1, 2000), torch.tensor([2000]), [torch.randint(50, (1, 99))], spans([0, 40]))
    assert loss.masked_loss[0].item() / 20 == pytest.approx(math.log(50), rel=1e-5)


@pytest.mark.parametrize(
    ("layers", "dim", "feed_forward", "heads", "final_dim", "millions"),
    [(12, 768, 3072, 12, 256, 95), (24, 1024, 4096, 16, 768, 317), (48, 1280, 5120, 16, 1024, 964)],
    ids=["base", "large", "x-large"],
)
def test_sizes_of_the_paper(
    layers: int, dim: int, feed_forward: int, heads: int, final_dim: int, millions: int
) -> None:
    large = dim > 768
    transformer = TransformerConfig(dim=dim, layers=layers, heads=heads, feed_forward=feed_forward, norm_first=large)
    extractor = ExtractorConfig(norm="layer", normalise=True, gradient_scale=1.0) if large else ExtractorConfig()
    encoder = SpeechEncoderConfig(extractor=extractor, transformer=transformer)
    with torch.device("meta"):
        model = Hubert(HubertConfig(encoder=encoder, final_dim=final_dim), [500])
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6) == pytest.approx(millions, abs=1)
