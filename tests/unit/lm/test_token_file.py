"""Texts as token numbers on disk, and the order in which training reads them."""

from pathlib import Path

import numpy as np
import pytest

from speechkit.common.errors import SpeechkitError
from speechkit.lm import token_file
from speechkit.lm.token_file import SentenceBatches, TokenFile, batches_by_length, write_tokens
from speechkit.lm.units import Units, learn_units

NUM_SENTENCES = 50


@pytest.fixture(scope="module")
def sentences() -> list[list[str]]:
    rng = np.random.default_rng(0)
    return [rng.choice(list("abcde"), size=rng.integers(0, 12)).tolist() for _ in range(NUM_SENTENCES)]


@pytest.fixture(scope="module")
def units(sentences: list[list[str]]) -> Units:
    return learn_units("word", sentences, 0)


@pytest.fixture(scope="module")
def text(sentences: list[list[str]], units: Units, tmp_path_factory: pytest.TempPathFactory) -> TokenFile:
    folder = tmp_path_factory.mktemp("text")
    write_tokens(folder, "train", iter(sentences), units)
    return TokenFile(folder, "train")


def test_sentences_come_back(text: TokenFile, sentences: list[list[str]], units: Units) -> None:
    assert len(text) == NUM_SENTENCES
    for number, words in enumerate(sentences):
        assert text[number].tolist() == units.encode(words)
    assert text.lengths().tolist() == [len(words) + 1 for words in sentences]
    assert text.lengths(7, 12).tolist() == [len(words) + 1 for words in sentences[7:12]]
    words = sum(map(len, sentences))
    assert text.counts == {"sentences": NUM_SENTENCES, "words": words, "unknown": 0, "tokens": words + NUM_SENTENCES}
    batch = text.batch([3, 8], longest=4)
    assert batch.lines == [4, 9]
    for row, length, number in zip(batch.tokens.tolist(), batch.lengths.tolist(), [3, 8], strict=True):
        whole = units.encode(sentences[number])[:4]
        assert row[:length] == whole
        assert not any(row[length:])


def test_more_than_65536_tokens_fit(tmp_path: Path) -> None:
    words = [str(number) for number in range(70_000)]
    units = learn_units("word", [words], 0)
    write_tokens(tmp_path, "dev", [["69999"], ["other"]], units)
    found = TokenFile(tmp_path, "dev")
    assert found[0].tolist() == units.encode(["69999"])
    assert max(units.encode(words)) > 65_535
    assert found.counts["unknown"] == 1


def test_batches_hold_similar_lengths_within_the_limit() -> None:
    lengths = np.array([3, 9, 1, 20, 3, 2, 8])
    found = batches_by_length(lengths, 16)
    assert found == [[2, 5, 0, 4], [6], [1], [3]]


@pytest.mark.parametrize("block", [7, 1 << 16])
def test_an_epoch_has_every_sentence_once_and_can_be_entered_anywhere(
    block: int, text: TokenFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_file, "SENTENCES_PER_BLOCK", block)
    batches = SentenceBatches(text, max_tokens=30, longest=10, seed=1)
    orders = [[batch.lines for batch in batches.epoch(epoch, 0)] for epoch in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(line for lines in orders[2] for line in lines) == list(range(1, NUM_SENTENCES + 1))
    for skip in (1, 5, len(orders[2])):
        assert [batch.lines for batch in batches.epoch(1, skip)] == orders[2][skip:]
    assert all(batch.tokens.numel() <= 30 and batch.tokens.shape[1] <= 10 for batch in batches.epoch(0, 0))


def test_processes_share_an_epoch(text: TokenFile) -> None:
    alone = SentenceBatches(text, 30, 10, seed=1)
    orders = [[each.lines for each in SentenceBatches(text, 30, 10, 1, rank, 2).epoch(0, 0)] for rank in (0, 1)]
    assert len(orders[0]) == len(orders[1]) == len(list(alone.epoch(0, 0))) // 2
    lines = [line for order in orders for batch in order for line in batch]
    assert len(lines) == len(set(lines))


def test_damage_shows(tmp_path: Path, sentences: list[list[str]], units: Units) -> None:
    with pytest.raises(SpeechkitError, match="no sentences"):
        write_tokens(tmp_path, "none", [], units)
    assert not list(tmp_path.iterdir())
    write_tokens(tmp_path, "train", sentences, units)
    (tmp_path / "train.tokens").write_bytes(b"12")
    with pytest.raises(SpeechkitError, match=r"train\.tokens does not hold"):
        TokenFile(tmp_path, "train")
