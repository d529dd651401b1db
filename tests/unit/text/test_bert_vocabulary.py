"""The vocabulary of a Chinese BERT, and what a file of another kind gives."""

from pathlib import Path

import pytest

from speechkit.common.errors import SpeechkitError
from speechkit.text.bert_vocabulary import SPECIAL, BertVocabulary


def test_it_is_learnt_by_frequency_in_lower_case() -> None:
    vocabulary = BertVocabulary.learn(["中国中", "国中A a", "\u3000人"])
    assert vocabulary.tokens == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "中", "a", "国", "人"]
    assert (vocabulary.pad, vocabulary.unknown, vocabulary.cls, vocabulary.sep, vocabulary.mask) == (0, 1, 2, 3, 4)
    assert vocabulary.encode("A国象中") == [6, 7, 1, 5]
    assert vocabulary.characters([5, 1, 6]) == ["中", "[UNK]", "a"]
    assert vocabulary.missing("象A棋国象") == ["象", "棋"]


def test_a_file_as_of_bert_base_chinese(tmp_path: Path) -> None:
    """Numbers of tokens are those of their lines; pieces of words and words are no single characters."""
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[unused1]", *SPECIAL[1:], "一", "##一", "the", "t"]) + "\n", encoding="utf-8")
    vocabulary = BertVocabulary.read(path)
    assert (vocabulary.pad, vocabulary.unknown, vocabulary.mask, len(vocabulary)) == (0, 2, 5, 10)
    assert vocabulary.single == [6, 9]
    vocabulary.write(tmp_path / "again.txt")
    assert (tmp_path / "again.txt").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [("a\nb\n", "lacks [PAD] [UNK] [CLS] [SEP] [MASK]"), ("\n".join([*SPECIAL, "一", "一"]), "'一' comes twice")],
)
def test_other_files_are_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(SpeechkitError) as error:
        BertVocabulary.read(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpeechkitError, match=r"vocab\.txt does not exist"):
        BertVocabulary.read(tmp_path / "vocab.txt")
