"""The k-means quantiser against its definition; the Gumbel one stands in the checklist of wav2vec 2.0."""

import pytest
import torch

from speechkit.nn.quantise import KmeansQuantiser, KmeansQuantiserConfig


def transparent(config: KmeansQuantiserConfig, dim: int) -> KmeansQuantiser:
    """A quantiser whose projection and norm change nothing."""
    quantiser = KmeansQuantiser(config, dim)
    quantiser.projection = torch.nn.Identity()  # type: ignore[assignment]
    quantiser.norm = torch.nn.Identity()  # type: ignore[assignment]
    return quantiser


@pytest.mark.parametrize("shared", [False, True])
def test_each_part_gets_the_nearest_vector(shared: bool) -> None:
    torch.manual_seed(0)
    quantiser = KmeansQuantiser(KmeansQuantiserConfig(groups=2, entries=7, shared=shared), 6)
    torch.nn.init.normal_(quantiser.codebooks)
    x = torch.randn(3, 11, 6)
    found = quantiser(x)
    frames = quantiser.norm(quantiser.projection(x.transpose(1, 2))).transpose(1, 2)
    for group in range(2):
        part = frames[..., 3 * group : 3 * group + 3]
        book = quantiser.codebooks[0 if shared else group]
        codes = torch.cdist(part, book.expand(3, -1, -1)).argmin(-1)
        assert torch.equal(found.codes[..., group], codes)
        torch.testing.assert_close(found.vectors[..., 3 * group : 3 * group + 3], book[codes])
    assert sum(each.numel() for each in quantiser.codebooks) == (1 if shared else 2) * 7 * 3


def test_the_loss_and_where_its_gradients_go() -> None:
    """By hand: z = 1 beside entries 0 and 3 takes 0; (0 - 1)^2 draws the entry, a quarter of it the frame."""
    quantiser = transparent(KmeansQuantiserConfig(groups=1, entries=2), 1)
    quantiser.codebooks.data = torch.tensor([[[0.0], [3.0]]])
    z = torch.tensor([[[1.0]]], requires_grad=True)
    found = quantiser(z)
    assert found.loss.item() == 1.25
    found.loss.backward()
    assert z.grad is not None
    assert quantiser.codebooks.grad is not None
    assert float(z.grad) == 0.25 * 2 * 1
    assert quantiser.codebooks.grad.tolist() == [[[-2.0], [0.0]]]


def test_what_follows_sees_codes_and_teaches_the_frames() -> None:
    quantiser = transparent(KmeansQuantiserConfig(groups=2, entries=5), 4)
    z = torch.randn(2, 3, 4, requires_grad=True)
    weights = torch.randn(2, 3, 4)
    (quantiser(z).vectors * weights).sum().backward()
    torch.testing.assert_close(z.grad, weights)
    assert quantiser.codebooks.grad is None


def test_frames_that_cannot_be_cut() -> None:
    with pytest.raises(ValueError, match="5 values cannot be cut into 2"):
        KmeansQuantiser(KmeansQuantiserConfig(), 5)
