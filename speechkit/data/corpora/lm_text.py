"""Language-model text as corpora bring it: packed by compress or gzip."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

from speechkit.common.errors import SpeechkitError


def read_packed(path: Path) -> Iterator[str]:
    """Lines of a file packed by gzip or by compress (.Z, .z); Python cannot read the latter, the program gzip can.

    Raises:
        SpeechkitError: the file is damaged, or the program gzip is missing.
    """
    try:
        with subprocess.Popen(["gzip", "-dc", "--", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            for line in process.stdout or ():
                yield line.decode("latin-1").strip()
            said = process.stderr.read().decode(errors="replace").strip() if process.stderr else ""
    except FileNotFoundError as error:
        raise SpeechkitError(f"{path} cannot be unpacked without gzip (apt-get install gzip)") from error
    if process.returncode != 0:
        raise SpeechkitError(f"{path} is damaged ({said}); copy it from its disc again")
