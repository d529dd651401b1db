"""More text of a miniature's language, which belongs to no recording: words, and phones as its voices say them."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from speechkit.common.errors import UsageError
from speechkit.common.files import atomic_path
from speechkit.common.names import nearest
from speechkit.common.progress import progress
from speechkit.data.miniature import SIZES, aishell, espeak, phones, timit
from speechkit.data.miniature.grammar import words
from speechkit.data.parallel import parallel_map

_SPOKEN: Mapping[str, Callable[[str, int], Iterator[tuple[str, espeak.Voice]]]] = {"timit": timit.unread}
_WRITTEN: Mapping[str, Callable[[str, int], Iterator[str]]] = {"aishell": aishell.unread}
CORPORA = (*_SPOKEN, *_WRITTEN)


def write_further_text(corpus: str, size: str, out: Path, count: int, seed: int = 0, num_jobs: int = 1) -> None:
    """Write `words.txt` of `count` sentences that the miniature of this size and seed does not have, a line for each.

    Of timit there is `phones.txt` too, in the phones of the corpus's own transcripts (TIMIT's 61 with `h#` at both
    ends). The files depend on nothing but corpus, size, seed and, in their length, `count`.

    Raises:
        UsageError: there is no such miniature, or none with further text, or `count` is below 1.
        SpeechkitError: espeakng-loader is missing.
    """
    for name, value, known in (("corpus", corpus, CORPORA), ("size", size, SIZES.get(corpus, ()))):
        if value not in known:
            raise UsageError(
                f"no further text of {name} '{value}'{nearest(value, known)}; take one of {', '.join(known)}"
            )
    if count < 1 or num_jobs < 1 or seed < 0:
        raise UsageError("--sentences and --nj are at least 1, --seed is not negative")
    if corpus in _WRITTEN:
        _write(out / "words.txt", itertools.islice(_WRITTEN[corpus](size, seed), count))
        return
    sentences = list(itertools.islice(_SPOKEN[corpus](size, seed), count))
    said = progress(parallel_map(spoken_phones, sentences, num_jobs), total=count, description="phonemising")
    _write(out / "phones.txt", map(" ".join, said))
    _write(out / "words.txt", (" ".join(words(text)) for text, _ in sentences))


def _write(path: Path, lines: Iterable[str]) -> None:
    with atomic_path(path) as unfinished, unfinished.open("w", encoding="utf-8") as stream:
        stream.writelines(f"{line}\n" for line in lines)


def spoken_phones(sentence: tuple[str, espeak.Voice]) -> list[str]:
    """TIMIT phones of a sentence in a voice, as a recording would have them, `h#` at both ends."""
    text, voice = sentence
    inside = [item.phone for item in phones.segment(espeak.synthesise(text, voice)) if item.phone != phones.SILENCE]
    return [phones.SILENCE, *inside, phones.SILENCE]
