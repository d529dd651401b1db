"""What the commands that recognise have in common: the files that they write."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speechkit.cli.training import RECIPE_COMMAND
from speechkit.common.files import write_json, write_text

log = logging.getLogger(__name__)


def write_decoding(
    out: Path,
    words: Mapping[str, Sequence[str]],
    references: Mapping[str, Sequence[str]],
    figures: Mapping[str, Any],
    *,
    seconds: float,
    audio: float,
) -> None:
    """Write hyp.txt, ref.txt and, last, decode.json to `out`.

    Args:
        words: recognised in each utterance.
        references: of those utterances that have one; there is no ref.txt where none has.
        figures: how: the method and its settings.
        seconds: that it took.
        audio: seconds that were recognised.
    """
    for name, texts in (("hyp.txt", words), ("ref.txt", references)):
        lines = (" ".join([utterance, *texts[utterance]]) for utterance in sorted(texts))
        write_text(out / name, "".join(f"{line}\n" for line in lines))
    if not references:
        (out / "ref.txt").unlink()
        log.info("no utterance has a transcript: there is no ref.txt, and nothing to count errors against")
    factor = seconds / max(audio, 1e-9)
    called = {"command": os.environ[RECIPE_COMMAND]} if RECIPE_COMMAND in os.environ else {}
    write_json(out / "decode.json", {**figures, "real_time_factor": factor, "audio_seconds": audio, **called})
    log.info("%d utterances in %.1f s, real-time factor %.4f; hypotheses are in %s", len(words), seconds, factor, out)
