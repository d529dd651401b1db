"""Whole-word masking: hand-worked sentences, and the shares that the papers state."""

import builtins
from typing import Any

import pytest
import torch
from torch import Tensor

from speechkit.common.errors import SpeechkitError
from speechkit.lm.whole_words import NO_WORD, WordMaskConfig, choose_words, hide, word_numbers, words_of

jieba = pytest.importorskip("jieba", reason="jieba finds the words")


def test_words_of_sentences() -> None:
    """杭研 stands in no dictionary: only the hidden Markov model finds it."""
    assert words_of("我来到北京清华大学") == ["我", "来到", "北京", "清华大学"]
    assert words_of("他来到了网易杭研大厦") == ["他", "来到", "了", "网易", "杭研", "大厦"]
    assert word_numbers("我来到北京清华大学").tolist() == [0, 1, 1, 2, 2, 3, 3, 3, 3]


@pytest.mark.parametrize(
    "text", ["他说ABC公司2019年上市", "。，、！", "a象\u2028b\u200b", "𠮷野家", "㊣+-=&<br>", "一"]
)
def test_every_character_has_a_word(text: str) -> None:
    assert "".join(words_of(text)) == text
    assert len(word_numbers(text)) == len(text)


def words(*sentences: list[int]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(each) for each in sentences], True, NO_WORD)


def test_words_are_hidden_whole_and_nothing_else_is() -> None:
    torch.manual_seed(0)
    batch = words([NO_WORD, 0, 1, 1, 2, 2, 2], [NO_WORD, 0, 0, 0], [NO_WORD, 0, 1])
    for _ in range(200):
        chosen = choose_words(batch, 0.4)
        assert not chosen[batch == NO_WORD].any()
        for row, numbers in zip(chosen, batch, strict=True):
            for number in range(int(numbers.max()) + 1):
                assert len(set(row[numbers == number].tolist())) == 1
        assert chosen[1, 1:4].all()  # the one word that it has
        assert len(batch[0][chosen[0]].unique()) in (1, 2)  # 1.2 of three words
        assert len(batch[2][chosen[2]].unique()) == 1


def test_the_share_of_words_is_exact_on_average() -> None:
    torch.manual_seed(1)
    batch = torch.arange(30).repeat(3000, 1)
    chosen = choose_words(batch, 0.15)
    assert set(chosen.sum(1).tolist()) == {4, 5}
    assert chosen.float().mean().item() == pytest.approx(0.15, abs=0.001)
    assert chosen.float().mean(0).sub(0.15).abs().max() < 0.03  # of each place alike


def test_shares_of_what_is_read_instead() -> None:
    torch.manual_seed(2)
    tokens = torch.full((400, 100), 9)
    chosen = torch.rand(tokens.shape) < 0.5
    found = hide(tokens, chosen, WordMaskConfig(), 4, torch.tensor([5, 6, 7, 8]))
    assert (found[~chosen] == 9).all()
    shares = torch.bincount(found[chosen], minlength=10) / chosen.sum()
    assert shares[4].item() == pytest.approx(0.8, abs=0.01)
    assert shares[9].item() == pytest.approx(0.1, abs=0.01)
    assert (shares[5:9] - 0.025).abs().max() < 0.005
    assert shares[:4].sum() == 0


def test_the_same_seed_hides_the_same() -> None:
    batch = torch.arange(12).repeat(4, 1)
    found = []
    for _ in range(2):
        torch.manual_seed(5)
        chosen = choose_words(batch, 0.3)
        found.append(hide(batch, chosen, WordMaskConfig(), 99, torch.arange(12)))
    assert torch.equal(*found)


@pytest.mark.parametrize("settings", [{"probability": 0.0}, {"masked": 0.9, "random": 0.2}, {"random": -0.1}])
def test_impossible_shares_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be above 0|are shares"):
        WordMaskConfig(**settings)


def test_without_jieba_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "jieba":
            raise ImportError("No module named 'jieba'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SpeechkitError, match="pip install jieba"):
        words_of("我")
