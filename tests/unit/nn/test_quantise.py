"""The k-means quantiser against its definition; the Gumbel one stands in the checklist of wav2vec 2.0."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from speechkit.nn.quantise import GumbelQuantiser, KmeansQuantiser, KmeansQuantiserConfig, QuantiserConfig, perplexity


def transparent(config: KmeansQuantiserConfig, dim: int) -> KmeansQuantiser:
    """A quantiser whose projection and norm change nothing."""
    quantiser = KmeansQuantiser(config, dim)
    quantiser.projection = torch.nn.Identity()  # type: ignore[assignment]
    quantiser.norm = Unchanged()  # type: ignore[assignment]
    return quantiser


class Unchanged(torch.nn.Module):
    """No norm."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize("shared", [False, True])
def test_each_part_gets_the_nearest_vector(shared: bool) -> None:
    torch.manual_seed(0)
    quantiser = KmeansQuantiser(KmeansQuantiserConfig(groups=2, entries=7, shared=shared), 6)
    torch.nn.init.normal_(quantiser.codebooks)
    x = torch.randn(3, 11, 6)
    found = quantiser(x, torch.tensor([11, 11, 11]))
    norm = torch.nn.GroupNorm(2, 6)
    frames = norm(quantiser.projection(x.transpose(1, 2))).transpose(1, 2)
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
    found = quantiser(z, torch.tensor([1]))
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
    (quantiser(z, torch.tensor([3, 3])).vectors * weights).sum().backward()
    torch.testing.assert_close(z.grad, weights)
    assert quantiser.codebooks.grad is None


def test_frames_that_cannot_be_cut() -> None:
    with pytest.raises(ValueError, match="5 values cannot be cut into 2"):
        KmeansQuantiser(KmeansQuantiserConfig(), 5)


def test_padding_counts_for_nothing() -> None:
    torch.manual_seed(1)
    quantiser = KmeansQuantiser(KmeansQuantiserConfig(groups=2, entries=5), 4)
    x, lengths = torch.randn(2, 9, 4), torch.tensor([9, 4])
    x[1, 4:] = 100
    both, alone = (
        quantiser(x, lengths),
        [quantiser(x[n : n + 1, :length], length[None]) for n, length in enumerate(lengths)],
    )
    for n, each in enumerate(alone):
        torch.testing.assert_close(both.vectors[n, : lengths[n]], each.vectors[0])
        assert torch.equal(both.codes[n, : lengths[n]], each.codes[0])
    frames = lengths.double() / lengths.sum()
    losses = [each.loss.item() for each in alone]
    assert both.loss.item() == pytest.approx(sum(float(w) * loss for w, loss in zip(frames, losses, strict=True)))
    torch.testing.assert_close(both.used, sum((w * each.used).float() for w, each in zip(frames, alone, strict=True)))


@pytest.mark.parametrize("shared", [False, True])
def test_gumbel_entries_side_by_side_from_one_codebook_or_two(shared: bool) -> None:
    """The quantiser of vq-wav2vec: two layers choose, entries are joined as they are."""
    torch.manual_seed(2)
    config = QuantiserConfig(groups=2, entries=7, entry_dim=3, out_dim=None, hidden=11, shared=shared, dropout=0.0)
    quantiser, x = GumbelQuantiser(config, 5), torch.randn(4, 6, 5)
    names = {name: tuple(each.shape) for name, each in quantiser.named_parameters()}
    assert names == {
        "codebooks": (1 if shared else 2, 7, 3),
        "logits.0.weight": (11, 5), "logits.0.bias": (11,), "logits.2.weight": (14, 11), "logits.2.bias": (14,),
    }  # fmt: skip
    first, _, second = quantiser.logits
    logits = second(first(x).relu()).view(4, 6, 2, 7)
    found = quantiser.eval()(x, 1.0)
    assert torch.equal(found.codes, logits.argmax(-1))
    books = quantiser.codebooks
    expected = [books[0][found.codes[..., 0]], books[0 if shared else 1][found.codes[..., 1]]]
    assert torch.equal(found.vectors, torch.cat(expected, dim=-1))
    assert torch.equal(found.vectors, quantiser(x, 1.0).vectors)  # no noise


def test_gumbel_gradients_are_those_of_the_soft_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows sees one entry of each group; its gradients reach logits as if it saw the softmax over tau."""
    torch.manual_seed(3)
    config = QuantiserConfig(groups=2, entries=7, entry_dim=3, out_dim=None, dropout=0.0)
    quantiser, x, weights, tau = GumbelQuantiser(config, 5).train(), torch.randn(8, 5), torch.randn(8, 6), 0.7
    found = quantiser(x, tau)
    books = quantiser.codebooks.detach()
    torch.testing.assert_close(found.vectors[:, :3], books[0][found.codes[:, 0]])
    assert not torch.equal(found.codes, quantiser.eval()(x, tau).codes)  # noise, in training
    noise = -torch.empty(8, 2, 7).exponential_().log()
    monkeypatch.setattr(torch.Tensor, "exponential_", lambda each: each.copy_((-noise).exp()))
    (quantiser.train()(x, tau).vectors * weights).sum().backward()
    logits = quantiser.logits(x).view(8, 2, 7).detach().requires_grad_()
    soft = ((logits + noise) / tau).softmax(-1)
    (torch.einsum("fgv,gvd->fgd", soft, books).flatten(1) * weights).sum().backward()
    torch.testing.assert_close(quantiser.logits.bias.grad, logits.grad.sum(0).flatten())


def test_temperatures() -> None:
    """Falling by a factor in each update, as in the code, or in a line over so many, as in the paper."""
    by_factor, in_line = QuantiserConfig(), QuantiserConfig(anneal=280_000)
    assert by_factor.temperature(1) == 2 * 0.999995
    assert (by_factor.temperature(10**6), in_line.temperature(10**6)) == (0.5, 0.5)
    assert [in_line.temperature(update) for update in (0, 140_000, 280_000)] == [2.0, 1.25, 0.5]


def test_usage_counts_the_best_codes() -> None:
    quantiser = transparent(KmeansQuantiserConfig(groups=1, entries=4), 1)
    quantiser.codebooks.data = torch.arange(4.0).view(1, 4, 1)
    found = quantiser(torch.tensor([[[0.1], [1.1], [0.9], [3.0]]]), torch.tensor([4]))
    assert found.used.tolist() == [[0.25, 0.5, 0.0, 0.25]]
    entropy = -(F.normalize(found.used, p=1) * torch.tensor([0.25, 0.5, 1.0, 0.25]).log()).sum()
    assert float(perplexity(found.used)) == pytest.approx(float(entropy.exp()), rel=1e-4)
