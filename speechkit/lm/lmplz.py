"""Estimation by KenLM's lmplz, where it is built."""

import logging
import os
import shutil
import subprocess
from pathlib import Path

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import atomic_path
from speechkit.lm.kneser_ney import FALLBACK, Discounts

log = logging.getLogger(__name__)
LARGE_TEXT = 1 << 30


def find_lmplz() -> Path | None:
    """lmplz in $SPEECHKIT_KENLM or its bin folder, in the PATH, or where tools/install_kenlm.sh puts it."""
    folders = [Path(__file__).parents[2] / "tools" / "kenlm" / "bin"]
    if chosen := os.environ.get("SPEECHKIT_KENLM"):
        folders = [Path(chosen), Path(chosen) / "bin", *folders]
    search = os.pathsep.join([*map(str, folders[:-1]), os.environ.get("PATH", ""), str(folders[-1])])
    found = shutil.which("lmplz", path=search)
    return Path(found) if found else None


def run_lmplz(program: Path, text: Path, order: int, out: Path, fallback: Discounts = FALLBACK) -> None:
    """Estimate an ARPA model of the sentences in `text`.

    Raises:
        SpeechkitError: lmplz failed; the message carries its last line.
    """
    with atomic_path(out) as temporary:
        command = [
            str(program),
            "--order",
            str(order),
            "--text",
            str(text),
            "--arpa",
            str(temporary),
            "--memory",
            _memory(text),
        ]
        command += ["--temp_prefix", f"{out.parent}/", "--discount_fallback", *map(str, fallback)]
        result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        lines = result.stderr.strip().splitlines()
        if result.returncode:
            raise SpeechkitError(
                f"{program} failed on {text}: {lines[-1] if lines else result.returncode}; try --estimator own"
            )
        for line in lines:
            if line.startswith("Substituting fallback discounts"):
                log.info("lmplz: %s", line)


def _memory(text: Path) -> str:
    """Sort memory: lmplz clears all of it at the start, which takes longer than the work on a small text."""
    return "512M" if text.stat().st_size < LARGE_TEXT else "20%"
