"""BERT-ASR from training to hypotheses, on utterances in which each character has a spectrum of its own."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from ten_utterances import make_data

from speechkit.cli import main
from speechkit.data.batches import FeatureDataset, load_cuts
from speechkit.data.segments import read_segments, write_segments
from speechkit.features.cmvn import Cmvn
from speechkit.models.text_bert import TextBertConfig
from speechkit.tasks.bert_asr import BertAsrModel, segment_frames
from speechkit.tasks.text_bert import TextBertModel, TextBertTrainConfig
from speechkit.text.bert_vocabulary import BertVocabulary

CHARACTERS = ("一", "二", "六")
SEGMENTS = [(0.01 * (4 + 18 * place), 0.01 * (16 + 18 * place)) for place in range(3)]
CONFIG = """
model: {bert: {dropout: 0.0}, acoustic: {in_dim: 8, channels: 16, blocks: 1, kernel: 3, dropout: 0.0}}
batches: {max_duration: 5, workers: 0, buckets: 2, normalisation: global}
augment: {frequency_masks: 0, time_width: 0}
train: {max_updates: 60, validate_every: 30, log_every: 30, average_best: 1, schedule: {peak: 1.0e-2}}
"""


def save_bert(folder: Path, characters: Sequence[str]) -> None:
    torch.manual_seed(0)
    sizes = TextBertConfig(dim=32, layers=1, heads=2, feed_forward=64, positions=8, dropout=0.0, attention_dropout=0.0)
    config = TextBertTrainConfig(model=sizes, longest=8)
    model = TextBertModel(config, BertVocabulary.learn(characters))
    model.save(folder, model.module.state_dict())


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, segments and a BERT that has learned nothing."""
    folder = tmp_path_factory.mktemp("识别 x")
    make_data(folder / "data", CHARACTERS)
    names = [cut.id for cut in load_cuts(folder / "data" / "cuts_train.jsonl.gz")]
    for split in ("train", "dev", "test"):
        write_segments(folder / "oracle" / f"segments_{split}.jsonl.gz", [(name, SEGMENTS) for name in names])
    save_bert(folder / "bert", CHARACTERS)
    (folder / "bert-asr.yaml").write_text(CONFIG)
    return folder


def train(recipe: Path, out: Path, *more: str, segments: Path | None = None) -> int:
    words = ["--config", str(recipe / "bert-asr.yaml"), "--bert", str(recipe / "bert"), "--data", str(recipe / "data")]
    return main(["bert-asr", *words, "--segments", str(segments or recipe / "oracle"), "--out", str(out), *more])


def decode(recipe: Path, model: Path, segments: Path, out: Path, *more: str) -> int:
    words = ["--checkpoint", str(model / "final"), "--cuts", str(recipe / "data" / "cuts_test.jsonl.gz")]
    return main(["bert-decode", *words, "--segments", str(segments), "--out", str(out), *more])


@pytest.fixture(scope="module", params=["average", "conv1d-resnet"])
def trained(recipe: Path, request: pytest.FixtureRequest) -> Path:
    out = recipe / str(request.param)
    assert train(recipe, out, "--set", f"model.acoustic.encoder={request.param}") == 0
    return out


@pytest.mark.parametrize("beam", [1, 4])
def test_oracle_segments_and_perfect_acoustics_give_no_errors(recipe: Path, trained: Path, beam: int) -> None:
    out = trained / f"decode_test_{beam}"
    segments = recipe / "oracle" / "segments_test.jsonl.gz"
    assert decode(recipe, trained, segments, out, "--alignment", "oracle", "--beam", str(beam)) == 0
    assert (out / "hyp.txt").read_text() == (out / "ref.txt").read_text() != ""
    assert json.loads((out / "decode.json").read_text())["method"] == "oracle segments"


def test_there_are_as_many_characters_as_segments(recipe: Path, trained: Path, tmp_path: Path) -> None:
    """And an utterance without segments is an empty line, not a lost one."""
    known = read_segments(recipe / "oracle" / "segments_test.jsonl.gz")
    wrong = {name: SEGMENTS[: 1 + number % 3] for number, name in enumerate(known) if number}
    write_segments(tmp_path / "segments_test.jsonl.gz", wrong.items())
    assert decode(recipe, trained, tmp_path / "segments_test.jsonl.gz", tmp_path / "out") == 0
    found = dict(line.partition(" ")[::2] for line in (tmp_path / "out" / "hyp.txt").read_text().splitlines())
    assert {name: len(text.split()) for name, text in found.items()} == {
        name: len(wrong.get(name, ())) for name in known
    }


def test_more_segments_than_fit_stop_one_utterance_and_not_the_set(
    recipe: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """More than the 58 frames, and more than the 8 positions of the BERT leave beside [CLS]."""
    known = dict(read_segments(recipe / "oracle" / "segments_test.jsonl.gz"))
    first, second, *others = known
    segments = dict.fromkeys(others, SEGMENTS)
    segments |= {
        first: [(0.001 * n, 0.001 * (n + 1)) for n in range(60)],
        second: [(0.05 * n, 0.05 * (n + 1)) for n in range(8)],
    }
    write_segments(tmp_path / "segments_test.jsonl.gz", segments.items())
    assert decode(recipe, trained, tmp_path / "segments_test.jsonl.gz", tmp_path / "out") == 0
    assert "more than fit, of 2 of 10 utterances" in capsys.readouterr().err
    found = dict(line.partition(" ")[::2] for line in (tmp_path / "out" / "hyp.txt").read_text().splitlines())
    assert {name for name, text in found.items() if not text} == {first, second}


def test_a_random_bert_keeps_sizes_and_characters_alone(recipe: Path, tmp_path: Path) -> None:
    words = ["--set", "train.max_updates=1", "--set", "train.schedule.peak=1e-9"]
    saved = TextBertModel.load(recipe / "bert").module.state_dict()["tokens.weight"]
    for name, more in (("kept", []), ("random", ["--random"])):
        assert train(recipe, tmp_path / name, *words, *more) == 0

    kept, random = (
        BertAsrModel.load(tmp_path / name / "final").module.bert.tokens.weight for name in ("kept", "random")
    )
    torch.testing.assert_close(kept, saved, rtol=0, atol=1e-6)
    assert random.shape == saved.shape
    assert not torch.allclose(random, saved, atol=1e-3)
    assert json.loads((tmp_path / "random" / "run.json").read_text())["system"].endswith("average random")


def test_utterances_whose_segments_do_not_fit_are_left_out(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [*read_segments(recipe / "oracle" / "segments_train.jsonl.gz")]
    for split in ("train", "dev"):
        fitting = [(name, SEGMENTS) for name in names[2:]]
        write_segments(tmp_path / f"segments_{split}.jsonl.gz", [(names[0], SEGMENTS[:2]), *fitting])
    assert train(recipe, tmp_path / "x", "--set", "train.max_updates=1", segments=tmp_path) == 0
    message = capsys.readouterr().err
    assert "left out 2 utterances without a segment in" in message
    assert f"for each character: {names[0]} {names[1]}" in message
    for split in ("train", "dev"):
        write_segments(tmp_path / f"segments_{split}.jsonl.gz", [(name, SEGMENTS[:2]) for name in names])
    assert train(recipe, tmp_path / "y", segments=tmp_path) == 1
    assert "has the segments that its text asks for" in capsys.readouterr().err


def test_characters_without_a_token_are_named_and_not_predicted(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_bert(tmp_path / "bert", CHARACTERS[:2])
    words = [
        "--config",
        str(recipe / "bert-asr.yaml"),
        "--bert",
        str(tmp_path / "bert"),
        "--set",
        "train.max_updates=1",
    ]
    more = ["--data", str(recipe / "data"), "--segments", str(recipe / "oracle"), "--out", str(tmp_path / "x")]
    assert main(["bert-asr", *words, *more]) == 0
    assert "no character of the BERT, and not predicted: 六" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--set", "model.acoustic.in_dim=9"], "the features have 8 columns, the model reads 9"),
        (["--segments", "nowhere"], "nowhere"),
        (["--bert", "data"], "is not a BERT over characters"),
    ],
)
def test_what_does_not_belong_together_is_one_line(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], complaint: str
) -> None:
    assert train(recipe, tmp_path / "x", *words) == 1
    message = capsys.readouterr().err
    assert complaint in message
    assert len(message.strip().splitlines()) == 1


def test_a_model_of_another_kind_does_not_recognise(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "final").symlink_to(recipe / "bert")
    assert decode(recipe, tmp_path, recipe / "oracle" / "segments_test.jsonl.gz", tmp_path / "out") == 1
    assert "is not a BERT-ASR model" in capsys.readouterr().err
    assert not (tmp_path / "out" / "hyp.txt").exists()


def test_jitter_moves_segments_and_keeps_their_order(recipe: Path) -> None:
    model = TextBertModel.load(recipe / "bert")
    batch = FeatureDataset(lambda fields: model.vocabulary.encode(fields["text"] or ""), Cmvn(), "none")[
        [*load_cuts(recipe / "data" / "cuts_dev.jsonl.gz")][:4]
    ]
    segments = read_segments(recipe / "oracle" / "segments_dev.jsonl.gz")
    plain, counts = segment_frames(batch, segments, 0.01)
    assert plain[0].tolist() == [[3, 15], [21, 33], [39, 51]]  # those whose middles lie inside
    torch.manual_seed(0)
    moved, same = segment_frames(batch, segments, 0.01, jitter=0.2)
    assert torch.equal(counts, same)
    assert not torch.equal(plain, moved)
    flat = moved.flatten(1)
    assert bool((flat.diff(dim=1) >= 0).all())
    assert bool((moved[..., 1] > moved[..., 0]).all())


def test_corruption_changes_what_is_read_and_not_what_is_predicted(recipe: Path, tmp_path: Path) -> None:
    """With all of the characters before exchanged at random, those before tell nothing, and the segments still do."""
    words = ["--set", "corrupt=1.0", "--set", "jitter=0.01"]
    assert train(recipe, tmp_path / "x", *words) == 0
    assert decode(recipe, tmp_path / "x", recipe / "oracle" / "segments_test.jsonl.gz", tmp_path / "out") == 0
    assert (tmp_path / "out" / "hyp.txt").read_text() == (tmp_path / "out" / "ref.txt").read_text()
