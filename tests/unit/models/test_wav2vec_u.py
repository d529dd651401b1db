"""Generator, discriminator and the merging of runs, each against loops or plain torch layers."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechkit.losses.adversarial import gradient_penalty
from speechkit.models.wav2vec_u import (
    NEVER,
    Critic,
    Discriminator,
    DiscriminatorConfig,
    GanConfig,
    Generator,
    GeneratorConfig,
    Wav2VecU,
    join_runs,
)


def three_convolutions(discriminator: Discriminator, x: Tensor) -> Tensor:
    """The discriminator as the paper draws it, of one sequence `(T, V)` without padding."""
    first, second, last = discriminator.convs
    kernel = first.kernel_size[0]  # type: ignore[union-attr,index]

    def causal(conv: nn.Module, y: Tensor) -> Tensor:
        padded: Tensor = conv(F.pad(y, (kernel - 1, kernel - 1)))
        return padded[..., : y.shape[-1]]

    return causal(last, F.gelu(causal(second, causal(first, x.T[None])))).mean()


@pytest.mark.parametrize("kernel", [1, 4, 6])
@pytest.mark.parametrize("norm", ["none", "spectral", "weight"])
def test_joined_convolutions_are_three_causal_ones_and_a_mean_over_valid_frames(kernel: int, norm: str) -> None:
    torch.manual_seed(0)
    model = Discriminator(DiscriminatorConfig(dim=7, kernel=kernel, norm=norm), 5).double().eval()  # type: ignore[arg-type]
    x, lengths = torch.randn(4, 12, 5, dtype=torch.float64), [12, 7, 3, 1]
    for row, length in zip(x, lengths, strict=True):
        row[length:] = 0
    expected = torch.stack([three_convolutions(model, row[:n]) for row, n in zip(x, lengths, strict=True)])
    found = model.critic()(x, torch.tensor(lengths))
    torch.testing.assert_close(found, expected)
    weights = list(model.parameters())
    ours = torch.autograd.grad(found.square().sum(), weights, retain_graph=True)
    theirs = torch.autograd.grad(expected.square().sum(), weights)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_second_derivatives_of_the_joined_convolutions_by_finite_differences() -> None:
    torch.manual_seed(1)
    model = Discriminator(DiscriminatorConfig(dim=4, kernel=3), 3).double()
    real, made, share = torch.rand(2, 6, 3).double(), torch.rand(2, 5, 3).double(), torch.rand(2, 1, 1).double()

    def penalty() -> Tensor:
        return gradient_penalty(model.critic(), real, made, share)

    penalty().backward()  # type: ignore[no-untyped-call]
    for name, weights in model.named_parameters():
        if name == "convs.2.bias":
            assert weights.grad is None or not weights.grad.any()  # it moves all logits alike
            continue
        assert weights.grad is not None
        flat = weights.detach().view(-1)
        for place in range(0, len(flat), 5):
            values = []
            for step in (1e-5, -2e-5):
                flat[place] += step
                values.append(float(penalty().detach()))
            flat[place] += 1e-5
            expected = (values[0] - values[1]) / 2e-5
            assert float(weights.grad.view(-1)[place]) == pytest.approx(expected, rel=1e-5, abs=1e-8), name


def test_spectral_norm_holds_every_convolution_to_one() -> None:
    torch.manual_seed(2)
    model = Discriminator(DiscriminatorConfig(dim=6, kernel=3, norm="spectral"), 4)
    with torch.no_grad():
        for conv in model.convs:
            conv.parametrizations.weight.original.mul_(20)  # type: ignore[union-attr,operator]
    for _ in range(50):
        model.critic()
    for conv in model.convs:
        norm = torch.linalg.matrix_norm(conv.weight.flatten(1), ord=2)  # type: ignore[union-attr,operator]
        assert float(norm) == pytest.approx(1, abs=1e-3)


def test_generator_is_one_convolution_that_keeps_the_number_of_frames() -> None:
    torch.manual_seed(3)
    model = Generator(GeneratorConfig(in_dim=5, kernel=4, dropout=0.0), 6).double()
    x, lengths = torch.randn(2, 9, 5).double(), torch.tensor([9, 4])
    x[1, 4:] = 99.0
    found, found_lengths = model(x, lengths)
    assert found_lengths.tolist() == [9, 4]
    for row, values, length in zip(x, found, lengths.tolist(), strict=True):
        for frame in range(length):
            logits = torch.zeros(6).double()
            for tap in range(4):  # two frames behind, one ahead
                if 0 <= frame + tap - 2 < length:
                    logits += model.conv.weight[:, :, tap] @ row[frame + tap - 2]
            torch.testing.assert_close(values[frame], logits.log_softmax(0).float())
    assert [name for name, _ in model.named_parameters()] == ["conv.weight"]  # no bias


def test_paper_sizes() -> None:
    model = Wav2VecU(GanConfig(), 44)
    assert sum(each.numel() for each in model.generator.parameters()) == 512 * 44 * 4  # about 90 k
    assert [tuple(conv.weight.shape) for conv in model.discriminator.convs] == [  # type: ignore[union-attr,arg-type]
        (384, 44, 6),
        (384, 384, 6),
        (1, 384, 6),
    ]
    assert (model.config.penalty_weight, model.config.smoothness_weight, model.config.diversity_weight) == (1.5, 0.5, 4)


def test_stride_and_batch_norm_of_version_2_ignore_padding() -> None:
    torch.manual_seed(4)
    config = GeneratorConfig(in_dim=3, kernel=9, stride=3, batch_norm=30.0, dropout=0.0)
    model = Generator(config, 4).train()
    x, lengths = torch.randn(2, 10, 3) * 5 + 2, torch.tensor([10, 5])
    logits, found = model.logits(x, lengths)
    assert found.tolist() == [4, 2] == model.output_lengths(lengths).tolist()
    valid = torch.cat([x[0], x[1, :5]])
    normal = 30 * (x - valid.mean(0)) / (valid.var(0, correction=0) + 1e-5).sqrt()
    expected = F.conv1d(F.pad(normal[:1].transpose(1, 2), (4, 4)), model.conv.weight, stride=3).transpose(1, 2)
    torch.testing.assert_close(logits[:1], expected, rtol=1e-4, atol=1e-4)
    model.eval()
    alone, _ = model.logits(x[1:, :5], lengths[1:])
    torch.testing.assert_close(model.logits(x, lengths)[0][1, :2], alone[0])


def test_without_a_blank_among_the_symbols_the_first_column_is_never_taken() -> None:
    torch.manual_seed(5)
    x, lengths = torch.randn(1, 7, 3), torch.tensor([7])
    model = Generator(GeneratorConfig(in_dim=3, has_blank=False), 5).eval()
    log_probs, _ = model(x, lengths)
    assert log_probs.shape == (1, 7, 5)
    assert (log_probs[..., 0] == NEVER).all()
    torch.testing.assert_close(log_probs[..., 1:].exp().sum(-1), torch.ones(1, 7))


def runs_of(best: list[int]) -> list[list[int]]:
    """Frames of each run, by a loop."""
    found: list[list[int]] = []
    for frame, symbol in enumerate(best):
        if found and best[found[-1][0]] == symbol:
            found[-1].append(frame)
        else:
            found.append([frame])
    return found


def peaked(rows: list[list[int]], seed: int) -> Tensor:
    """Logits whose best symbols are `rows`; what is beyond a row's end is garbage."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.rand(len(rows), max(map(len, rows)), 4, generator=generator)
    for row, symbols in zip(logits, rows, strict=True):
        row[torch.arange(len(symbols)), torch.tensor(symbols)] += 2
    return logits


ROWS = [[1, 1, 1, 2, 0, 0, 3], [2, 3, 3, 2], [0], [1, 1, 1]]
LENGTHS = torch.tensor([len(row) for row in ROWS])


def test_runs_are_merged_to_their_mean_in_evaluation() -> None:
    logits = peaked(ROWS, 6)
    joined, counts = join_runs(logits, LENGTHS, pick=False)
    assert counts.tolist() == [4, 3, 1, 1]
    for row, found, symbols in zip(logits, joined, ROWS, strict=True):
        runs = runs_of(symbols)
        for number, frames in enumerate(runs):
            torch.testing.assert_close(found[number], row[frames].mean(0))
            assert int(found[number].argmax()) == symbols[frames[0]]
        assert not found[len(runs) :].any()


def test_a_random_frame_stands_for_each_run_in_training_and_takes_the_gradient() -> None:
    logits = peaked(ROWS, 7).requires_grad_()
    seen: dict[tuple[int, int], set[int]] = {}
    for seed in range(60):
        torch.manual_seed(seed)
        joined, _ = join_runs(logits, LENGTHS, pick=True)
        (gradient,) = torch.autograd.grad(joined.sum(), logits)
        for n, symbols in enumerate(ROWS):
            for number, frames in enumerate(runs_of(symbols)):
                (taken,) = [frame for frame in frames if bool(gradient[n, frame].any())]
                assert torch.equal(joined[n, number], logits[n, taken])
                seen.setdefault((n, number), set()).add(taken)
        assert int(gradient.sum()) == 4 * 9  # one frame of each of nine runs
    for (n, number), taken_frames in seen.items():
        assert taken_frames == set(runs_of(ROWS[n])[number])


def batch(model: Wav2VecU) -> dict[str, Tensor]:
    torch.manual_seed(8)
    text = torch.randint(0, model.symbols, (4, 8))
    return {
        "features": torch.randn(3, 10, 5), "lengths": torch.tensor([10, 6, 3]),
        "text": text, "text_lengths": torch.tensor([8, 8, 5, 2]),
    }  # fmt: skip


def small(**changes: float) -> Wav2VecU:
    torch.manual_seed(9)
    generator = GeneratorConfig(in_dim=5, dropout=0.0)
    return Wav2VecU(GanConfig(generator=generator, discriminator=DiscriminatorConfig(dim=6), **changes), 4).eval()


def test_each_update_has_gradients_for_one_of_the_two() -> None:
    for discriminate, learning in ((True, "discriminator"), (False, "generator")):
        model = small()
        loss = model(**batch(model), discriminate=discriminate)
        loss.total.backward()
        for name, parameter in model.named_parameters():
            assert (parameter.grad is not None and bool(parameter.grad.any())) == name.startswith(learning), name
        assert loss.count == 3


def test_totals_have_the_weights_and_batch_factors_of_the_published_code() -> None:
    model = small(penalty_weight=1.5, smoothness_weight=0.5, diversity_weight=4.0)
    given = batch(model)
    logits, lengths = join_runs(*model.generator.logits(given["features"], given["lengths"]), pick=False)
    probs = logits.softmax(-1)
    scores = torch.stack([three_convolutions(model.discriminator, p[:n]) for p, n in zip(probs, lengths, strict=True)])
    frames = torch.cat([p[:n] for p, n in zip(probs, lengths.tolist(), strict=True)]).mean(0)
    perplexity = math.exp(-float((frames * frames.log()).sum()))
    steps = sum(float((x[1:n] - x[: n - 1]).square().sum()) for x, n in zip(logits, lengths.tolist(), strict=True))
    expected = float(F.softplus(scores).sum())
    expected += 0.5 * 3 * steps / (3 * (logits.shape[1] - 1) * 4) + 4.0 * 3 * (4 - perplexity) / 4
    assert float(model(**given, discriminate=False).total) == pytest.approx(expected, rel=1e-5)

    torch.manual_seed(10)
    found = model(**given, discriminate=True)
    torch.manual_seed(10)
    share = torch.rand(3, 1, 1)
    real = F.one_hot(given["text"], 4).float()
    for row, n in zip(real, given["text_lengths"].tolist(), strict=True):
        row[n:] = 0
    ends = given["text_lengths"].tolist()
    theirs = torch.stack([three_convolutions(model.discriminator, r[:n]) for r, n in zip(real, ends, strict=True)])
    width = min(probs.shape[1], 8)
    made = torch.stack([F.pad(p[:n], (0, 0, 0, len(p) - n)) for p, n in zip(probs, lengths.tolist(), strict=True)])
    mixed = (share * real[:3, :width] + (1 - share) * made[:, :width]).detach().requires_grad_()
    total = sum(three_convolutions(model.discriminator, row) for row in mixed)
    assert isinstance(total, Tensor)
    (gradient,) = torch.autograd.grad(total, mixed)
    penalty = float((gradient.square().sum(1).sqrt() - 1).square().sum())
    expected = float(F.softplus(-scores).sum() + F.softplus(theirs).sum()) + 1.5 * penalty
    assert float(found.total) == pytest.approx(expected, rel=1e-5)
    assert found.figures["gradient_penalty"] == pytest.approx(penalty / 3, rel=1e-5)


def test_detached_critic_has_no_graph() -> None:
    critic = Discriminator(DiscriminatorConfig(dim=4), 3).critic()
    assert isinstance(critic.detached(), Critic)
    assert critic(torch.rand(1, 5, 3)).requires_grad
    assert not critic.detached()(torch.rand(1, 5, 3)).requires_grad
