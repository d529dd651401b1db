"""`speechkit score` of Mandarin: characters, syllables, and what wrong characters sound like."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from speechkit.cli import main
from speechkit.metrics.error_rate import count_corpus
from speechkit.text.lang import make_lang

# 他 for 她 and 事 for 市 sound the same, 书 for 树 but for the tone, 长 (chang2) for 很 does not; 乐 is deleted from
# 音乐, 吗 inserted. 乐 is yue4 in 音乐 and le4 in 快乐.
REFERENCE = "u1 她 喜欢 音乐\nu2 城市 的 树 很 快乐\nu3 用 ATM 机\n"
HYPOTHESIS = "u1 他喜欢音\nu2 城事的书长快乐吗\nu3 用ATN机\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "exp ä" / "decode_test"
    folder.mkdir(parents=True)
    (folder / "ref.txt").write_text(REFERENCE, encoding="utf-8")
    (folder / "hyp.txt").write_text(HYPOTHESIS, encoding="utf-8")
    make_lang("char", ["她 喜欢 音乐"], boundary="none").save(tmp_path / "lang")
    return folder


def score(folder: Path) -> int:
    return main(["score", "--dir", str(folder), "--lang", str(folder.parents[1] / "lang")])


def test_rates_by_hand(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """17 characters: 5 substituted, 1 deleted, 1 inserted. Heard rightly are 2 of the 5, without tones 3."""
    assert score(folder) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-5:] == [
        f"%SER 23.53 [ 4 / 17, 1 ins, 1 del, 2 sub ] {folder} (syllables without tones)",
        f"%SER 29.41 [ 5 / 17, 1 ins, 1 del, 3 sub ] {folder} (syllables with tones)",
        "of 5 substituted characters 2 (40.0 %) keep syllable and tone, 3 (60.0 %) the syllable",
        "50.0 % of 2 polyphones are wrong, 33.3 % of 15 other characters",
        f"%CER 41.18 [ 7 / 17, 1 ins, 1 del, 5 sub ] {folder}",
    ]
    found = json.loads((folder / "result.json").read_text())
    assert found["rate"] == pytest.approx(100 * 7 / 17)
    assert found["syllable_error_rate"] == pytest.approx(100 * 5 / 17)
    assert found["syllable_error_rate_without_tones"] == pytest.approx(100 * 4 / 17)
    assert (found["homophone_substitutions"], found["homophone_substitutions_without_tones"]) == (2, 3)
    figures = [found[f"polyphone_{name}"] for name in ("characters", "occurrences", "errors")]
    assert figures == [1, 2, 1]


def test_what_keeps_the_syllable_is_listed(folder: Path) -> None:
    score(folder)
    lines = (folder / "syllables.txt").read_text(encoding="utf-8").splitlines()
    assert lines[1:3] == ["     1  她 -> 他  ta1  100.0 %", "     1  市 -> 事  shi4  100.0 %"]
    assert lines[5] == "     1  树 -> 书  shu4  100.0 %"
    assert lines[8:] == ["     1 / 2  乐  le4 yue4"]


def test_a_neutral_tone_makes_no_polyphone(folder: Path) -> None:
    for name in ("ref.txt", "hyp.txt"):
        (folder / name).write_text("u1 他们 的 儿子 是 王子 目的 子女\n", encoding="utf-8")
    score(folder)
    found = json.loads((folder / "result.json").read_text())
    assert found["polyphone_characters"] == 1  # 的: de5, di4; but 子 is zi5 and zi3
    assert (folder / "syllables.txt").read_text(encoding="utf-8").splitlines()[-1] == "     0 / 2  的  de5 di4"


def test_perfect_decoding_has_no_errors(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "hyp.txt").write_text(REFERENCE, encoding="utf-8")
    assert score(folder) == 0
    assert "of 0 substituted characters 0 (0.0 %) keep syllable and tone" in capsys.readouterr().out
    assert json.loads((folder / "result.json").read_text())["syllable_error_rate"] == 0


def test_characters_of_other_languages_have_no_syllables(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And need no pypinyin."""
    monkeypatch.setitem(sys.modules, "pypinyin", None)
    for name in ("ref.txt", "hyp.txt"):
        (folder / name).write_text("u1 ab c 5\n", encoding="utf-8")
    assert score(folder) == 0
    assert "syllable_error_rate" not in json.loads((folder / "result.json").read_text())
    assert not (folder / "syllables.txt").exists()


def test_without_pypinyin_nothing_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pypinyin", None)
    assert score(folder) == 1
    assert "`pip install pypinyin`" in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == ["hyp.txt", "ref.txt"]


def test_character_error_rates_are_those_of_jiwer() -> None:
    jiwer = pytest.importorskip("jiwer", reason="pip install jiwer to compare with it")
    rng = np.random.default_rng(0)
    references = ["".join(rng.choice(list("她他在再银行工作去"), rng.integers(1, 15))) for _ in range(60)]
    hypotheses = ["".join(rng.choice(list("她他在再银行工作去"), rng.integers(1, 15))) for _ in range(60)]
    expected = jiwer.process_characters(references, hypotheses)
    found = count_corpus(references, hypotheses)
    assert found.rate == pytest.approx(100 * expected.cer)
    assert found.errors == expected.insertions + expected.deletions + expected.substitutions
