"""LF-MMI as an objective: warm-up, combination with CTC, pronunciations, alignments, what is left out."""

import logging

import pytest
import torch
from torch import Tensor

from speechkit.common.errors import SpeechkitError
from speechkit.data.batches import Batch, Fields
from speechkit.fsa.graph import GraphBatch
from speechkit.fsa.intersect import total_scores
from speechkit.losses.ctc import ctc_loss
from speechkit.tasks.lfmmi import Lfmmi, LfmmiConfig, NgramConfig, Words
from speechkit.tasks.token_times import TokenTimes

SPELLINGS = {"a": ((1,),), "b": ((2, 3), (3,)), "c": ((4, 2),)}
TEXTS = ["a b", "c a", "b b c"]
SEQUENCES = [[1, 2, 3], [4, 2, 1], [2, 3, 2, 3, 4, 2]]


def words(fields: Fields) -> Words:
    return tuple(SPELLINGS[word] for word in (fields["text"] or "").split())


def objective(times: dict[str, TokenTimes] | None = None, **settings: object) -> Lfmmi:
    config = LfmmiConfig(**{"warmup_updates": 3, **settings})  # type: ignore[arg-type]
    return Lfmmi(config, 5, SEQUENCES, words, times=times, frame_shift=0.1, engine="torch")


def batch(lengths: list[int]) -> tuple[Tensor, Tensor, Batch]:
    targets = torch.nn.utils.rnn.pad_sequence([torch.tensor(each) for each in SEQUENCES], batch_first=True)
    outputs = torch.randn(3, max(lengths), 5, generator=torch.Generator().manual_seed(0))
    made = Batch(
        ids=["utt0", "utt1", "utt2"],
        seconds=float(sum(lengths)) / 100,
        features=torch.zeros(3, max(lengths), 1),
        lengths=torch.tensor(lengths),
        targets=targets,
        target_lengths=torch.tensor([3, 3, 6]),
        fields=[{"text": text} for text in TEXTS],
    )
    return outputs.log_softmax(-1), torch.tensor(lengths), made


def test_the_warm_up_is_ctc_and_then_comes_mmi() -> None:
    outputs, lengths, made = batch([12, 11, 14])
    found = objective()
    ctc = float(ctc_loss(outputs, lengths, made.targets, made.target_lengths))
    assert float(found(outputs, lengths, made, 2).total) == pytest.approx(ctc)
    mmi = found(outputs, lengths, made, 3)
    assert float(mmi.total) == pytest.approx(-12 * mmi.figures["mmi"])
    assert (mmi.tokens, mmi.figures["without_path"]) == (12, 0)
    assert mmi.figures["mmi"] < 0
    both = objective(ctc_scale=0.5)(outputs, lengths, made, 3)
    assert float(both.total) == pytest.approx(float(mmi.total) + 0.5 * ctc)


def test_descent_on_the_objective_makes_the_transcripts_likely() -> None:
    outputs, lengths, made = batch([12, 11, 14])
    logits = outputs.clone().requires_grad_()
    found = objective()
    optimizer = torch.optim.Adam([logits], lr=0.1)
    values = []
    for update in range(40):
        loss = found(logits.log_softmax(-1), lengths, made, update).total
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        values.append(float(loss.detach()))
    assert values[5] > values[15] > values[-1]
    assert 0 <= values[-1] < 0.3 * values[5]


def test_every_pronunciation_counts_in_the_numerator() -> None:
    outputs, lengths, made = batch([12, 11, 14])
    found = objective()
    graphs = [found.composer(chosen) for chosen in _lattices([[1, 2, 3], [1, 3]])]
    each = total_scores(outputs[[0, 0]], lengths[[0, 0]], GraphBatch.from_graphs(graphs), engine="torch")
    both = GraphBatch.from_graphs([found.numerator("utt0", made.fields[0], 12)])
    together = total_scores(outputs[:1], lengths[:1], both, engine="torch")
    assert float(together) == pytest.approx(float(each.logsumexp(0)), rel=1e-6)


def _lattices(sequences: list[list[int]]):  # type: ignore[no-untyped-def]
    from speechkit.fsa.topology import linear

    return [linear(tokens) for tokens in sequences]


def test_numerators_follow_alignments_where_there_are_any() -> None:
    outputs, lengths, made = batch([12, 11, 14])
    free = objective(warmup_updates=0)
    times = {"utt0": TokenTimes([1, 3], [0.2, 0.5], [0.5, 0.9])}
    tight = objective(times, warmup_updates=0, numerator="alignment", tolerance=0.0)
    wide = objective({"utt0": TokenTimes([1, 3], [-9, -9], [9, 9])}, warmup_updates=0, tolerance=0.1)
    graph = tight.numerator("utt0", made.fields[0], 12)
    first = [int(state) for state in graph.source[graph.label == 1]]
    assert len(set(first)) >= 3
    values = [each.mmi(outputs, lengths, made).objective for each in (tight, wide, free)]
    assert values[0][0] < values[1][0] < values[2][0]  # fewer paths; one pronunciation; both
    torch.testing.assert_close(values[0][1:], values[2][1:])


def test_an_utterance_without_a_path_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    outputs, lengths, made = batch([12, 2, 4])  # "b b c" takes four frames by its short spellings: 3 - 3 4 2
    found = objective(warmup_updates=0)
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="speechkit"):
        result = found(outputs, lengths, made, 5)
        found(outputs, lengths, made, 6)
    assert [record.message for record in caplog.records] == [
        "no path through the numerator of utt1 utt2: left out of the loss"
    ]
    assert (result.tokens, result.figures["without_path"]) == (3, 2)
    assert torch.isfinite(result.total)


def test_frames_that_are_needed() -> None:
    assert objective().min_frames([1, 1, 2]) == 4
    assert objective(topology="ctc-modified").min_frames([1, 1, 2]) == 4  # its warm-up is CTC
    assert objective(topology="ctc-modified", warmup_updates=0).min_frames([1, 1, 2]) == 3


def test_raw_outputs_have_the_same_objective_and_penalties_besides() -> None:
    outputs, lengths, made = batch([12, 11, 14])
    normal, raw = objective(warmup_updates=0), objective(warmup_updates=0, normalise=False)
    shifted = outputs + torch.randn(3, 14, 1, generator=torch.Generator().manual_seed(1))
    one, other = normal(outputs, lengths, made, 0), raw(shifted, lengths, made, 0)
    assert other.figures["mmi"] == pytest.approx(one.figures["mmi"], rel=1e-5)
    assert float(other.total) > float(one.total)


def test_the_leak_is_in_the_denominator_alone() -> None:
    outputs, lengths, made = batch([12, 11, 14])
    values = [objective(leak=leak).mmi(outputs, lengths, made).objective for leak in (0.0, 1e-5, 0.1)]
    assert (values[0] > values[1]).all()
    assert (values[1] > values[2]).all()


def test_decoding_takes_the_language_model_along() -> None:
    outputs = torch.full((2, 6, 5), -5.0)
    for frame, token in enumerate([1, 1, 2, 2, 3, 0]):
        outputs[:, frame, token] = 0.0
    outputs[1, 2:4, 4] = 0.1  # 1 4 3 by the outputs alone, which no transcript has
    assert objective(leak=0.1).decode(outputs.log_softmax(-1), torch.tensor([6, 6])) == [[1, 2, 3], [1, 2, 3]]


def test_the_sizes_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="speechkit"):
        found = objective(ngram=NgramConfig(order=1))
    assert caplog.records[-1].message == "denominator: 6 states and 30 arcs, from an n-gram of 2 states and 5 arcs"
    assert found.describe()["den_arcs"] == 30
    with pytest.raises(SpeechkitError, match="lower order"):
        objective(max_den_arcs=20)


def test_tokens_that_no_transcript_has_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    unsmoothed = LfmmiConfig(ngram=NgramConfig(smoothing="none", order=3))
    with caplog.at_level(logging.WARNING, logger="speechkit"):
        Lfmmi(unsmoothed, 7, SEQUENCES, words)
        assert "2 of 6 tokens are in no training transcript" in caplog.text
        caplog.clear()
        Lfmmi(LfmmiConfig(), 7, SEQUENCES, words)
    assert not caplog.records


@pytest.mark.parametrize("settings", [{"leak": -0.1}, {"ctc_scale": -1.0}, {"tolerance": -1.0}])
def test_impossible_settings(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="cannot be negative"):
        LfmmiConfig(**settings)  # type: ignore[arg-type]
