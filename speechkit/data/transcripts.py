"""Files of transcripts: Kaldi's `id words ...` lines, tables (TSV, CSV) whose header names the columns, JSON lines."""

import csv
import gzip
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from speechkit.common.errors import SpeechkitError
from speechkit.common.names import nearest
from speechkit.text.lines import numbered_lines

FILE = ("file", "file_name", "filename", "path", "audio", "audio_path", "wav", "id", "utt", "utt_id", "utterance")
TEXT = ("text", "sentence", "transcript", "transcription", "normalized_text", "words")
SPEAKER = ("speaker", "speaker_id", "spk", "client_id")
SPLIT = ("split", "set", "subset")
GENDER = ("gender", "sex")
LANGUAGE = ("language", "locale", "lang")
TABLES = {".tsv": "\t", ".csv": ","}
JSON_LINES = ".jsonl"
REMEDY = "correct --text"
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u0085\u2028\u2029]")
_BYTES_LOOKED_AT = 1 << 20


@dataclass(frozen=True)
class Row:
    """One transcript: the recording as the file names it, its words, and what else the file says."""

    line: int
    name: str
    text: str
    speaker: str | None = None
    split: str | None = None
    gender: str | None = None
    language: str | None = None


@dataclass
class Transcripts:
    """The rows of a file, and what is odd about it as `kind: details`, each once."""

    rows: list[Row] = field(default_factory=list)
    oddities: list[str] = field(default_factory=list)


def read_transcripts(path: Path) -> Transcripts:
    """Read a file of transcripts; a table is told by its name (.tsv, .csv, .jsonl) or by a header of known columns.

    Raises:
        SpeechkitError: the file cannot be read as text, or a table lacks the columns of names and words.
    """
    lines = list(numbered_lines(path, REMEDY))
    oddities = list(_byte_oddities(path))
    control = [number for number, line in lines if _CONTROL.search(line)]
    if control:
        oddities.append(f"control characters: on {len(control)} lines, the first is {control[0]}")
    plain = [(number, _CONTROL.sub(" ", line)) for number, line in lines if line.strip()]
    if not plain:
        return Transcripts([], oddities)
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if suffix.lower() == JSON_LINES:
        return Transcripts(list(_json_rows(path, plain)), oddities)
    separator = TABLES.get(suffix.lower()) or _separator(plain[0][1])
    if separator:
        return Transcripts(list(_table(path, plain, separator)), oddities)
    tabs = [number for number, line in plain if "\t" in line]
    if tabs:
        oddities.append(f"tabs: on {len(tabs)} lines, the first is {tabs[0]}")
    rows = [Row(number, *(*line.split(maxsplit=1), "")[:2]) for number, line in plain]
    return Transcripts(rows, oddities)


def _byte_oddities(path: Path) -> Iterator[str]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as stream:
        start = stream.read(_BYTES_LOOKED_AT)
    if start.startswith(b"\xef\xbb\xbf"):
        yield "byte-order mark: the file begins with one"
    if b"\r\n" in start:
        yield "Windows line ends: lines end with CR LF"


def _separator(first: str) -> str | None:
    """What separates the columns of a header; None where the line is no header."""
    for separator in TABLES.values():
        names = {name.strip().lower() for name in first.split(separator)}
        if names & set(FILE) and names & set(TEXT):
            return separator
    return None


def _json_rows(path: Path, lines: list[tuple[int, str]]) -> Iterator[Row]:
    for number, line in lines:
        try:
            cells = {str(name).lower(): str(value) for name, value in json.loads(line).items() if value is not None}
        except (ValueError, AttributeError):
            raise SpeechkitError(f"{path}:{number} is no JSON object; {REMEDY}") from None
        values = {kind: next((cells[name] for name in names if name in cells), "") for kind, names in _COLUMNS.items()}
        if not values["file"]:
            raise SpeechkitError(f"{path}:{number} names no recording, as {' or '.join(FILE[:3])}; {REMEDY}")
        yield _row(number, values)


def _table(path: Path, lines: list[tuple[int, str]], separator: str) -> Iterator[Row]:
    text = (f"{line}\n" for _, line in lines)
    if separator == "\t":  # quotes are characters there
        reader = csv.reader(text, delimiter=separator, quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(text, delimiter=separator)
    numbers = iter(number for number, _ in lines)
    header = [name.strip().lower() for name in next(reader)]
    next(numbers)
    found = {kind: _column(header, names) for kind, names in _COLUMNS.items()}
    for kind in ("file", "text"):
        if found[kind] is None:
            known = _COLUMNS[kind]
            guess = next((hint for name in header if (hint := nearest(name, known))), "")
            raise SpeechkitError(
                f"{path}: no column of the {'recordings' if kind == 'file' else 'words'}{guess}; its first line has to "
                f"name it, as {' or '.join(known[:3])} (columns: {', '.join(header)})"
            )
    for number, cells in zip(numbers, reader, strict=False):
        values = {
            kind: cells[place].strip() for kind, place in found.items() if place is not None and place < len(cells)
        }
        if "file" in values:
            yield _row(number, values)


def _column(header: list[str], names: tuple[str, ...]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _row(number: int, values: Mapping[str, str]) -> Row:
    details = {name: values.get(name) or None for name in ("speaker", "split", "gender", "language")}
    return Row(number, values["file"], values.get("text", ""), **details)


_COLUMNS = {"file": FILE, "text": TEXT, "speaker": SPEAKER, "split": SPLIT, "gender": GENDER, "language": LANGUAGE}
