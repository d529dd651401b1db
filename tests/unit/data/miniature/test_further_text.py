"""Text of a miniature's language that belongs to no recording."""

from pathlib import Path

import pytest

from speechkit.cli import main
from speechkit.data.miniature import aishell


def test_nobody_reads_further_text_of_aishell_and_all_its_words_are_known(tmp_path: Path) -> None:
    assert (
        main(["further-text", "--corpus", "aishell", "--size", "tiny", "--sentences", "500", "--out", str(tmp_path)])
        == 0
    )
    further = (tmp_path / "words.txt").read_text(encoding="utf-8").splitlines()
    assert len(set(further)) == len(further) == 500
    transcript = aishell.plan("tiny", 0).documents[Path("data_aishell/transcript/aishell_transcript_v0.8.txt")]
    read = [line.split(" ", 1) for line in transcript.splitlines()]
    assert not {text for _, text in read} & {*further}
    known = {word for name, text in read if int(name[7:11]) < 724 for word in text.split()}
    assert {word for line in further for word in line.split()} <= known


def test_a_miniature_without_further_text_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["further-text", "--corpus", "aishel", "--out", str(tmp_path)]) == 2
    assert "no further text of corpus 'aishel', did you mean 'aishell'?" in capsys.readouterr().err
