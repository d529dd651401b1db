import pytest
import torch

from speechkit.fsa.ctc_batch import ctc_graphs
from speechkit.fsa.graph import GraphBatch
from speechkit.fsa.topology import ctc_graph


@pytest.mark.parametrize("standard", [True, False])
def test_the_graphs_of_single_sequences(standard: bool) -> None:
    torch.manual_seed(0)
    for size in (0, 1, 2, 5, 9):
        targets = torch.randint(1, 4, (6, size + 1))
        lengths = torch.randint(0, size + 1, (6,))
        for n, length in enumerate(lengths.tolist()):
            targets[n, length:] = -100
        found = ctc_graphs(targets, lengths, standard=standard)
        rows = zip(targets.tolist(), lengths.tolist(), strict=True)
        expected = GraphBatch.from_graphs([ctc_graph(row[:length], standard=standard) for row, length in rows])
        for name in ("source", "destination", "label", "score", "arc_splits", "state_splits", "index"):
            torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=0, atol=0)
        torch.testing.assert_close(found.aux["token"], expected.aux["token"], rtol=0, atol=0)


def test_no_sequences() -> None:
    found = ctc_graphs(torch.zeros(0, 3, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
    assert (found.num_graphs, found.num_utterances, len(found.source)) == (0, 0, 0)


def test_what_is_no_sequence() -> None:
    with pytest.raises(ValueError, match="token 0: ids begin at 1"):
        ctc_graphs(torch.tensor([[1, 0]]), torch.tensor([2]))
    with pytest.raises(ValueError, match=r"target_lengths \[3\] with targets of 2 tokens"):
        ctc_graphs(torch.tensor([[1, 2]]), torch.tensor([3]))
    with pytest.raises(ValueError, match="do not fit"):
        ctc_graphs(torch.tensor([1, 2]), torch.tensor([2]))
