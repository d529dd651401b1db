"""Forced alignment of speech of which the truth is known: times, order, hard utterances, failures."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from known_speech import FBANK, Speech, make_speech

from speechkit.align import forced
from speechkit.align.forced import Failure, ForcedAligner, Timing
from speechkit.align.models import AlignerModel, Utterance
from speechkit.align.segments import Alignment


def aligned(model: AlignerModel, utterances: list[Utterance], **options: object) -> list[Alignment]:
    found = ForcedAligner(model, "torch", **options)(utterances)  # type: ignore[arg-type]
    assert all(isinstance(each, Alignment) for each in found)
    return found  # type: ignore[return-value]


def frame(time: float, utterance: Utterance) -> int:
    """The frame that a boundary lies before."""
    if time == pytest.approx(utterance.duration):
        return len(utterance.log_mel)
    return max(0, round((time - 0.0075) / 0.01))


@pytest.fixture(scope="module")
def held_out() -> Speech:
    return make_speech(30, seed=1)


def test_known_boundaries_are_found(model: AlignerModel, held_out: Speech) -> None:
    for utterance, result, words, phones in zip(
        held_out.utterances, aligned(model, held_out.utterances), held_out.words, held_out.phones, strict=True
    ):
        found = result.tiers["phone"]
        assert [item.label for item in found] == [label for label, _, _ in phones]
        assert [item.label for item in result.tiers["word"]] == [label for label, _, _ in words]
        edges = {first: frame(item.start, utterance) for item, (_, first, _) in zip(found, phones, strict=True)}
        for (left, _, _), (right, first, _) in zip(phones, phones[1:], strict=False):
            assert (
                left == right or abs(edges[first] - first) <= 2
            )  # no one can tell where one b ends and the next begins
        for item, (_, first, _) in zip(result.tiers["word"], words, strict=True):
            assert frame(item.start, utterance) == edges[first]


def test_tiers_fit_each_other(model: AlignerModel, held_out: Speech) -> None:
    for utterance, result in zip(held_out.utterances, aligned(model, held_out.utterances), strict=True):
        for kind in ("phone", "state"):
            segments = result.tiers[kind]
            assert (segments[0].start, segments[-1].end) == (0, utterance.duration)
            assert all(left.end == right.start for left, right in zip(segments, segments[1:], strict=False))
        starts = {item.start for item in result.tiers["phone"]}
        assert {item.start for item in result.tiers["word"]} <= starts <= {item.start for item in result.tiers["state"]}
        assert len(result.frame_labels) == len(utterance.log_mel)
        names = [model.units.names[label] for label in result.frame_labels]
        assert [name for place, name in enumerate(names) if place == 0 or names[place - 1] != name] == [
            item.label for place, item in enumerate(result.tiers["phone"])
            if place == 0 or result.tiers["phone"][place - 1].label != item.label
        ]  # fmt: skip


def test_confidence_falls_where_the_transcript_is_wrong(model: AlignerModel, held_out: Speech) -> None:
    right = aligned(model, held_out.utterances)
    wrong = [replace(each, transcript=model.units.transcript({"text": "cab cab"})) for each in held_out.utterances]
    confidences = [np.mean([each.confidence for each in results]) for results in (right, aligned(model, wrong))]
    assert confidences[0] > 0.9
    assert confidences[1] < 0.7
    assert all(0 <= item.confidence <= 1 for each in right for items in each.tiers.values() for item in items)


def test_order_and_company_do_not_matter(model: AlignerModel, held_out: Speech) -> None:
    alone = [aligned(model, [utterance])[0] for utterance in held_out.utterances]
    order = np.random.default_rng(0).permutation(len(alone))
    shuffled = aligned(model, [held_out.utterances[index] for index in order])
    for index, result in zip(order, shuffled, strict=True):
        assert result.id == alone[index].id
        assert result.tiers == alone[index].tiers
        assert result.score == pytest.approx(alone[index].score)


def test_pronunciation_variants(model: AlignerModel, held_out: Speech) -> None:
    said = [
        [item.label for item in result.tiers["phone"] if word.start <= item.start < word.end]
        for result in aligned(model, held_out.utterances)
        for word in result.tiers["word"]
        if word.label == "or"
    ]
    assert {tuple(each) for each in said} == {("a", "c"), ("c", "b", "a")}


def test_a_ladder_of_beams_where_the_search_is_long(
    model: AlignerModel, held_out: Speech, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[float | None] = []

    def narrow(*args: object, beam: float | None, **options: object) -> object:
        tried.append(beam)
        found = real(*args, beam=beam, **options)
        if beam is not None and beam < 40:
            found.scores.fill_(-torch.inf)
        return found

    real = forced.best_path
    monkeypatch.setattr(forced, "best_path", narrow)
    (result,) = aligned(model, held_out.utterances[:1], long_search=0)
    assert tried == [10, 40]
    assert result.method == "beam 40"
    assert result.tiers == aligned(model, held_out.utterances[:1])[0].tiers
    assert tried[2:] == [None]


def test_what_the_beams_find_is_the_best_path(model: AlignerModel, held_out: Speech) -> None:
    full = aligned(model, held_out.utterances)
    beams = aligned(model, held_out.utterances, long_search=0)
    assert {each.method for each in full} == {"full search"}
    assert {each.method for each in beams} <= {"beam 10", "beam 40"}
    assert [each.tiers for each in full] == [each.tiers for each in beams]
    narrow = aligned(model, held_out.utterances, long_search=0, beams=(0.01, 40.0))
    hard = [number for number, each in enumerate(narrow) if each.method == "beam 40"]
    assert hard
    assert [narrow[number].tiers for number in hard] == [full[number].tiers for number in hard]


def test_hurried_speech_gets_one_frame_per_unit_and_what_is_shorter_fails(model: AlignerModel) -> None:
    utterance = make_speech(1, seed=5, silence=0).utterances[0]
    transcript = model.units.transcript({"text": "cab cab"})  # six units, eighteen states
    hurried = replace(utterance, log_mel=utterance.log_mel[:10], transcript=transcript, duration=0.115)
    hopeless = replace(hurried, id="short", log_mel=utterance.log_mel[:5])
    empty = replace(hurried, id="empty", log_mel=utterance.log_mel[:0])
    first, second, third = ForcedAligner(model, "torch")([hurried, hopeless, empty])
    assert isinstance(first, Alignment)
    assert first.method == "one frame per unit"
    assert [item.label for item in first.tiers["word"]] == ["cab", "cab"]
    assert second == Failure("short", "too short: 5 frames for 6 units")
    assert third == Failure("empty", "too short: 0 frames for 6 units")


def test_frames_to_seconds() -> None:
    timing = Timing.of(FBANK)  # windows of 25 ms every 10 ms: middles at 12.5 ms, 22.5 ms ...
    assert [timing.seconds(frame, 10, 0.118) for frame in (0, 1, 2, 10)] == [0.0, 0.0175, 0.0275, 0.118]
    assert Timing.of(FBANK, 2).seconds(1, 5, 0.118) == 0.0225  # middles at 12.5 ms, 32.5 ms ...
