"""The causal context network against torch's layers."""

import pytest
import torch
from torch import Tensor, nn

from speechkit.nn.aggregator import Aggregator, AggregatorConfig


def reference(aggregator: Aggregator, x: Tensor) -> Tensor:
    """One utterance `(T, C)` through padding by replication, convolution, group norm and ReLU of torch."""
    y = x.T[None]
    for conv, norm in zip(aggregator.convs, aggregator.norms, strict=True):
        assert isinstance(conv, nn.Conv1d)
        theirs = nn.GroupNorm(1, y.shape[1]).double()
        theirs.load_state_dict(norm.state_dict())
        out = theirs(conv(nn.ReplicationPad1d((conv.kernel_size[0] - 1, 0))(y))).relu()
        y = 0.5**0.5 * (out + y) if aggregator.config.skip else out
    return y[0].T


@pytest.mark.parametrize("config", [AggregatorConfig(), AggregatorConfig(kernels=(2, 3, 4), skip=True)])
def test_a_padded_batch_gives_what_torch_gives_each(config: AggregatorConfig) -> None:
    torch.manual_seed(0)
    aggregator = Aggregator(config, 6).double()
    for parameter in aggregator.norms.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    x, lengths = torch.randn(3, 12, 6, dtype=torch.float64), [12, 7, 1]
    found = aggregator(x, torch.tensor(lengths))
    for row, each, length in zip(found, x, lengths, strict=True):
        torch.testing.assert_close(row[:length], reference(aggregator, each[:length]))


def test_dropout_is_for_training() -> None:
    torch.manual_seed(1)
    aggregator, x = Aggregator(AggregatorConfig(kernels=(3,), dropout=0.5), 8), torch.randn(1, 9, 8)
    assert not torch.equal(aggregator.train()(x, torch.tensor([9])), aggregator(x, torch.tensor([9])))
    assert torch.equal(aggregator.eval()(x, torch.tensor([9])), aggregator(x, torch.tensor([9])))
