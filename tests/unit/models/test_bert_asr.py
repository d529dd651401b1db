"""BERT-ASR: what each prediction may see, and that it is what the equation says."""

import pytest
import torch
from torch import Tensor

from speechkit.models.bert_asr import AcousticEmbedding, AcousticEmbeddingConfig, BertAsr, BertAsrModelConfig
from speechkit.models.text_bert import TextBertConfig

CLS, MASK = 2, 4
BERT = TextBertConfig(dim=16, layers=2, heads=2, feed_forward=32, positions=16)
ENCODERS = ("average", "conv1d-resnet")


def model_of(encoder: str) -> BertAsr:
    torch.manual_seed(0)
    acoustic = AcousticEmbeddingConfig(encoder=encoder, in_dim=5, channels=8, blocks=2, kernel=3)  # type: ignore[arg-type]
    return BertAsr(BertAsrModelConfig(bert=BERT, acoustic=acoustic), vocab_size=12, cls=CLS, mask=MASK).eval()


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Features, lengths, segments, counts and characters of two utterances, one of them padded."""
    generator = torch.Generator().manual_seed(1)
    segments = torch.tensor([[[0, 4], [4, 6], [9, 12]], [[1, 3], [3, 8], [0, 0]]])
    tokens = torch.tensor([[5, 6, 7], [8, 9, 0]])
    return torch.randn(2, 12, 5, generator=generator), torch.tensor([12, 8]), segments, torch.tensor([3, 2]), tokens


@pytest.mark.parametrize("encoder", ENCODERS)
def test_each_character_is_predicted_from_those_before_and_the_segments_up_to_its_own(
    encoder: str, batch: tuple[Tensor, ...]
) -> None:
    """[CLS] y_1 .. y_(t-1) [MASK] with F_i at position i, written out for every character."""
    model = model_of(encoder)
    features, lengths, segments, counts, tokens = batch
    logits, targets = model(*batch)
    assert targets.tolist() == [5, 6, 7, 8, 9]
    row = 0
    for n, count in enumerate(counts.tolist()):
        alone = slice(n, n + 1)
        heard = model.acoustic(features[alone, : lengths[n]], lengths[alone], segments[alone, :count], counts[alone])
        for t in range(count):
            inputs = torch.tensor([[CLS, *tokens[n, :t].tolist(), MASK]])
            extra = torch.cat([torch.zeros(1, 1, 16), heard[:, : t + 1]], 1)
            hidden = model.bert(inputs, torch.tensor([t + 2]), extra)
            torch.testing.assert_close(logits[row], model.bert.predict(hidden[0, -1:])[0], rtol=1e-4, atol=1e-5)
            row += 1


def test_the_average_encoder_is_a_mean_and_a_matrix(batch: tuple[Tensor, ...]) -> None:
    model = model_of("average")
    features, lengths, segments, counts, _ = batch
    found = model.acoustic(features, lengths, segments, counts)
    for n, count in enumerate(counts.tolist()):
        for s, (start, end) in enumerate(segments[n, :count].tolist()):
            expected = model.acoustic.output(features[n, start:end].mean(0))
            torch.testing.assert_close(found[n, s], expected, rtol=1e-5, atol=1e-6)
    assert not found[1, 2].any()


def test_convolutions_see_the_neighbours_of_a_segment_and_averages_do_not(batch: tuple[Tensor, ...]) -> None:
    features, lengths, segments, counts, _ = batch
    for encoder, sees in (("average", False), ("conv1d-resnet", True)):
        acoustic, changed = model_of(encoder).acoustic, features.clone()
        changed[0, 7] += 1  # between the second and the third segment
        difference = acoustic(changed, lengths, segments, counts) - acoustic(features, lengths, segments, counts)
        assert bool(difference[0, 1].abs().max() > 1e-6) is sees


def test_what_comes_later_does_not_matter(batch: tuple[Tensor, ...]) -> None:
    model = model_of("average")
    features, lengths, segments, counts, tokens = batch
    logits, _ = model(*batch)
    changed, other = features.clone(), tokens.clone()
    changed[0, 9:] += 1
    other[0, 1:] = 11
    found, _ = model(changed, lengths, segments, counts, other)
    torch.testing.assert_close(found[:2], logits[:2])
    assert not torch.allclose(found[2], logits[2], atol=1e-3)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_padding_changes_nothing(encoder: str, batch: tuple[Tensor, ...]) -> None:
    model = model_of(encoder)
    features, lengths, segments, counts, tokens = batch
    together, _ = model(*batch)
    alone, _ = model(features[1:, :8], lengths[1:], segments[1:, :2], counts[1:], tokens[1:, :2])
    torch.testing.assert_close(together[3:], alone, rtol=1e-4, atol=1e-5)


def test_the_convolutions_reach_blocks_times_two_kernels() -> None:
    torch.manual_seed(0)
    acoustic = AcousticEmbedding(
        AcousticEmbeddingConfig(encoder="conv1d-resnet", in_dim=4, channels=4, blocks=2, kernel=3), dim=3
    ).eval()
    x = torch.randn(1, 21, 4, requires_grad=True)
    middle = torch.tensor([[[10, 11]]])
    acoustic(x, torch.tensor([21]), middle, torch.tensor([1])).sum().backward()
    assert x.grad is not None
    seen = x.grad.abs().sum(2)[0].nonzero().squeeze(1).tolist()
    assert seen == list(range(6, 15))  # 2 blocks of 2 convolutions, each one frame to either side


def test_a_kernel_is_odd() -> None:
    with pytest.raises(ValueError, match="odd"):
        AcousticEmbeddingConfig(kernel=4)
