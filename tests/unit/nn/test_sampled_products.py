import torch

from speechkit.nn.sampled_products import sampled_products


def test_products_and_gradients_are_those_of_gathered_rows() -> None:
    torch.manual_seed(0)
    x, table = (torch.randn(size, 5, dtype=torch.float64, requires_grad=True) for size in (7, 4))
    places = torch.randint(4, (7, 3))
    found, expected = sampled_products(x, table, places), (x[:, None] * table[places]).sum(-1)
    torch.testing.assert_close(found, expected)
    weights = torch.randn(7, 3, dtype=torch.float64)
    for ours, theirs in zip(
        torch.autograd.grad(found, (x, table), weights), torch.autograd.grad(expected, (x, table), weights), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_finite_differences() -> None:
    torch.manual_seed(1)
    x, table = (torch.randn(size, 3, dtype=torch.float64, requires_grad=True) for size in (4, 6))
    places = torch.tensor([[0, 0], [5, 1], [2, 3], [4, 4]])
    assert torch.autograd.gradcheck(lambda x, table: sampled_products(x, table, places), (x, table))


def test_inference_mode_and_a_table_that_does_not_learn() -> None:
    x, table, places = torch.randn(3, 4), torch.randn(5, 4), torch.tensor([[0], [4], [2]])
    expected = (x * table[places[:, 0]]).sum(1, keepdim=True)
    with torch.inference_mode():
        torch.testing.assert_close(sampled_products(x.clone(), table.clone(), places.clone()), expected)
    x.requires_grad_()
    sampled_products(x, table, places).sum().backward()
    torch.testing.assert_close(x.grad, table[places[:, 0]])
    assert table.grad is None
