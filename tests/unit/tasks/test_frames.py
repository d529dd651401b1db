"""The task that trains a network on frame labels."""

import torch

from speechkit.align.neural import FrameNetwork, NetworkConfig
from speechkit.tasks.frames import NO_LABEL, FrameBatch, FrameBatches, FrameTask, LabelledFrames

CPU = torch.device("cpu")


def items(count: int) -> list[LabelledFrames]:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(5, 40, (count,), generator=generator).tolist()
    return [
        LabelledFrames(
            f"u{number}",
            torch.randn(length, 4, generator=generator),
            torch.randint(0, 3, (length,), generator=generator),
        )
        for number, length in enumerate(lengths)
    ]


def network() -> FrameNetwork:
    torch.manual_seed(0)
    return FrameNetwork(NetworkConfig(in_dim=4, dim=8, dilations=(1,), dropout=0.0), 3)


def test_every_utterance_comes_once_an_epoch_in_an_order_of_its_own() -> None:
    batches = FrameBatches(items(30), 100, seed=0)
    orders = [[batch.ids for batch in batches.epoch(epoch, 0)] for epoch in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(name for ids in orders[2] for name in ids) == sorted(item.id for item in items(30))
    assert [batch.ids for batch in batches.epoch(1, 3)] == orders[2][3:]
    assert all(batch.features.shape[0] * batch.features.shape[1] <= 100 for batch in batches.epoch(0, 0))


def test_the_loss_is_cross_entropy_over_labelled_frames() -> None:
    some = items(3)
    some[1].labels[:2] = NO_LABEL
    module = network()
    task = FrameTask(module, some, 1000, CPU)
    loss, count, _ = task.loss(module, FrameBatch.of(some))
    assert count == sum(len(item.labels) for item in some) - 2
    expected = 0.0
    for item in some:
        log_posteriors = module(item.features[None], torch.tensor([len(item.features)]))[0]
        for frame, label in enumerate(item.labels.tolist()):
            expected -= float(log_posteriors[frame, label].detach()) if label != NO_LABEL else 0.0
    torch.testing.assert_close(float(loss.detach()), expected, rtol=1e-5, atol=1e-5)


def test_validation_counts_wrong_frames() -> None:
    some = items(4)
    module = network().eval()
    task = FrameTask(module, some, 50, CPU)
    with torch.no_grad():
        found = task.validate()
        best = [module(item.features[None], torch.tensor([len(item.features)]))[0].argmax(1) for item in some]
    wrong = sum(int((each != item.labels).sum()) for each, item in zip(best, some, strict=True))
    frames = sum(len(item.labels) for item in some)
    assert found.criterion == found.metrics["frame_error_rate"] == 100 * wrong / frames
    assert task.describe(FrameBatch.of(some)) == "utterances u0 u1 u2 u3"
