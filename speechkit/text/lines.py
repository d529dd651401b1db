"""Reading of text files line by line."""

import gzip
from collections.abc import Iterator
from pathlib import Path

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import require_file


def numbered_lines(path: Path, remedy: str = "correct the path") -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without its end) of a UTF-8 text file, plain or gzip.

    Only a newline ends a line, after a carriage return or not: separators such as U+2028 inside a transcript do not.
    A byte-order mark at the beginning is passed over.

    Raises:
        SpeechkitError: the file does not exist (`remedy` says what to do), may not be read, is not UTF-8, or is a
            damaged gzip file.
    """
    require_file(path, remedy)
    number = 0
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="\n") as stream:
            for number, line in enumerate(stream, start=1):  # noqa: B007 (used in the error message)
                yield number, line.removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise SpeechkitError(f"{path}: not UTF-8 text after line {number}; convert the file to UTF-8") from None
    except (EOFError, gzip.BadGzipFile) as error:
        raise SpeechkitError(f"{path}: damaged gzip file ({error}); run the step that writes it again") from None
    except PermissionError:
        raise SpeechkitError(f"{path} may not be read: permission denied; `chmod +r` it, or ask its owner") from None
    except IsADirectoryError:
        raise SpeechkitError(f"{path} is a folder, not a text file; {remedy}") from None
