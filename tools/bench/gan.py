"""Updates a second of wav2vec-U's generator and discriminator, against its formulas written down layer by layer.

Sizes are the paper's: features of 512 values, 44 phones, batches of 160 utterances and as many sentences, kernels and
channels of its base configuration. Lengths are like those of sentences: speech of 20 to 90 segments, text of 30 to 120
phones. An update is one of the discriminator or one of the generator, with gradients and a step of Adam; both
kinds take turns, and so do the two implementations. Both begin with the same weights, and their losses and gradients
are compared first. The last line is JSON: "ratio" is the formulas' time over ours.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass

import torch
from timing import compare
from torch import Tensor, nn
from torch.nn import functional as F

from speechkit.models.wav2vec_u import GanConfig, Wav2VecU

SYMBOLS, DIM = 44, 512


@dataclass(frozen=True)
class Data:
    """Features `(N, T, 512)` and symbols `(N, T')` with their lengths."""

    features: Tensor
    lengths: Tensor
    text: Tensor
    text_lengths: Tensor

    @classmethod
    def of(cls, utterances: int) -> "Data":
        """Segments whose features stay alike for one or two of them, so that runs are merged as in speech."""
        generator = torch.Generator().manual_seed(0)
        lengths, text_lengths = (
            torch.randint(low, high, (utterances,), generator=generator) for low, high in ((20, 91), (30, 121))
        )
        phones = torch.randint(SYMBOLS, (utterances, int(lengths.max())), generator=generator)
        phones = phones.repeat_interleave(torch.tensor([1, 2]).repeat(phones.shape[1])[: phones.shape[1]], 1)
        means = torch.randn(SYMBOLS, DIM, generator=generator)
        features = means[phones[:, : int(lengths.max())]]
        features = features + 0.5 * torch.randn(features.shape, generator=generator)
        features *= (torch.arange(features.shape[1]) < lengths.unsqueeze(1)).unsqueeze(-1)
        text = torch.randint(SYMBOLS, (utterances, int(text_lengths.max())), generator=generator)
        return cls(features, lengths, text, text_lengths)


class Formulas(nn.Module):
    """The same networks and losses, every layer and every term on its own."""

    def __init__(self, config: GanConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = nn.Conv1d(DIM, SYMBOLS, 4, padding=2, bias=False)
        size, kernel = config.discriminator.dim, config.discriminator.kernel
        shapes = ((SYMBOLS, size), (size, size), (size, 1))
        self.discriminator = nn.ModuleList(nn.Conv1d(*shape, kernel, padding=kernel - 1) for shape in shapes)

    def critic(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Logits of sequences."""
        y = x.transpose(1, 2)
        for number, conv in enumerate(self.discriminator):
            y = conv(y)[:, :, : x.shape[1]]
            y = F.gelu(y) if number == 1 else y
        scores = y.squeeze(1)
        return scores.mean(1) if valid is None else (scores * valid).sum(1) / valid.sum(1)

    def made(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Logits after the merging of runs, and the numbers of runs."""
        x = F.dropout(features, self.config.generator.dropout, self.training)
        logits = self.generator(x.transpose(1, 2))[:, :, : features.shape[1]].transpose(1, 2)
        rows = []
        for row, length in zip(logits, lengths.tolist(), strict=True):
            _, sizes = row[:length].argmax(-1).unique_consecutive(return_counts=True)
            if self.training:
                rows.append(row[sizes.cumsum(0) - sizes + (torch.rand(len(sizes)) * sizes).long()])
            else:
                rows.append(torch.stack([run.mean(0) for run in row[:length].split(sizes.tolist())]))
        return nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows])

    def forward(self, data: Data, discriminate: bool) -> Tensor:
        """The loss of one of the two."""
        logits, lengths = self.made(data.features, data.lengths)
        valid = torch.arange(logits.shape[1]) < lengths.unsqueeze(1)
        probs = logits.softmax(-1) * valid.unsqueeze(-1)
        count, config = len(probs), self.config
        scores = self.critic(probs, valid)
        if not discriminate:
            loss = F.binary_cross_entropy_with_logits(scores, torch.zeros_like(scores), reduction="sum")
            steps = F.mse_loss(logits[:, 1:], logits[:, :-1], reduction="none") * valid[:, 1:].unsqueeze(-1)
            mean = probs[valid].mean(0)
            perplexity = (-(mean * (mean + 1e-7).log()).sum()).exp()
            diversity = (SYMBOLS - perplexity) / SYMBOLS * count
            return loss + config.smoothness_weight * steps.mean() * count + config.diversity_weight * diversity
        text_valid = torch.arange(data.text.shape[1]) < data.text_lengths.unsqueeze(1)
        real = F.one_hot(data.text, SYMBOLS).float() * text_valid.unsqueeze(-1)
        real_scores = self.critic(real, text_valid)
        loss = F.binary_cross_entropy_with_logits(scores, torch.ones_like(scores), reduction="sum")
        loss = loss + F.binary_cross_entropy_with_logits(real_scores, torch.zeros_like(scores), reduction="sum")
        frames, share = min(real.shape[1], probs.shape[1]), torch.rand(count, 1, 1)
        mixed = (share * real[:, :frames] + (1 - share) * probs[:, :frames]).detach().requires_grad_()
        (gradient,) = torch.autograd.grad(self.critic(mixed, None).sum(), mixed, create_graph=True)
        return loss + config.penalty_weight * (gradient.norm(dim=1) - 1).square().sum()


def adam(module: nn.Module, rate: float, decay: float) -> torch.optim.Optimizer:
    """As the paper's configuration has it."""
    return torch.optim.AdamW(module.parameters(), rate, betas=(0.5, 0.98), eps=1e-6, weight_decay=decay)


class Training:
    """Updates of one implementation, of the discriminator and the generator in turn."""

    def __init__(self, module: Wav2VecU | Formulas, loss: Callable[[bool], Tensor]) -> None:
        self.module, self.loss = module, loss
        self.adams = {True: adam(module.discriminator, 5e-4, 1e-4), False: adam(module.generator, 4e-4, 0.0)}

    def update(self, discriminate: bool) -> None:
        """One update."""
        self.module.zero_grad()
        self.loss(discriminate).backward()  # type: ignore[no-untyped-call]
        parameters = [each for each in self.module.parameters() if each.grad is not None]
        torch.nn.utils.clip_grad_norm_(parameters, 5.0)
        self.adams[discriminate].step()

    def updates(self) -> None:
        """One of each."""
        self.update(discriminate=True)
        self.update(discriminate=False)


def copy_weights(ours: Wav2VecU, formulas: Formulas) -> None:
    """Let both begin alike."""
    formulas.generator.weight.data.copy_(ours.generator.conv.weight.data)
    formulas.discriminator.load_state_dict(ours.discriminator.convs.state_dict())


def check(ours: Training, formulas: Training) -> None:
    """Without anything random the losses of both, and their gradients, are the same."""
    for each in (ours, formulas):
        each.module.eval()
    for discriminate in (False, True):
        found = []
        for each in (ours, formulas):
            each.module.zero_grad()
            torch.manual_seed(0)
            loss = each.loss(discriminate)
            loss.backward()  # type: ignore[no-untyped-call]
            part = each.module.discriminator if discriminate else each.module.generator
            found.append((loss.item(), torch.cat([p.grad.flatten() for p in part.parameters() if p.grad is not None])))
        (loss, gradient), (expected, expected_gradient) = found
        assert abs(loss - expected) < 1e-4 * abs(expected), (loss, expected)
        assert float((gradient - expected_gradient).norm()) < 1e-3 * float(expected_gradient.norm())
    for each in (ours, formulas):
        each.module.train()


def main() -> None:
    """Compare, then time both in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--utterances", type=int, default=160)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    data, config = Data.of(args.utterances), GanConfig()
    ours, formulas = Wav2VecU(config, SYMBOLS), Formulas(config)
    copy_weights(ours, formulas)
    given = (data.features, data.lengths, data.text, data.text_lengths)
    mine = Training(ours, lambda discriminate: ours(*given, discriminate=discriminate).total)
    theirs = Training(formulas, lambda discriminate: formulas(data, discriminate))
    check(mine, theirs)
    seconds = compare({"speechkit": mine.updates, "formulas": theirs.updates}, args.repeats)
    rates = {name: round(2 / each, 2) for name, each in seconds.items()}
    ratio = round(seconds["formulas"] / seconds["speechkit"], 2)
    print(json.dumps({"ratio": ratio, "updates_per_second": rates, "threads": args.threads}))


if __name__ == "__main__":
    main()
