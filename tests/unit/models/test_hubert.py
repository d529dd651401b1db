"""HuBERT against torchaudio, at chance, and the paper's sizes; its checklist is in a file of its own."""

import math

import pytest
import torch
from small_models import small_encoder, spans
from torch import nn

from speechkit.interop.names import TORCHAUDIO, from_names
from speechkit.models.hubert import Hubert, HubertConfig
from speechkit.models.speech_encoder import SpeechEncoderConfig
from speechkit.nn.transformer import TransformerConfig
from speechkit.nn.waveform import ExtractorConfig

SMALL = small_encoder(layers=2)


def test_logits_and_loss_of_torchaudio() -> None:
    """Same weights, mask and labels: the same logits, accuracies, loss and penalty (checklist 5.3, 5.4 and 5.5)."""
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
