"""Transcripts in Kaldi's text form, `utterance-id word word ...`."""

from pathlib import Path

from speechkit.common.errors import SpeechkitError
from speechkit.text.lines import numbered_lines


def read_transcripts(path: Path) -> dict[str, list[str]]:
    """Words of each utterance in the order of the file; the bare id is an utterance without words.

    Raises:
        SpeechkitError: the file does not exist or is not UTF-8, or an id comes twice.
    """
    found: dict[str, list[str]] = {}
    for number, line in numbered_lines(path, "run the decoding stage (7)"):
        name, *words = line.split() or [""]
        if name in found:
            raise SpeechkitError(f"{path}:{number}: utterance '{name}' comes twice; decode again")
        if name:
            found[name] = words
    return found


def read_pair(references: Path, hypotheses: Path) -> tuple[list[str], list[list[str]], list[list[str]]]:
    """Ids, reference words and hypothesis words of two transcripts of the same utterances, ordered as the first.

    Raises:
        SpeechkitError: an utterance is in one file only (an empty one is its bare id), or both are empty.
    """
    reference, hypothesis = read_transcripts(references), read_transcripts(hypotheses)
    for ours, path, theirs in ((reference, hypotheses, hypothesis), (hypothesis, references, reference)):
        missing = [name for name in ours if name not in theirs]
        if missing:
            shown = " ".join(missing[:20]) + (" ..." if len(missing) > 20 else "")
            raise SpeechkitError(f"{path} lacks {len(missing)} of {len(ours)} utterances: {shown}; decode again")
    if not reference:
        raise SpeechkitError(f"{references} holds no utterances; decode again")
    return list(reference), list(reference.values()), [hypothesis[name] for name in reference]
