"""Stage 0 on every miniature: what is prepared and validated is what the table of contents says."""

from collections.abc import Callable
from pathlib import Path

import pytest

from speechkit.cli import main
from speechkit.common.files import read_json
from speechkit.data.miniature import MARKER

SETS = {
    "timit": {"train": ["train"], "dev": ["dev"], "test": ["test"]},
    "aishell": {"train": ["train"], "dev": ["dev"], "test": ["test"]},
    "wsj": {"train": ["si284"], "dev": ["dev93"], "test": ["eval92"]},
    "librispeech": {"train": ["train-clean-100"], "dev": ["dev-clean"], "test": ["test-clean"]},
}


@pytest.mark.parametrize("corpus", SETS)
def test_counts(
    corpus: str, tmp_path: Path, tiny_miniature: Callable[[str], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    root = tiny_miniature(corpus)
    manifests, valid = str(tmp_path / "manifests"), str(tmp_path / "valid")
    assert main(["prepare", "--corpus", corpus, "--in", str(root), "--out", manifests, "--nj", "1"]) == 0
    assert "as many utterances, speakers and hours as in the miniature" in capfd.readouterr().err
    assert main(["validate", "--in", manifests, "--out", valid, "--nj", "1"]) == 0
    parts, summary = read_json(root / MARKER)["parts"], read_json(Path(valid) / "summary.json")
    for split, names in SETS[corpus].items():
        found = summary[split]
        assert found["bad"] == 0
        assert found["utterances"] == sum(parts[name]["utterances"] for name in names)
        assert found["hours"] == pytest.approx(sum(parts[name]["hours"] for name in names), abs=1e-4)


def test_digits_join_all_recordings(tmp_path: Path, tiny_miniature: Callable[[str], Path]) -> None:
    root, out = tiny_miniature("digits"), str(tmp_path / "manifests")
    command = ["prepare", "--corpus", "digits", "--in", str(root), "--out", out, "--train-passes", "1", "--nj", "1"]
    assert main(command) == 0
    assert main(["validate", "--in", out, "--out", str(tmp_path / "valid"), "--nj", "1"]) == 0
    summary = read_json(tmp_path / "valid" / "summary.json")
    assert all(found["utterances"] > 0 and found["bad"] == 0 for found in summary.values())
