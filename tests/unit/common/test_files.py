import errno
import fcntl
import os
import stat
from pathlib import Path

import pytest

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import atomic_path, exclusive, read_json, write_json, write_text


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "été x" / "a.json"
    write_json(path, {"a": 1})

    def fail() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        fail()
    assert read_json(path) == {"a": 1}
    assert [item.name for item in path.parent.iterdir()] == ["a.json"]


def test_temporary_file_keeps_the_suffixes_and_the_result_has_usual_permissions(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "cuts.jsonl.gz") as temporary:
        assert temporary.name.endswith(".jsonl.gz")
        assert temporary.parent == tmp_path
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "cuts.jsonl.gz").stat().st_mode) == 0o666 & ~umask


def test_a_full_disk_is_one_clear_line(tmp_path: Path) -> None:
    def fill() -> None:
        with atomic_path(tmp_path / "big.bin"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(SpeechkitError, match=r"big\.bin: no space left") as caught:
        fill()
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_damaged_json_is_named(tmp_path: Path) -> None:
    write_text(tmp_path / "x.json", "{")
    with pytest.raises(SpeechkitError, match=r"x\.json is not valid JSON"):
        read_json(tmp_path / "x.json")
    with pytest.raises(SpeechkitError, match=r"y\.json does not exist"):
        read_json(tmp_path / "y.json")


def test_one_process_at_a_time_changes_a_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "RESULTS.md"
    with exclusive(path):
        other = os.open(path.parent, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)
    assert list(path.parent.iterdir()) == []
