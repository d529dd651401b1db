"""Means over segments against a loop and finite differences."""

import torch

from speechkit.nn.segment_mean import segment_means

STARTS = torch.tensor([[0, 3, 4, 8], [1, 2, 0, 0], [0, 0, 0, 0]])
ENDS = torch.tensor([[3, 4, 8, 9], [2, 6, 0, 0], [9, 0, 0, 0]])


def test_means_are_those_of_a_loop() -> None:
    torch.manual_seed(0)
    x = 1000 + torch.randn(3, 9, 5)
    x[1, 6:] = torch.inf  # padding
    found = segment_means(x, STARTS, ENDS)
    assert found.dtype == torch.float32
    for n, (starts, ends) in enumerate(zip(STARTS.tolist(), ENDS.tolist(), strict=True)):
        for s, (start, end) in enumerate(zip(starts, ends, strict=True)):
            mean = x[n, start:end].double().mean(dim=0).float() if end > start else torch.zeros(5)
            torch.testing.assert_close(found[n, s], mean, atol=0, rtol=1e-7)


def test_long_sequences_lose_nothing() -> None:
    x = torch.full((1, 200_000, 1), 1000.0)
    x[0, -1] = 0.125
    last = torch.tensor([[199_999]])
    assert segment_means(x, last, last + 1).item() == 0.125


def test_gradients() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 9, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda frames: segment_means(frames, STARTS, ENDS), (x,))
