"""Make a miniature corpus: all of it, or nothing."""

import importlib
import shutil
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.common.files import disk_errors, read_json, write_json
from speechkit.common.names import nearest

if TYPE_CHECKING:
    from speechkit.data.miniature.render import Utterance

MARKER = ".speechkit-miniature.json"
_USUAL = ("tiny", "mini", "small")
SIZES = {
    "timit": _USUAL,
    "digits": (*_USUAL, "voices"),
    "aishell": _USUAL,
    "wsj": _USUAL,
    "librispeech": _USUAL,
}
CORPORA = tuple(SIZES)
VERSION = 2  # raise it when the same corpus, size and seed give other files


@dataclass(frozen=True)
class Summary:
    """What is in the folder: utterances and hours of speech; `seconds` it took, 0 if the miniature was there before."""

    corpus: str
    size: str
    seed: int
    out: Path
    utterances: int
    hours: float
    seconds: float


def make(corpus: str, size: str, out: Path, seed: int = 0, num_jobs: int = 1) -> Summary:
    """Synthesise a corpus into the folder `out`, which must be absent, empty, or hold this very miniature already.

    The files depend on corpus, size and seed only, not on `num_jobs`. `out` appears when all is written.

    Raises:
        UsageError: unknown corpus or size, a negative seed, or less than one job.
        SpeechkitError: `out` holds something else, the disk is full, or espeakng-loader is missing.
    """
    _check(corpus, size, seed, num_jobs)
    wanted = {"corpus": corpus, "size": size, "seed": seed, "version": VERSION}
    if (found := _present(out, wanted)) is not None:
        return Summary(corpus, size, seed, out, found["utterances"], found["hours"], 0.0)
    started = time.monotonic()
    part = out.with_name(f".{out.name}.part")
    with disk_errors(out):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            from speechkit.data.miniature import render

            module = importlib.import_module(f"speechkit.data.miniature.{corpus}")
            plan: render.Plan = module.plan(size, seed)
            seconds = render.run(plan, part, seed, num_jobs)
            hours = sum(seconds) / 3600
            contents = {"utterances": len(seconds), "hours": round(hours, 4), "parts": _parts(plan.utterances, seconds)}
            write_json(part / MARKER, {**wanted, **contents})
            part.replace(out)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return Summary(corpus, size, seed, out, len(seconds), hours, time.monotonic() - started)


def _parts(utterances: "Sequence[Utterance]", seconds: Sequence[float]) -> dict[str, dict[str, float]]:
    """Utterances, speakers and hours of each set of the corpus: the marker is the table of contents."""
    members: dict[str, list[tuple[Utterance, float]]] = defaultdict(list)
    for utterance, length in zip(utterances, seconds, strict=True):
        for name in utterance.parts:
            members[name].append((utterance, length))
    return {
        name: {
            "utterances": len(found),
            "speakers": len({utterance.speaker.name for utterance, _ in found}),
            "hours": round(sum(length for _, length in found) / 3600, 6),
        }
        for name, found in sorted(members.items())
    }


def _check(corpus: str, size: str, seed: int, num_jobs: int) -> None:
    for name, value, known in (("corpus", corpus, CORPORA), ("size", size, SIZES.get(corpus, ()))):
        if value not in known:
            raise UsageError(f"no miniature of {name} '{value}'{nearest(value, known)}; take one of {', '.join(known)}")
    if seed < 0:
        raise UsageError(f"the seed must not be negative, but is {seed}")
    if num_jobs < 1:
        raise UsageError(f"the number of jobs must be at least 1, but is {num_jobs}")


def _present(out: Path, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """The marker of the wanted miniature if `out` holds it, None if there is nothing yet."""
    if not out.exists():
        return None
    if not out.is_dir():
        raise SpeechkitError(f"{out} is a file; give --out a folder that does not exist yet")
    if not any(out.iterdir()):
        return None
    if not (out / MARKER).exists():
        raise SpeechkitError(f"{out} is not empty and holds no miniature; give --out a folder that does not exist yet")
    found: dict[str, Any] = read_json(out / MARKER)
    if any(found.get(key) != value for key, value in wanted.items()):
        kind = f"{found.get('corpus')} {found.get('size')}, seed {found.get('seed')}, version {found.get('version')}"
        raise SpeechkitError(f"{out} holds another miniature ({kind}); delete it or give another --out")
    return found
