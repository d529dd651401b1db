"""Parquet files of Hugging Face `datasets`, as the Hub stores data sets: a column of audio and one of text.

An audio cell is {bytes, path}. https://huggingface.co/docs/hub/datasets-audio
"""

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import atomic_path
from speechkit.data.interchange.audiofolder import FOLDERS
from speechkit.data.manifests import Problem, Split
from speechkit.data.recordings import Source, prepare_recordings
from speechkit.data.transcripts import GENDER, LANGUAGE, SPEAKER, TEXT

ROWS_AT_ONCE = 64


def parquet_files(folder: Path) -> dict[str, list[Path]]:
    """The files of each set, by the beginnings of their names or by the folder that they lie in."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*.parquet")):
        for split, names in FOLDERS.items():
            if path.name.split("-")[0].removesuffix(".parquet") in names or path.parent.name in names:
                found.setdefault(split, []).append(path)
                break
    return found


def read_parquet(files: list[Path], split: str, audio: Path, nj: int = 1) -> Split:
    """Read one set; its audio is written below `audio`, as it is and, where need be, converted to 16 kHz mono.

    Args:
        files: in order; an id is the name of the audio without suffix, or the file and row where it has none.
        split: name of the set.
        audio: folder for the recordings.
        nj: processes that convert.

    Raises:
        SpeechkitError: pyarrow is missing, or a file has no column of audio or of words.
    """
    sources: dict[str, Source] = {}
    problems = []
    for path in files:
        for number, row in enumerate(_rows(path)):
            name = Path(row["audio"].get("path") or f"{path.stem}-{number:06d}")
            content = row["audio"].get("bytes")
            if name.stem in sources:
                reason = f"duplicate id: row {number} has '{name.stem}' too, and is left out"
                problems.append(Problem(split, f"{path.name}:{number}", str(path), reason))
                continue
            target = None
            if content:
                target = audio / "original" / f"{name.stem}{name.suffix or '.wav'}"
                with atomic_path(target) as temporary:
                    temporary.write_bytes(content)
            sources[name.stem] = Source(
                name.stem, target, row["text"], row["speaker"], None, row["gender"], row["language"]
            )
    content_of_split = prepare_recordings(list(sources.values()), audio, nj, rules=None)
    content_of_split.problems = [replace(each, split=split) for each in (*content_of_split.problems, *problems)]
    return content_of_split


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """Audio cell and text fields of each row."""
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise SpeechkitError(f"Parquet files need pyarrow ({error}): `pip install pyarrow`") from error
    file = parquet.ParquetFile(path)
    names = list(file.schema_arrow.names)
    wanted = {
        "audio": ("audio", "file", "speech"),
        "text": TEXT,
        "speaker": SPEAKER,
        "gender": GENDER,
        "language": LANGUAGE,
    }
    columns = {kind: next((name for name in known if name in names), None) for kind, known in wanted.items()}
    for kind in ("audio", "text"):
        if columns[kind] is None:
            known = " or ".join(wanted[kind][:3])
            raise SpeechkitError(f"{path} has no column of {kind}, named {known} (columns: {', '.join(names)})")
    for batch in file.iter_batches(ROWS_AT_ONCE, columns=[name for name in columns.values() if name]):
        for row in batch.to_pylist():
            cells = {kind: row[name] if name else None for kind, name in columns.items()}
            audio = cells["audio"] if isinstance(cells["audio"], dict) else {}
            yield {kind: None if cell is None else str(cell) for kind, cell in cells.items()} | {"audio": audio}
